//! The limiter of a single process.

mod entry;
mod overflow;
mod saving;
mod shard;
#[cfg(test)]
mod tests;
mod window;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{DigestKey, Limit, Timestamp};
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::{CopyVerdict, Keeping, Level, Occupied, Quota, SavedWindow, Verdict};
use entry::{Counted, Entry, chunk};
use overflow::Overflow;
use saving::Saving;
use shard::{LOOKED_AT_PER_CALL, Shard, allocation};
use window::Window;

/// Each shard has its own lock, so that requests of different keys rarely wait for each other.
const SHARDS: usize = 64;

/// Saving everything at the end may take so long, and is given up then.
const CLOSING: Duration = Duration::from_secs(10);

/// Windows and marks in memory, for an installation of one process.
///
/// Its memory is bounded: each call by name, and so each that adds a key, also looks at a few other keys and drops
/// those that are idle. When a shard is full of keys that are not, newcomers share windows, see [`Overflow`], and
/// windows that would grow become coarser instead: nobody's is forgotten.
///
/// Where windows are saved, each may be ahead of what is saved of it by a tenth of its limit. A request that would go
/// further is answered once it has been saved. After a process was killed, every window begins with that tenth counted
/// in addition, and so never admits more than its limit, whatever was lost.
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
    overflow: Overflow,
    saving: Option<Arc<Saving>>,
    /// When processes began before which another one had been killed, oldest first.
    after_kills: Vec<Timestamp>,
}

impl MemoryLimiter {
    /// An empty limiter that takes at most so many bytes, except that it takes 64 KiB at least, and what marks need.
    pub(crate) fn new(bytes: usize) -> Self {
        let hasher = RandomState::new();
        let places = DigestKey::derive(&hasher.hash_one("places").to_le_bytes(), "overflow");
        Self::with(bytes, places, None, Vec::new())
    }

    /// One whose windows are saved.
    pub(crate) fn kept(bytes: usize, keeping: Keeping) -> Self {
        let Keeping { store, places, after_kills } = keeping;
        Self::with(bytes, places, Some(Saving::new(store)), after_kills)
    }

