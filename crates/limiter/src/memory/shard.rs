//! The keys under one lock.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{Limit, Timestamp};

use super::window::Window;
use crate::{CopyVerdict, Quota, Verdict};

/// How many other keys each call looks at. More than one, so that idle keys leave faster than new ones come.
const LOOKED_AT_PER_CALL: usize = 2;
/// How many a newcomer looks at in a full shard before it goes to the shared window. Bounded, so that a flood of new
/// keys is not also a flood of work.
const LOOKED_AT_WHEN_FULL: usize = 32;

/// A credential was changed: copies below `version` are stale until `until`.
struct Mark {
    version: i64,
    until: Timestamp,
}

/// What is kept of a key, under a lock of its own: whoever knows where it is counts there without looking for it.
/// Entries come, go and are marked under their shard's lock only, which is taken before theirs.
#[derive(Default)]
pub(super) struct Entry(Mutex<Key>);

#[derive(Default)]
struct Key {
    /// `None` until something is counted.
    window: Option<Window>,
    mark: Option<Mark>,
    /// The shard has dropped it: what would be counted here would be forgotten, and what is marked is marked elsewhere.
    is_gone: bool,
}

impl Entry {
    /// Counts a request with a copy of version `version`, unless it is stale; `None` when this is not the place to ask.
    pub(super) fn admit_copy(&self, version: i64, limit: Limit, now: Timestamp) -> Option<CopyVerdict> {
        let mut key = self.lock();
        if key.is_gone {
            return None;
        }
        if key.is_stale(version, now) {
            return Some(CopyVerdict::Stale);
        }
        key.window.as_mut().map(|window| CopyVerdict::Counted(window.admit(limit, now)))
    }

    fn is_dropped_if_idle(&self, now: Timestamp) -> bool {
        let mut key = self.lock();
        key.is_gone = key.is_idle(now);
        key.is_gone
    }

    /// As with the shard's lock, a panic can at worst have left a request uncounted or counted twice.
    fn lock(&self) -> MutexGuard<'_, Key> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    fn is_stale(&self, version: i64, now: Timestamp) -> bool {
        self.mark.as_ref().is_some_and(|mark| version < mark.version && now < mark.until)
    }

    fn is_idle(&mut self, now: Timestamp) -> bool {
        if self.mark.as_ref().is_some_and(|mark| now >= mark.until) {
            self.mark = None;
        }
        self.mark.is_none() && self.window.as_mut().is_none_or(|window| window.is_idle(now))
    }
}

pub(super) struct Shard {
    keys: HashMap<Arc<str>, Arc<Entry>>,
    /// Every key once, in the order in which they are looked at for being idle.
    rounds: VecDeque<Arc<str>>,
    /// What newcomers share while there is no room, by count and length.
    shared: HashMap<(u32, Duration), Window>,
    capacity: usize,
}

impl Shard {
    pub(super) fn new(capacity: usize) -> Self {
        Self { keys: HashMap::new(), rounds: VecDeque::new(), shared: HashMap::new(), capacity }
    }

    pub(super) fn admit(&mut self, key: &str, limit: Limit, now: Timestamp) -> Verdict {
        self.drop_idle(LOOKED_AT_PER_CALL, now);
        self.with_window(key, limit, now, |window| window.admit(limit, now))
    }

    /// Counts beyond the limit too, which tells only whose window counts for the key.
    pub(super) fn record(&mut self, key: &str, limit: Limit, now: Timestamp) {
        self.drop_idle(LOOKED_AT_PER_CALL, now);
        let _: Verdict =
            self.with_window(key, limit, now, |window| window.admit(Limit { count: u32::MAX, ..limit }, now));
    }

    pub(super) fn peek(&mut self, key: &str, limit: Limit, now: Timestamp) -> Quota {
        let own = self.keys.get(key).and_then(|entry| entry.lock().window.as_mut().map(|own| own.peek(limit, now)));
        own.unwrap_or_else(|| match self.shared.get_mut(&kind(limit)) {
            Some(window) => window.peek(limit, now),
            None => Window::default().peek(limit, now),
        })
    }

    pub(super) fn is_stale(&self, id: &str, version: i64, now: Timestamp) -> bool {
        self.keys.get(id).is_some_and(|entry| entry.lock().is_stale(version, now))
    }

    pub(super) fn mark_stale(&mut self, id: &str, version: i64, until: Timestamp) {
        let entry = match self.keys.get(id) {
            Some(entry) => &**entry,
            None => self.insert(id),
        };
        let mut key = entry.lock();
        let mark = key.mark.get_or_insert(Mark { version, until });
        mark.version = mark.version.max(version);
        mark.until = mark.until.max(until);
    }

