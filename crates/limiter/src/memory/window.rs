//! The sliding window of one key.

use std::collections::VecDeque;
use std::time::Duration;

use domain::{Limit, Timestamp};

use crate::{Quota, Verdict};

/// A request that comes with an earlier time than the one before it was overtaken by that one, unless it is earlier by
/// more than this and more than its window: then the clock was set back.
const OVERTAKEN: Duration = Duration::from_mins(5);

/// Requests that are counted, and leave, together.
///
/// Packed to 12 bytes: a window holds up to 61 of them, and there is a window for every key.
#[derive(Clone, Copy)]
#[repr(Rust, packed(4))]
struct Bucket {
    /// The last request in it. The others are up to one bucket older and are held until this one leaves; to let the
    /// bucket go with its first request would let the others go too early.
    last: Timestamp,
    count: u32,
}

/// The most buckets that a window has at once: sixty, and the one that is about to leave.
const MOST: usize = 61;
/// Buckets that a window begins with room for, and by how much it grows: a key that comes once in a while, of which
/// there are many, takes little.
const FIRST: usize = 2;
const GROWTH: usize = 4;

/// What a window may do that has no room for one more bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Nothing; it has to be asked again by whoever knows how much memory there is.
    AsItIs,
    /// Take more memory.
    Grows,
    /// Put its two oldest buckets together: they leave together, some of them too late, none too early.
    Merges,
}

/// What a key did lately, oldest first.
#[derive(Clone)]
pub(super) struct Window {
    buckets: VecDeque<Bucket>,
    /// The sum of the buckets' counts.
    counted: u32,
    /// The length under which it was last asked.
    length: Duration,
    /// How many it has admitted; wraps around.
    admitted: u32,
    /// How many of those the database knows of.
    saved: u32,
    /// How far `admitted` may be ahead of `saved` until somebody has to see to it.
    pub(super) slack: u32,
    /// How far at most: what a kill may take with it.
    pub(super) chunk: u32,
}

/// One that nobody saves.
impl Default for Window {
    fn default() -> Self {
        Self {
            buckets: VecDeque::new(),
            counted: 0,
            length: Duration::ZERO,
            admitted: 0,
            saved: 0,
            slack: u32::MAX,
            chunk: 0,
        }
    }
}

impl Window {
    /// One with these buckets, of which the database knows. What seems to come from after `now` is taken to be from
    /// now: the clock was set back.
    pub(super) fn restored(length: Duration, mut buckets: Vec<(Timestamp, u32)>, now: Timestamp) -> Self {
        buckets.sort_unstable_by_key(|(last, _)| *last);
        let mut window = Self { length, slack: 0, ..Self::default() };
        for (last, count) in buckets.into_iter().filter(|(last, count)| *count > 0 && now.since(*last) < length) {
            window.hold(last.min(now), count);
        }
        window
    }

    /// Counts so many that this process has not admitted itself, all of them from `last`, which is not before what is
    /// counted already.
    pub(super) fn hold(&mut self, last: Timestamp, count: u32) {
        self.counted = self.counted.saturating_add(count);
        let is_full = self.buckets.len() >= MOST;
        if let Some(newest) = self.buckets.back_mut().filter(|newest| is_full || { newest.last } == last) {
            newest.last = last;
            newest.count = newest.count.saturating_add(count);
        } else {
            self.buckets.push_back(Bucket { last, count });
        }
    }

    /// The same for what may be older than some of what is counted.
    pub(super) fn hold_also(&mut self, last: Timestamp, count: u32) {
        let mut buckets: Vec<_> = self.contents().1;
        buckets.push((last, count));
        buckets.sort_unstable_by_key(|(last, _)| *last);
        self.buckets.clear();
        self.counted = 0;
        for (last, count) in buckets {
            self.hold(last, count);
        }
    }

    /// Counts a request made now, if it is within the limit.
    #[cfg(test)]
    pub(super) fn admit(&mut self, limit: Limit, now: Timestamp) -> Verdict {
        self.admit_within(limit, now, Room::Grows).expect("there is room")
    }

