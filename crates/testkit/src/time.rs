//! Time and chance that a test decides on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use domain::{Chance, Clock, Timestamp};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// A clock that stands still until it is moved. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    /// Stands at this moment.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(now.as_millis())))
    }

    /// Moves on.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).expect("a test lasts less than the age of the universe");
        self.0.fetch_add(by, Ordering::SeqCst);
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
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
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
    fn the_same_seed_gives_the_same_randomness() {
        let draw = |seed| seeded_chance(seed).with(|rng| rng.next_u64());
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
