//! How often: the sliding window and the revocation mark.
//!
//! The window never admits more than its limit in *any* span of its length, whatever the arrival pattern. It counts in
//! buckets of a sixtieth of the window (one second for a minute); a bucket leaves when the last request in it is one
//! window old. What it costs: a request that shares a bucket with a later one is held up to one bucket too long, so
//! somebody may be refused that much early. What it keeps: after one idle window the full limit is there again.
//!
//! The mark is about trust in copies: whoever changes a credential marks it, and from then on holders of an older copy
//! are told that it is stale. A mark never says no by itself; it says: read the database.

mod memory;

use domain::Timestamp;

pub use memory::MemoryLimiter;

/// The state of a key's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many requests are admitted in one window.
    pub limit: u32,
    /// How many of them are left.
    pub remaining: u32,
    /// When the oldest counted requests leave the window; one window from now when nothing is counted.
    pub reset_at: Timestamp,
}

/// Whether a request may go on.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may, and was counted. The quota is what is left after it.
    Admitted(Quota),
    /// It may not, and was not counted: to go on asking does not prolong the wait.
    Refused {
        /// The window; nothing remains of it.
        quota: Quota,
        /// When the next request is admitted, provided that no other is until then.
        retry_at: Timestamp,
    },
}

/// Whether a cached copy of a credential can be trusted, and if so whether a request with it may go on.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialVerdict {
    /// The copy is good; the request was put to the window.
    Counted(Verdict),
    /// The credential was changed or deleted after the copy was made. Nothing was counted.
    Stale,
}