    /// The same with so much memory; `None`, and nothing was counted, when it cannot be done in what there is.
    pub(super) fn admit_within(&mut self, limit: Limit, now: Timestamp, room: Room) -> Option<Verdict> {
        let now = self.advance(limit.window, now);
        if self.counted >= limit.count {
            return Some(Verdict::Refused { quota: self.quota(limit, now), retry_at: self.retry_at(limit, now) });
        }
        match self.buckets.back_mut() {
            Some(newest) if place(newest.last, limit.window) == place(now, limit.window) => {
                newest.last = now;
                newest.count += 1;
            }
            _ => {
                self.make_room(room)?;
                self.buckets.push_back(Bucket { last: now, count: 1 });
            }
        }
        self.counted += 1;
        self.admitted = self.admitted.wrapping_add(1);
        Some(Verdict::Admitted(self.quota(limit, now)))
    }

    fn make_room(&mut self, room: Room) -> Option<()> {
        let (buckets, there_is) = (self.buckets.len(), self.buckets.capacity());
        if buckets < there_is {
            return Some(());
        }
        match room {
            Room::AsItIs => return None,
            Room::Merges if buckets >= FIRST => {
                let oldest = self.buckets.pop_front()?;
                self.buckets.front_mut()?.count += oldest.count;
            }
            Room::Grows | Room::Merges => {
                let wanted = (there_is * GROWTH).clamp(FIRST, MOST.max(buckets + 1));
                self.buckets.reserve_exact(wanted - buckets);
            }
        }
        Some(())
    }

    /// Takes back what was admitted at this moment and has not been granted after all.
    pub(super) fn take_back(&mut self, limit: Limit, at: Timestamp) {
        let of_then = |bucket: &Bucket| place(bucket.last, limit.window) == place(at, limit.window);
        // Not from another bucket: somebody else's request would leave too early.
        if let Some(index) = self.buckets.iter().position(of_then) {
            let bucket = &mut self.buckets[index];
            bucket.count -= 1;
            if bucket.count == 0 {
                self.buckets.remove(index);
            }
            self.counted -= 1;
        }
    }

    /// How much of what is counted the database does not know of.
    pub(super) fn unsaved(&mut self) -> u32 {
        let ahead = self.admitted.wrapping_sub(self.saved);
        if ahead > self.counted {
            // What has left the window needs no saving any more, and the unsaved are its newest.
            self.saved = self.admitted.wrapping_sub(self.counted);
        }
        ahead.min(self.counted)
    }

    /// Whether somebody has to see to it that this is saved, before one more is admitted.
    pub(super) const fn is_to_be_seen_to(&self) -> bool {
        self.admitted.wrapping_sub(self.saved) >= self.slack
    }

    /// The number of the request that was admitted last.
    pub(super) const fn number(&self) -> u32 {
        self.admitted
    }

    /// How far the request of this number is ahead of what the database knows; 0 when it knows of it.
    pub(super) const fn ahead(&self, number: u32) -> u32 {
        let ahead = number.wrapping_sub(self.saved);
        if ahead > u32::MAX / 2 { 0 } else { ahead }
    }

    /// The database knows of all up to this number.
    pub(super) const fn is_saved(&mut self, number: u32) {
        if self.ahead(number) > 0 {
            self.saved = number;
        }
    }

    /// What is to be saved: the length, and each bucket's last moment and count.
    pub(super) fn contents(&self) -> (Duration, Vec<(Timestamp, u32)>) {
        (self.length, self.buckets.iter().map(|&Bucket { last, count }| (last, count)).collect())
    }

    /// What its buckets take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }

    /// The window as it is now.
    pub(super) fn peek(&mut self, limit: Limit, now: Timestamp) -> Quota {
        let now = self.advance(limit.window, now);
        self.quota(limit, now)
    }

    /// Whether nothing is counted any more, so that to forget the window changes nothing.
    pub(super) fn is_idle(&mut self, now: Timestamp) -> bool {
        self.advance(self.length, now);
        self.buckets.is_empty()
    }

    /// Lets go what has left the window and returns the present as this window sees it: never before its last request.
    fn advance(&mut self, length: Duration, now: Timestamp) -> Timestamp {
        self.length = length;
        let Some(&Bucket { last, .. }) = self.buckets.back() else { return now };

        let behind = last.since(now);
        let now = if behind > length.max(OVERTAKEN) {
            // The clock was set back. The requests keep their distances and the last one is taken to be from now;
            // otherwise the key would stay as it is until the clock is where it was. Never for one that was merely
            // overtaken: the next would find its predecessors older than they are.
            for bucket in &mut self.buckets {
                bucket.last = bucket.last.minus(behind);
            }
            now
        } else {
            now.max(last)
        };
        while let Some(&Bucket { last, count }) = self.buckets.front() {
            if now.since(last) < length {
                break;
            }
            self.buckets.pop_front();
            self.counted = self.counted.saturating_sub(count);
        }
        now
    }

