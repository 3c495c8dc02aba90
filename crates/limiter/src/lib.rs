//! How often: the sliding window and the revocation mark.
//!
//! The window never admits more than its limit in *any* span of its length, whatever the arrival pattern. It counts in
//! buckets of a sixtieth of the window (one second for a minute); a bucket leaves when the last request in it is one
//! window old. What it costs: a request that shares a bucket with a later one is held up to one bucket too long, so
//! somebody may be refused that much early. What it keeps: after one idle window the full limit is there again.
//!
//! The mark is about trust in copies: whoever changes a credential marks it, and from then on holders of an older copy
//! are told that it is stale. A mark never says no by itself; it says: read the database.
//!
//! One process counts in its memory, and can save its windows so that they survive it; several count in Redis. What happens while Redis cannot be reached is decided
//! here and nowhere else: copies are stale, and windows are counted in each process, at a share of their limit.
//!
//! For how long a copy is trusted that nobody has marked is not decided here.

mod memory;
mod redis;
mod saved;

use std::time::Duration;

use domain::{Limit, Moment, Timestamp};
use telemetry::Registry;

use crate::redis::{CallTimes, SharedLimiter};
use memory::MemoryLimiter;

pub use crate::memory::WindowPlace;
pub use crate::redis::{Redis, RedisOptions, RedisUrlError, Timekeeper};
pub use crate::saved::{Keeping, NotSaved, SavedWindow, WindowStore};

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
    /// It may not, and was not counted: it would be more than may be forgotten if this process were killed, and could
    /// not be saved. To be answered as when the database is away.
    Unsaved,
}

/// A key, and how often requests may come under it: an address, or one of the networks that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// The key.
    pub key: String,
    /// Its limit.
    pub limit: Limit,
}

/// How much is kept in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupied {
    /// Keys with a window or a mark.
    pub keys: usize,
    /// What they take, in bytes, by estimate.
    pub bytes: usize,
}

/// Whether a cached copy of a credential can be trusted, and if so whether a request with it may go on.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyVerdict {
    /// The copy is good; the request was put to the window.
    Counted(Verdict),
    /// The copy cannot be trusted: the credential was changed or deleted after it was made, or nobody can say. Nothing
    /// was counted.
    Stale,
}

/// What a copy has to show to be trusted: that what Redis knows about the credential has not been lost since before
/// the copy was read. [`Limiter::admit_read`] hands it out, to be kept with the copy.
///
/// Redis keeps a nonce beside each credential's window and mark, in one value. Whoever reads the database learns the
/// nonce afterwards. If it is the one they knew before they read, then whatever mark was set in between is still there.
/// If it is another one, or their first, a mark may have been lost with the one before, and the copy is not yet
/// trusted: the next request reads the database again, knowing the nonce this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    nonce: [u8; 8],
    /// Known before the copy was read, and unchanged afterwards.
    is_confirmed: bool,
    /// The connection it was learned by: a copy does not outlive a loss of Redis.
    connection: u64,
}

/// Whether every instance of the service knows that a credential was marked.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marked {
    /// From now on no instance trusts an older copy.
    Everywhere,
    /// Redis cannot be reached. This instance trusts no older copy; the others have to learn of it elsewhere.
    HereOnly,
}

/// Where windows are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimiterState {
    /// In this process, which is the only one.
    InProcess,
    /// In Redis.
    InRedis,
    /// In this process at a share of the limits, because Redis cannot be reached.
    Fallback,
}

impl Quota {
    fn on_the_wall(self, moment: Moment) -> Self {
        Self { reset_at: moment.on_the_wall(self.reset_at), ..self }
    }
}

impl Verdict {
    /// What was counted at this moment, by the steady clock, as the world is told of it.
    pub fn on_the_wall(self, moment: Moment) -> Self {
        match self {
            Self::Admitted(quota) => Self::Admitted(quota.on_the_wall(moment)),
            Self::Refused { quota, retry_at } => {
                Self::Refused { quota: quota.on_the_wall(moment), retry_at: moment.on_the_wall(retry_at) }
            }
            Self::Unsaved => Self::Unsaved,
        }
    }
}