    /// Where the key's window and mark are, if it has an entry of its own.
    pub(super) fn entry(&self, name: &str) -> Option<Arc<Entry>> {
        self.keys.get(name).cloned()
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.keys.retain(|_, entry| !entry.is_dropped_if_idle(now));
        self.rounds.retain(|key| self.keys.contains_key(key));
        self.shared.retain(|_, window| !window.is_idle(now));
        self.keys.shrink_to_fit();
        self.rounds.shrink_to_fit();
        self.shared.shrink_to_fit();
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Works with the window that counts for the key: its own, or the shared one while the shard has no room.
    fn with_window<T>(&mut self, name: &str, limit: Limit, now: Timestamp, work: impl FnOnce(&mut Window) -> T) -> T {
        if !self.keys.contains_key(name) {
            if self.keys.len() >= self.capacity {
                self.drop_idle(LOOKED_AT_WHEN_FULL, now);
            }
            if self.keys.len() >= self.capacity {
                return work(self.shared.entry(kind(limit)).or_default());
            }
            self.insert(name);
        }
        // Whoever gets a window while the shared one still counts something may be among those who are counted there,
        // and starts from it. To start from nothing would admit up to twice the limit.
        let shared = self.shared.get(&kind(limit));
        let mut key = self.keys.get(name).expect("was there or has been inserted").lock();
        work(key.window.get_or_insert_with(|| shared.cloned().unwrap_or_default()))
    }

    fn insert(&mut self, name: &str) -> &Entry {
        let name: Arc<str> = name.into();
        self.rounds.push_back(name.clone());
        self.keys.entry(name).or_default()
    }

    /// Looks at the next few keys and drops those that are idle.
    fn drop_idle(&mut self, looked_at: usize, now: Timestamp) {
        for _ in 0..looked_at.min(self.rounds.len()) {
            let Some(name) = self.rounds.pop_front() else { return };
            if self.keys.get(&name).is_some_and(|entry| !entry.is_dropped_if_idle(now)) {
                self.rounds.push_back(name);
            } else {
                self.keys.remove(&name);
            }
        }
    }
}

const fn kind(limit: Limit) -> (u32, Duration) {
    (limit.count, limit.window)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit::per_minute(3);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn is_admitted(shard: &mut Shard, key: &str, now: Timestamp) -> bool {
        matches!(shard.admit(key, LIMIT, now), Verdict::Admitted(_))
    }

    /// Full of `capacity` keys that have all been used at second 0.
    fn full(capacity: usize) -> Shard {
        let mut shard = Shard::new(capacity);
        for n in 0..capacity {
            assert!(is_admitted(&mut shard, &format!("old {n}"), at(0)));
        }
        assert_eq!(shard.keys(), capacity);
        shard
    }

    #[test]
    fn in_a_full_shard_newcomers_share_one_window() {
        let mut shard = full(100);
        let admitted = (0..1_000).filter(|n| is_admitted(&mut shard, &format!("new {n}"), at(1))).count();

        assert_eq!(admitted, 3);
        assert_eq!(shard.keys(), 100);
        assert_eq!(shard.rounds.len(), 100);
        assert_eq!(shard.peek("new 1", LIMIT, at(1)).remaining, 0);
        assert_eq!(shard.peek("old 1", LIMIT, at(1)).remaining, 2, "nobody lost their window");
        assert!(is_admitted(&mut shard, "old 1", at(1)));

        let other = shard.admit("new 1", Limit::per_minute(9), at(1));
        assert!(matches!(other, Verdict::Admitted(quota) if quota.remaining == 8), "each limit has its own");
    }

    #[test]
    fn a_newcomer_that_gets_its_own_window_takes_along_what_was_counted() {
        let mut shard = full(1);
        assert!(is_admitted(&mut shard, "new", at(59)));
        assert!(is_admitted(&mut shard, "new", at(59)));
        assert_eq!(shard.keys(), 1);

        assert!(is_admitted(&mut shard, "new", at(60)), "the old key is idle and leaves");
        assert_eq!(shard.keys.keys().map(|name| &**name).collect::<Vec<_>>(), ["new"]);
        assert!(!is_admitted(&mut shard, "new", at(60)), "two of its three were counted in the shared window");
        assert!(is_admitted(&mut shard, "new", at(119)));
    }

    /// A mark makes room for itself; a window begun later under it starts no fresher than any other.
    #[test]
    fn a_mark_in_a_full_shard_is_kept_and_gives_nothing_away() {
        let mut shard = full(1);
        assert!(is_admitted(&mut shard, "new", at(1)));
        shard.mark_stale("new", 7, at(30));

        assert!(shard.is_stale("new", 6, at(2)));
        assert_eq!(shard.peek("new", LIMIT, at(2)).remaining, 2);
        assert!(is_admitted(&mut shard, "new", at(2)));
        assert_eq!(shard.peek("new", LIMIT, at(2)).remaining, 1);
    }

    #[test]
    fn an_entry_counts_for_its_key_until_it_is_dropped() {
        let mut shard = Shard::new(10);
        assert!(is_admitted(&mut shard, "key", at(0)));
        let entry = shard.entry("key").unwrap();
        let admit = |now| match entry.admit_copy(1, LIMIT, now) {
            Some(CopyVerdict::Counted(Verdict::Admitted(quota))) => Some(quota.remaining),
            Some(CopyVerdict::Counted(Verdict::Refused { .. }) | CopyVerdict::Stale) | None => None,
        };
        assert_eq!(admit(at(1)), Some(1));
        assert!(is_admitted(&mut shard, "key", at(2)), "the same window");
        assert!(matches!(entry.admit_copy(1, LIMIT, at(3)), Some(CopyVerdict::Counted(Verdict::Refused { .. }))));

        shard.mark_stale("key", 2, at(90));
        assert_eq!(entry.admit_copy(1, LIMIT, at(61)), Some(CopyVerdict::Stale));
        assert!(matches!(entry.admit_copy(2, LIMIT, at(61)), Some(CopyVerdict::Counted(Verdict::Admitted(_)))));

        shard.sweep(at(150));
        assert_eq!(entry.admit_copy(2, LIMIT, at(150)), None, "what is counted here would count for nobody");
        assert!(is_admitted(&mut shard, "key", at(150)));
        assert_eq!(entry.admit_copy(2, LIMIT, at(150)), None);
    }

    /// Such a key is counted in the shared window, or starts from it.
    #[test]
    fn an_entry_that_is_only_marked_is_not_the_place_to_count() {
        let mut shard = full(1);
        assert!(is_admitted(&mut shard, "new", at(1)));
        assert!(shard.entry("new").is_none());
        shard.mark_stale("new", 7, at(30));
        let entry = shard.entry("new").unwrap();
        assert_eq!(entry.admit_copy(6, LIMIT, at(2)), Some(CopyVerdict::Stale));
        assert_eq!(entry.admit_copy(7, LIMIT, at(2)), None);
    }

    #[test]
    fn idle_keys_make_room_for_a_newcomer_at_once() {
        let mut shard = full(20);
        let next_to_be_looked_at: Vec<_> = shard.rounds.iter().take(10).cloned().collect();
        for name in next_to_be_looked_at {
            assert!(is_admitted(&mut shard, &name, at(30)));
        }
        assert!(is_admitted(&mut shard, "new", at(60)));
        assert!(shard.keys.contains_key("new") && shard.shared.is_empty());
        assert_eq!(shard.keys(), 11);
    }

    #[test]
    fn idle_keys_leave_on_use_alone() {
        let mut shard = full(1_000);
        for n in 0..500 {
            let _: Verdict = shard.admit("busy", LIMIT, at(60 + n / 100));
        }
        assert_eq!(shard.keys(), 1);
        assert_eq!(shard.rounds.len(), 1);
    }

    #[test]
    fn sweeping_frees_idle_keys_and_ended_marks_and_nothing_else() {
        let mut shard = full(1_000);
        let _: Verdict = shard.admit("stranger", LIMIT, at(0));
        shard.mark_stale("marked", 1, at(90));
        shard.mark_stale("old 0", 1, at(90));

        shard.sweep(at(59));
        assert_eq!(shard.keys(), 1_001);
        shard.sweep(at(60));
        assert_eq!(shard.keys(), 2, "the marked ones");
        assert!(shard.is_stale("old 0", 0, at(89)));
        assert!(shard.shared.is_empty());
        shard.sweep(at(90));
        assert_eq!((shard.keys(), shard.rounds.len()), (0, 0));
        assert_eq!((shard.keys.capacity(), shard.rounds.capacity()), (0, 0), "the memory is given back");
    }

    #[test]
    fn keys_used_under_a_wrong_future_time_leave_as_well() {
        let mut shard = Shard::new(10);
        for n in 0..10 {
            assert!(is_admitted(&mut shard, &format!("{n}"), at(4_000_000_000)));
        }
        shard.sweep(at(0));
        assert_eq!(shard.keys(), 10, "the step back is not taken for an idle window");
        shard.sweep(at(60));
        assert_eq!(shard.keys(), 0);
    }
}