    fn with(bytes: usize, places: DigestKey, saving: Option<Arc<Saving>>, after_kills: Vec<Timestamp>) -> Self {
        // An eighth is for windows that are shared.
        let per_shard = (bytes - bytes / 8) / SHARDS;
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new(per_shard.max(1024)))).collect(),
            hasher: RandomState::new(),
            overflow: Overflow::new(places),
            saving,
            after_kills,
        }
    }

    /// Puts back a window that was saved.
    pub(crate) fn restore(&self, saved: SavedWindow, now: Timestamp) {
        let SavedWindow { name, length, unseen: _, buckets } = saved;
        let mut window = Window::restored(length, buckets, now);
        if !window.is_idle(now) && !self.overflow.restore(&name, &window) {
            let bytes = allocation(window.bytes());
            let mut shard = self.lock(&name);
            shard.insert(&name, Entry::with(window));
            shard.has_grown(bytes);
        }
    }

    /// Counts a request of `key`, if it is within `limit`.
    pub(crate) async fn admit(&self, key: &str, limit: Limit, now: Timestamp) -> Verdict {
        let counted = self.shard(key, now).count(self, (key, key), limit, limit.count, now);
        self.settled(&mut [counted]).await
    }

    /// Counts a request at each of these levels, the finest first, if it is within the limits of all; else at none.
    /// Newcomers of one network share windows when there is no room. The quota is that of the level with the least left.
    pub(crate) async fn admit_levels(&self, network: &str, levels: &[Level], now: Timestamp) -> Verdict {
        // The coarser ones first: a network that is over its limit makes no new keys.
        for Level { key, limit } in levels.iter().skip(1).rev() {
            if self.peek_in(network, key, *limit, now).remaining == 0 {
                let counted = self.shard(key, now).count(self, (key, network), *limit, limit.count, now);
                if let refused @ Verdict::Refused { .. } = counted.verdict {
                    return refused;
                }
                counted.take_back();
            }
        }
        let mut all: Vec<Counted> = Vec::with_capacity(levels.len());
        for Level { key, limit } in levels {
            let counted = self.shard(key, now).count(self, (key, network), *limit, limit.count, now);
            if !matches!(counted.verdict, Verdict::Admitted(_)) {
                for before in &all {
                    before.take_back();
                }
                return counted.verdict;
            }
            all.push(counted);
        }
        self.settled(&mut all).await
    }

    /// What is said to a request that was counted in these windows, once enough of that is saved.
    async fn settled(&self, all: &mut [Counted]) -> Verdict {
        if let Some(saving) = &self.saving {
            let waiting: Vec<_> = all.iter_mut().filter_map(|counted| counted.waiting.take()).collect();
            if !waiting.is_empty()
                && join_all(waiting.iter().map(|waiting| waiting.settle(saving))).await.contains(&false)
            {
                for counted in all.iter() {
                    counted.take_back();
                }
                return Verdict::Unsaved;
            }
        }
        let verdicts = all.iter().map(|counted| counted.verdict);
        let tightest = verdicts.min_by_key(|verdict| match verdict {
            Verdict::Admitted(quota) => quota.remaining,
            Verdict::Refused { .. } | Verdict::Unsaved => 0,
        });
        tightest.unwrap_or(Verdict::Unsaved)
    }

    /// Counts a request of `key`, whatever the limit: it was admitted elsewhere, within another one. `limit` is the
    /// one that holds when this process has to decide by itself.
    pub(crate) fn record(&self, key: &str, limit: Limit, now: Timestamp) {
        // Beyond the limit too, which tells only whose window counts for the key.
        let _: Counted = self.shard(key, now).count(self, (key, key), limit, u32::MAX, now);
    }

    /// Counts a request with the credential `id`, whose window is that of the key `id`, unless it was marked as changed
    /// after version `version`. One step: once [`mark_stale`](Self::mark_stale) has returned, no older copy is counted.
    pub(crate) async fn admit_copy(&self, id: &str, version: i64, limit: Limit, now: Timestamp) -> CopyVerdict {
        let counted = {
            let mut shard = self.shard(id, now);
            if shard.is_stale(id, version, now) {
                return CopyVerdict::Stale;
            }
            shard.count(self, (id, id), limit, limit.count, now)
        };
        CopyVerdict::Counted(self.settled(&mut [counted]).await)
    }

    /// Where the credential's window and mark are, if it has some of its own.
    pub(crate) fn place_of(&self, id: &str) -> Option<WindowPlace> {
        self.lock(id).entry(id).map(|(_, entry)| WindowPlace(entry))
    }

    /// Whether a copy with this version is older than a mark.
    pub(crate) fn is_stale(&self, id: &str, version: i64, now: Timestamp) -> bool {
        self.lock(id).is_stale(id, version, now)
    }

    /// The window of `key` as it is; counts nothing.
    pub(crate) fn peek(&self, key: &str, limit: Limit, now: Timestamp) -> Quota {
        self.peek_in(key, key, limit, now)
    }

    fn peek_in(&self, network: &str, key: &str, limit: Limit, now: Timestamp) -> Quota {
        let own = self.lock(key).entry(key).and_then(|(_, entry)| entry.peek(limit, now));
        own.unwrap_or_else(|| self.beginning(Some(network), limit, now).peek(limit, now))
    }

    /// Until `until`, copies of the credential `id` with a version below `version` are stale.
    pub(crate) fn mark_stale(&self, id: &str, version: i64, until: Timestamp) {
        self.lock(id).mark_stale(id, version, until);
    }

    /// Drops every idle key and every mark whose time is over, and gives the memory back.
    pub(crate) fn sweep(&self, now: Timestamp) {
        for shard in &self.shards {
            lock(shard).sweep(now);
        }
        self.overflow.sweep(now);
    }

    /// How much is kept.
    pub(crate) fn occupied(&self) -> Occupied {
        self.shards.iter().fold(Occupied { keys: 0, bytes: 0 }, |sum, shard| {
            let shard = lock(shard);
            Occupied { keys: sum.keys + shard.keys(), bytes: sum.bytes + shard.bytes() }
        })
    }

    /// Admits nothing any more, and saves everything; whether all of it could be saved.
    pub(crate) async fn close(&self) -> bool {
        let mut all: Vec<_> = self.shards.iter().flat_map(|shard| lock(shard).close()).collect();
        all.extend(self.overflow.all());
        // After this nothing is counted at its place either.
        for (_, entry) in &all {
            entry.leave();
        }
        match &self.saving {
            None => true,
            Some(saving) => timeout(CLOSING, saving.save_all(&all)).await.unwrap_or(false),
        }
    }

    /// What a key begins with that is not known; a shared window is of no network.
    fn beginning(&self, network: Option<&str>, limit: Limit, now: Timestamp) -> Window {
        let shared = network.and_then(|network| self.overflow.beginning(network, limit, now));
        let mut window = shared.unwrap_or_default();
        if self.saving.is_some() {
            // Whoever counts here next sees to it that it is saved.
            window.slack = 0;
        }
        let unseen = chunk(limit);
        for &killed in self.after_kills.iter().filter(|&&killed| unseen > 0 && now.since(killed) < limit.window) {
            window.hold_also(killed, unseen);
        }
        window
    }

    /// The key's shard, after a look at a few others of its keys.
    fn shard(&self, key: &str, now: Timestamp) -> MutexGuard<'_, Shard> {
        let mut shard = self.lock(key);
        shard.drop_idle(LOOKED_AT_PER_CALL, now);
        shard
    }

    fn lock(&self, key: &str) -> MutexGuard<'_, Shard> {
        #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
        let place = self.hasher.hash_one(key) as usize % SHARDS;
        lock(&self.shards[place])
    }
}

impl Shard {
    /// Counts a request of this key and network, if it is within `count` in the window of `limit`: in the key's own
    /// window, or in a shared one where there is no room.
    fn count(
        &mut self,
        limiter: &MemoryLimiter,
        (key, network): (&str, &str),
        limit: Limit,
        count: u32,
        now: Timestamp,
    ) -> Counted {
        if self.is_closed {
            return Counted::not(limit, now);
        }
        let own = self.entry_or_new(key, now);
        let is_own = own.is_some();
        let (name, entry) = own.unwrap_or_else(|| limiter.overflow.entry(network, limit));
        let begin = || limiter.beginning(is_own.then_some(network), limit, now);
        let counted = entry.count(&name, (limit, count), now, self.room(), limiter.saving.as_ref(), begin);
        if is_own {
            self.has_grown(counted.grown);
        }
        counted
    }
}

/// Where a credential's window and mark are in this process's memory, so that they need not be looked for at every
/// request. It stays right for as long as the window counts anything.
pub struct WindowPlace(Arc<Entry>);

impl WindowPlace {
    /// What [`Limiter::admit_copy`](crate::Limiter::admit_copy) says; `None` when it has to be asked, because window or
    /// mark are not here any more, or because the window is to be saved or needs more memory.
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
