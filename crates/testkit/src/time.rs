//! Time and chance that a test decides on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use domain::{Chance, Clock, Timestamp};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// A clock that stands still until it is moved. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct TestClock(Arc<Moments>);

#[derive(Debug)]
struct Moments {
    now: AtomicI64,
    steady: AtomicI64,
}

impl TestClock {
    /// Stands at this moment.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        let now = now.as_millis();
        Self(Arc::new(Moments { now: AtomicI64::new(now), steady: AtomicI64::new(now) }))
    }

    /// Moves on.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).expect("a test lasts less than the age of the universe");
        self.0.steady.fetch_add(by, Ordering::SeqCst);
        self.0.now.fetch_add(by, Ordering::SeqCst);
    }

    /// Is set by so many milliseconds, back if they are negative: no time passes.
    pub fn set_by(&self, millis: i64) {
        self.0.now.fetch_add(millis, Ordering::SeqCst);
    }
}

/// Stands at 2025-11-08T12:00:00.000Z.
impl Default for TestClock {
    fn default() -> Self {
        Self::at(Timestamp::from_seconds(1_762_603_200))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.now.load(Ordering::SeqCst))
    }

    fn steady(&self) -> Timestamp {
        Timestamp::from_millis(self.0.steady.load(Ordering::SeqCst))
    }
}

/// Randomness that is the same in every run.
#[must_use]
pub fn seeded_chance(seed: u64) -> Chance {
    Chance::new(ChaCha20Rng::seed_from_u64(seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_stands_still_until_it_is_moved() {
        let clock = TestClock::default();
        let twin = clock.clone();
        assert_eq!(clock.now().to_string(), "2025-11-08T12:00:00.000Z");
        twin.advance(Duration::from_millis(1500));
        assert_eq!(clock.now().to_string(), "2025-11-08T12:00:01.500Z");
    }

    #[test]
    fn setting_the_clock_passes_no_time() {
        let clock = TestClock::default();
        clock.set_by(-3_600_000);
        assert_eq!(clock.now().to_string(), "2025-11-08T11:00:00.000Z");
        assert_eq!(clock.steady().to_string(), "2025-11-08T12:00:00.000Z");
    }

    #[test]
    fn the_same_seed_gives_the_same_randomness() {
        let draw = |seed| seeded_chance(seed).with(|rng| rng.next_u64());
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
