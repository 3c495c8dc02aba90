//! The limiter of a single process.

mod shard;
mod window;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::{Limit, Timestamp};

use crate::{CopyVerdict, Quota, Verdict};
use shard::{Entry, Shard};

/// Each shard has its own lock, so that requests of different keys rarely wait for each other.
const SHARDS: usize = 64;

/// Windows and marks in memory, for an installation of one process.
///
/// Its memory is bounded: each call by name, and so each that adds a key, also looks at a few other keys and drops
/// those that are idle. When a shard is
/// full of keys that are not, newcomers share one window per limit with the other newcomers of their shard. They may
/// then be refused on a stranger's account; to forget somebody's window instead would let them start afresh.
///
/// A key has one limit. Kinds of limit are told apart by a prefix of the key; under two windows of different length a
/// key would be counted by the shorter.
///
/// A clock that steps back admits nobody earlier. During a step of up to five minutes or one window, whichever is
/// longer, time stands still; after a longer one the last request is taken to be from the new present, so that no key
/// waits for the old time to return.
pub(crate) struct MemoryLimiter {
    shards: Box<[Mutex<Shard>]>,
    /// Randomly seeded: nobody can choose keys that all fall into one shard.
    hasher: RandomState,
}

impl MemoryLimiter {
    /// An empty limiter for `capacity` keys, rounded up to a multiple of 64. A busy key takes under 1 KiB.
    pub(crate) fn new(capacity: usize) -> Self {
        let per_shard = capacity.div_ceil(SHARDS).max(1);
        Self { shards: (0..SHARDS).map(|_| Mutex::new(Shard::new(per_shard))).collect(), hasher: RandomState::new() }
    }

    /// Counts a request of `key`, if it is within `limit`.
    pub(crate) fn admit(&self, key: &str, limit: Limit, now: Timestamp) -> Verdict {
        self.shard(key).admit(key, limit, now)
    }

    /// Counts a request of `key`, whatever the limit: it was admitted elsewhere, within another one. `limit` is the
    /// one that holds when this process has to decide by itself.
    pub(crate) fn record(&self, key: &str, limit: Limit, now: Timestamp) {
        self.shard(key).record(key, limit, now);
    }

    /// Counts a request with the credential `id`, whose window is that of the key `id`, unless it was marked as changed
    /// after version `version`. One step: once [`mark_stale`](Self::mark_stale) has returned, no older copy is counted.
    pub(crate) fn admit_copy(&self, id: &str, version: i64, limit: Limit, now: Timestamp) -> CopyVerdict {
        let mut shard = self.shard(id);
        if shard.is_stale(id, version, now) {
            return CopyVerdict::Stale;
        }
        CopyVerdict::Counted(shard.admit(id, limit, now))
    }

    /// Where the credential's window and mark are, if it has some of its own.
    pub(crate) fn place_of(&self, id: &str) -> Option<WindowPlace> {
        self.shard(id).entry(id).map(WindowPlace)
    }

    /// Whether a copy with this version is older than a mark.
    pub(crate) fn is_stale(&self, id: &str, version: i64, now: Timestamp) -> bool {
        self.shard(id).is_stale(id, version, now)
    }

    /// The window of `key` as it is; counts nothing.
    pub(crate) fn peek(&self, key: &str, limit: Limit, now: Timestamp) -> Quota {
        self.shard(key).peek(key, limit, now)
    }

    /// Until `until`, copies of the credential `id` with a version below `version` are stale.
    pub(crate) fn mark_stale(&self, id: &str, version: i64, until: Timestamp) {
        self.shard(id).mark_stale(id, version, until);
    }

    /// Drops every idle key and every mark whose time is over, and gives the memory back.
    pub(crate) fn sweep(&self, now: Timestamp) {
        for shard in &self.shards {
            lock(shard).sweep(now);
        }
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard> {
        #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
        let place = self.hasher.hash_one(key) as usize % SHARDS;
        lock(&self.shards[place])
    }
}

/// Where a credential's window and mark are in this process's memory, so that they need not be looked for at every
/// request. It stays right for as long as the window counts anything.
pub struct WindowPlace(Arc<Entry>);

impl WindowPlace {
    /// What [`Limiter::admit_copy`](crate::Limiter::admit_copy) says; `None` when it has to be asked, because window or
    /// mark are not here any more.
    #[must_use]
    pub fn admit_copy(&self, version: i64, limit: Limit, now: Timestamp) -> Option<CopyVerdict> {
        self.0.admit_copy(version, limit, now)
    }
}

/// A panic while a shard was locked can at worst have left a request uncounted or counted twice; refusing every later
/// request of its keys would be worse.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
