//! The keys under one lock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use domain::Timestamp;

use super::entry::Entry;
use super::saving::Named;
use super::window::Room;

/// How many other keys each call looks at. More than one, so that idle keys leave faster than new ones come.
pub(super) const LOOKED_AT_PER_CALL: usize = 2;
/// How many a newcomer looks at in a full shard before it goes to a shared window. Bounded, so that a flood of new
/// keys is not also a flood of work.
const LOOKED_AT_WHEN_FULL: usize = 32;

/// What `malloc` takes for so many bytes, by the book of the usual ones: a word of its own, and multiples of 16.
pub(super) const fn allocation(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16) }
}

/// The two counts in front of what an `Arc` holds.
const ARC: usize = 16;
const ENTRY: usize = allocation(ARC + size_of::<Entry>());
/// The most that a window's buckets grow by at once.
const GROWTH: usize = allocation(61 * 12);

/// What a key takes besides its window's buckets.
fn key_bytes(name: &str) -> usize {
    allocation(ARC + name.len()) + ENTRY
}

/// What a hash table with room for so many takes: a power of two of places, of which seven eighths are used.
fn table_bytes(capacity: usize) -> usize {
    let places = if capacity < 8 { capacity.next_power_of_two() } else { (capacity * 8 / 7).next_power_of_two() };
    if capacity == 0 { 0 } else { allocation(places * (size_of::<Named>() + 1) + 16) }
}

/// What a ring with room for so many takes.
const fn ring_bytes(capacity: usize) -> usize {
    allocation(capacity * size_of::<Arc<str>>())
}

pub(super) struct Shard {
    keys: HashMap<Arc<str>, Arc<Entry>>,
    /// Every key once, in the order in which they are looked at for being idle.
    rounds: VecDeque<Arc<str>>,
    /// What keys and windows take, without the two tables above.
    in_keys: usize,
    /// How many bytes it may take.
    budget: usize,
    /// The process stops: nothing is counted any more.
    pub(super) is_closed: bool,
}

impl Shard {
    pub(super) fn new(budget: usize) -> Self {
        Self { keys: HashMap::new(), rounds: VecDeque::new(), in_keys: 0, budget, is_closed: false }
    }

    /// How many bytes everything here takes: an estimate, and rather too high.
    pub(super) fn bytes(&self) -> usize {
        self.in_keys + table_bytes(self.keys.capacity()) + ring_bytes(self.rounds.capacity())
    }

    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// The key's window and mark, if it has some of its own.
    pub(super) fn entry(&self, name: &str) -> Option<Named> {
        self.keys.get_key_value(name).map(|(name, entry)| (Arc::clone(name), Arc::clone(entry)))
    }

    /// The same, made if there is room for it.
    pub(super) fn entry_or_new(&mut self, name: &str, now: Timestamp) -> Option<Named> {
        if let Some(named) = self.entry(name) {
            return Some(named);
        }
        if !self.has_room_for(name) {
            self.drop_idle(LOOKED_AT_WHEN_FULL, now);
        }
        self.has_room_for(name).then(|| self.insert(name, Entry::default()))
    }

    /// Puts a key in, whether or not there is room: what was counted before a restart, or is marked, is not dropped.
    pub(super) fn insert(&mut self, name: &str, entry: Entry) -> Named {
        let (name, entry): Named = (name.into(), Arc::new(entry));
        self.in_keys += key_bytes(&name);
        self.rounds.push_back(Arc::clone(&name));
        self.keys.insert(Arc::clone(&name), Arc::clone(&entry));
        (name, entry)
    }

    /// What a window here may do that needs more memory.
    pub(super) fn room(&self) -> Room {
        if self.bytes() + GROWTH <= self.budget { Room::Grows } else { Room::Merges }
    }

    /// A window takes so many bytes more.
    pub(super) const fn has_grown(&mut self, by: usize) {
        self.in_keys += by;
    }

    pub(super) fn is_stale(&self, id: &str, version: i64, now: Timestamp) -> bool {
        self.keys.get(id).is_some_and(|entry| entry.is_stale(version, now))
    }

    pub(super) fn mark_stale(&mut self, id: &str, version: i64, until: Timestamp) {
        let (_, entry) = self.entry(id).unwrap_or_else(|| self.insert(id, Entry::default()));
        entry.mark_stale(version, until);
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.drop_idle(self.rounds.len(), now);
        self.keys.shrink_to_fit();
        self.rounds.shrink_to_fit();
    }

    /// Looks at the next few keys and drops those that are idle.
    pub(super) fn drop_idle(&mut self, looked_at: usize, now: Timestamp) {
        for _ in 0..looked_at.min(self.rounds.len()) {
            let Some(name) = self.rounds.pop_front() else { return };
            match self.keys.get(&name).map(|entry| entry.drop_if_idle(now)) {
                Some(None) => self.rounds.push_back(name),
                Some(Some(buckets)) => {
                    self.keys.remove(&name);
                    self.in_keys = self.in_keys.saturating_sub(key_bytes(&name) + allocation(buckets));
                }
                None => {}
            }
        }
    }

    /// Counts nothing any more, and hands out all there is.
    pub(super) fn close(&mut self) -> Vec<Named> {
        self.is_closed = true;
        self.keys.iter().map(|(name, entry)| (Arc::clone(name), Arc::clone(entry))).collect()
    }

    fn has_room_for(&self, name: &str) -> bool {
        let mut then = self.bytes() + key_bytes(name) + allocation(2 * 12);
        if self.keys.len() == self.keys.capacity() {
            then += table_bytes(self.keys.capacity() + 1) - table_bytes(self.keys.capacity());
        }
        if self.rounds.len() == self.rounds.capacity() {
            then += ring_bytes(self.rounds.capacity().max(2));
        }
        then <= self.budget
    }
}