    fn quota(&self, limit: Limit, now: Timestamp) -> Quota {
        let oldest = self.buckets.front().map_or(now, |bucket| bucket.last);
        Quota {
            limit: limit.count,
            remaining: limit.count.saturating_sub(self.counted),
            reset_at: oldest.plus(limit.window),
        }
    }

    /// When enough has left for one more request. Usually that takes the oldest bucket only; more when the limit was
    /// lowered while they were being counted.
    fn retry_at(&self, limit: Limit, now: Timestamp) -> Timestamp {
        let mut left = self.counted;
        let freeing = self.buckets.iter().find(|bucket| {
            left -= bucket.count;
            left < limit.count
        });
        freeing.map_or(now, |bucket| bucket.last).plus(limit.window)
    }
}

/// Which sixtieth of a window the moment falls into, counted from the epoch.
fn place(moment: Timestamp, length: Duration) -> i64 {
    let width = length.as_millis().div_ceil(60).max(1);
    moment.as_millis().div_euclid(i64::try_from(width).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn remaining(verdict: Verdict) -> Option<u32> {
        match verdict {
            Verdict::Admitted(quota) => Some(quota.remaining),
            Verdict::Refused { .. } | Verdict::Unsaved => None,
        }
    }

    #[test]
    fn a_busy_window_stays_small() {
        let limit = Limit::per_minute(u32::MAX);
        let mut window = Window::default();
        for millis in (0..600_000).step_by(7) {
            assert!(remaining(window.admit(limit, at(millis))).is_some());
            assert!(window.buckets.len() <= 61);
        }
        assert!(size_of::<Window>() + window.buckets.capacity() * size_of::<Bucket>() < 1024);
    }

    #[test]
    fn a_lowered_limit_waits_until_enough_has_left() {
        let mut window = Window::default();
        for second in 0..10 {
            assert!(remaining(window.admit(Limit::per_minute(10), at(second * 1000))).is_some());
        }
        let lowered = Limit::per_minute(3);
        let Verdict::Refused { quota, retry_at } = window.admit(lowered, at(10_000)) else { panic!("admitted") };
        assert_eq!((quota.limit, quota.remaining, quota.reset_at), (3, 0, at(60_000)));
        assert_eq!(retry_at, at(67_000), "eight of the ten have to leave");
        assert_eq!(remaining(window.admit(lowered, at(66_999))), None);
        assert_eq!(remaining(window.admit(lowered, at(67_000))), Some(0));
    }

    #[test]
    fn a_raised_limit_and_another_window_keep_what_is_counted() {
        let mut window = Window::default();
        assert_eq!(remaining(window.admit(Limit::per_minute(1), at(0))), Some(0));
        assert_eq!(remaining(window.admit(Limit::per_minute(3), at(0))), Some(1));
        let hour = Limit { count: 3, window: Duration::from_hours(1) };
        assert_eq!(remaining(window.admit(hour, at(59_999))), Some(0));
        assert_eq!(remaining(window.admit(hour, at(3_599_999))), None);
    }

    /// Neither can be configured, yet the fields of a `Limit` are open.
    #[test]
    fn degenerate_limits_refuse_or_count_without_a_panic() {
        let none = Limit::per_minute(0);
        let Verdict::Refused { quota, retry_at } = Window::default().admit(none, at(5)) else { panic!("admitted") };
        assert_eq!((quota.remaining, quota.reset_at, retry_at), (0, at(60_005), at(60_005)));

        for length in [Duration::ZERO, Duration::from_millis(1), Duration::MAX] {
            let limit = Limit { count: 2, window: length };
            let mut window = Window::default();
            for moment in [i64::MIN, -1, 0, i64::MAX, i64::MIN, i64::MAX] {
                let _: Verdict = window.admit(limit, at(moment));
                assert!(window.counted <= 2);
            }
        }
    }
}