/// Windows and marks: of one process, or of all that share a Redis.
///
/// Every `now` is to be of one clock that nobody sets ([`Clock::steady`](domain::Clock::steady)), and so are the times
/// that are answered: set back, another one would bring deleted credentials back and close windows for its length.
pub struct Limiter(Place);

enum Place {
    Memory(MemoryLimiter),
    Redis(SharedLimiter),
}

impl Limiter {
    /// A limiter for an installation of one process, which takes about `bytes` of memory at most, marks and 64 KiB in
    /// any case. A key that comes now and then takes about 300 of them, a busy one 1 KiB.
    #[must_use]
    pub fn in_memory(bytes: usize) -> Self {
        Self(Place::Memory(MemoryLimiter::new(bytes)))
    }

    /// The same with windows that survive the process. Those that were saved are to be put back by
    /// [`restore`](Self::restore) before anything is asked.
    #[must_use]
    pub fn kept(bytes: usize, keeping: Keeping) -> Self {
        Self(Place::Memory(MemoryLimiter::kept(bytes, keeping)))
    }

    /// A limiter of all processes that use this Redis. `bytes` is how much this process keeps in mind at most for the
    /// time when Redis cannot be reached. That is not saved: it is a copy of what Redis knows, and what it decides by
    /// itself is within its share of a limit.
    #[must_use]
    pub fn on_redis(redis: &Redis, bytes: usize) -> Self {
        Self(Place::Redis(SharedLimiter::new(redis, bytes)))
    }

    /// Puts back a window that was saved.
    pub fn restore(&self, saved: SavedWindow, now: Timestamp) {
        if let Place::Memory(memory) = &self.0 {
            memory.restore(saved, now);
        }
    }

    /// Admits nothing any more in memory, and saves all windows; whether all of them are saved. Takes 10 s at most.
    pub async fn close(&self) -> bool {
        match &self.0 {
            Place::Memory(memory) => memory.close().await,
            Place::Redis(_) => true,
        }
    }

    /// How much is kept in this process.
    #[must_use]
    pub fn occupied(&self) -> Occupied {
        match &self.0 {
            Place::Memory(memory) => memory.occupied(),
            Place::Redis(redis) => redis.occupied(),
        }
    }

    /// Counts a request of `key`, if it is within `limit`.
    #[inline]
    pub async fn admit(&self, key: &str, limit: Limit, now: Timestamp) -> Verdict {
        match &self.0 {
            Place::Memory(memory) => memory.admit(key, limit, now).await,
            // Boxed, here and below, so that the way through memory does not carry the other one's state about.
            Place::Redis(redis) => Box::pin(redis.admit(key, limit, now)).await,
        }
    }

    /// Counts a request at each of these levels, the finest first, if it is within the limits of all; else at none. The
    /// quota is that of the level with the least left. `network` names what all of them are in: where memory is short,
    /// newcomers of one network are counted together.
    ///
    /// In Redis the levels are looked at together and then counted one after the other, so that of requests at the same
    /// moment one may have been counted at a finer level and refused at a coarser.
    pub async fn admit_levels(&self, network: &str, levels: &[Level], now: Timestamp) -> Verdict {
        match &self.0 {
            Place::Memory(memory) => memory.admit_levels(network, levels, now).await,
            Place::Redis(redis) => Box::pin(redis.admit_levels(levels, now)).await,
        }
    }

    /// Counts a request with a copy of the credential `id` that was made of version `version`, if the copy can be
    /// trusted. One step: once [`mark_stale`](Self::mark_stale) has returned, no older copy is counted.
    #[inline]
    pub async fn admit_copy(
        &self,
        id: &str,
        version: i64,
        evidence: Evidence,
        limit: Limit,
        now: Timestamp,
    ) -> CopyVerdict {
        match &self.0 {
            Place::Memory(memory) => memory.admit_copy(id, version, limit, now).await,
            Place::Redis(redis) => Box::pin(redis.admit_copy(id, version, evidence, limit, now)).await,
        }
    }

