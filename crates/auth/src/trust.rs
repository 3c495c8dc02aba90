//! For how long what was read from the database is trusted without asking it again.
//!
//! An instance looks at what has been taken away all the time ([`look`](crate::AuthService::look)). What it keeps in
//! memory counts only for a while after it began to look: one that is frozen, cut off or starved finds its trust gone
//! when it goes on, and reads the database, or says that it cannot.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use domain::Timestamp;

/// For how long copies are used after the last look began. Whoever has taken something away and waits as long, and a
/// little more, knows that no instance trusts an older copy any more.
pub const TRUST: Duration = Duration::from_millis(1500);

/// Until when copies may be used, by the steady clock.
pub(crate) struct Trust(AtomicI64);

impl Default for Trust {
    /// Nothing has been looked at yet.
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Trust {
    /// Whether copies may be used at this moment.
    pub(crate) fn holds(&self, steady: Timestamp) -> bool {
        steady.as_millis() < self.0.load(Ordering::Acquire)
    }

    /// Everything has been applied that was known when a look began.
    pub(crate) fn looked(&self, began_at: Timestamp) {
        self.0.fetch_max(began_at.plus(TRUST).as_millis(), Ordering::AcqRel);
    }

    /// There will be no more looks.
    pub(crate) fn end(&self) {
        self.0.store(i64::MIN, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_lasts_from_the_beginning_of_the_last_look_and_a_late_one_takes_none_away() {
        let (trust, at) = (Trust::default(), Timestamp::from_millis);
        assert!(!trust.holds(at(0)) && !trust.holds(at(i64::MIN)));
        trust.looked(at(1_000));
        trust.looked(at(500));
        assert!(trust.holds(at(2_499)) && !trust.holds(at(2_500)));
        trust.end();
        assert!(!trust.holds(at(1_000)));
    }
}