    /// Where the window and the mark of the credential `id` are in the memory of this process; `None` if they are in
    /// Redis, or if it has none of its own.
    #[must_use]
    pub fn place_of(&self, id: &str) -> Option<WindowPlace> {
        match &self.0 {
            Place::Memory(memory) => memory.place_of(id),
            Place::Redis(_) => None,
        }
    }

    /// Counts a request with the credential `id`, which has just been read and needs no trust. `before` is the evidence
    /// that was at hand before it was read, by default none; what is returned goes with the copy.
    #[inline]
    pub async fn admit_read(&self, id: &str, before: Evidence, limit: Limit, now: Timestamp) -> (Verdict, Evidence) {
        match &self.0 {
            Place::Memory(memory) => (memory.admit(id, limit, now).await, Evidence::default()),
            Place::Redis(redis) => Box::pin(redis.admit_read(id, before, limit, now)).await,
        }
    }

    /// The window of `key` as it is; counts nothing.
    pub async fn peek(&self, key: &str, limit: Limit, now: Timestamp) -> Quota {
        match &self.0 {
            Place::Memory(memory) => memory.peek(key, limit, now),
            Place::Redis(redis) => Box::pin(redis.peek(key, limit, now)).await,
        }
    }

    /// For as long as `lasting`, copies of the credential `id` with a version below `version` are stale; `i64::MAX`
    /// makes all of them so, as a deletion does. Marks only ever grow: of two, the higher version and the later end
    /// hold.
    ///
    /// A mark has to outlive every copy that was made before it. Marks are not subject to the capacity, since to drop
    /// one would bring a deleted credential back to life; their number is bounded by how long they last.
    pub async fn mark_stale(&self, id: &str, version: i64, lasting: Duration, now: Timestamp) -> Marked {
        match &self.0 {
            Place::Memory(memory) => {
                memory.mark_stale(id, version, now.plus(lasting));
                Marked::Everywhere
            }
            Place::Redis(redis) => Box::pin(redis.mark_stale(id, version, lasting, now)).await,
        }
    }

    /// The same in this process only, for a mark that others learn of elsewhere.
    pub fn mark_stale_here(&self, id: &str, version: i64, lasting: Duration, now: Timestamp) {
        match &self.0 {
            Place::Memory(memory) => memory.mark_stale(id, version, now.plus(lasting)),
            Place::Redis(redis) => redis.mark_stale_here(id, version, lasting, now),
        }
    }

    /// Whether a copy of what `id` names can be trusted without asking anybody: it was not marked, and nobody but this
    /// process marks it. With Redis others do, so there it never can.
    #[must_use]
    pub fn is_unmarked(&self, id: &str, version: i64, now: Timestamp) -> bool {
        match &self.0 {
            Place::Memory(memory) => !memory.is_stale(id, version, now),
            Place::Redis(_) => false,
        }
    }

    /// Drops every idle key and every mark whose time is over, and gives the memory back.
    pub fn sweep(&self, now: Timestamp) {
        match &self.0 {
            Place::Memory(memory) => memory.sweep(now),
            Place::Redis(redis) => redis.sweep(now),
        }
    }

    /// Where windows are counted now.
    #[must_use]
    pub fn state(&self) -> LimiterState {
        match &self.0 {
            Place::Memory(_) => LimiterState::InProcess,
            Place::Redis(redis) => redis.state(),
        }
    }

    /// Shows in `registry` how long Redis takes; once for all limiters of one Redis, which time their calls together.
    /// In memory there are no calls and nothing is timed: the series are there, and stay 0.
    pub fn register_metrics(&self, registry: &mut Registry) {
        let times = match &self.0 {
            Place::Memory(_) => CallTimes::default(),
            Place::Redis(redis) => redis.call_times(),
        };
        times.register(registry);
    }
}
