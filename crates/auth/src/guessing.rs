//! Guesses at codes, over the whole installation: what is counted of them, and what follows when they are an attack.
//!
//! Each mailbox, number and person has a bound of its own, in the database. Whoever tries a few guesses at each of very
//! many stays within all of them and finds somebody's code in the end. When wrong guesses outnumber right ones as they
//! never do when people mistype, all new codes are of ten characters, until it is over.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use store::{CodePurpose, GuessCounts, StoreError};
use telemetry::{Gauge, Outcomes, Registry};

use crate::AuthService;

/// Fewer wrong guesses in ten minutes than this are people who mistype.
const ATTACK: u64 = 200;
/// With so many right ones for each, too.
const RATIO: u64 = 10;
/// An attack is over when there have been fewer in ten minutes.
const CALM: u64 = 100;

/// By what a code came.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Channel {
    Email,
    Sms,
    App,
    Backup,
}

impl From<CodePurpose> for Channel {
    fn from(purpose: CodePurpose) -> Self {
        match purpose {
            CodePurpose::SignInByEmail => Self::Email,
            CodePurpose::SignInBySms => Self::Sms,
        }
    }
}

/// The guesses that this instance has seen.
#[derive(Debug)]
pub(crate) struct Guesses {
    right: Outcomes<4>,
    wrong: Outcomes<4>,
    breaker: Gauge,
    /// At codes that were sent, and not yet in the database.
    new_right: AtomicU64,
    new_wrong: AtomicU64,
    is_attacked: AtomicBool,
}

impl Guesses {
    pub(crate) fn new() -> Self {
        let channels = ["email", "sms", "app", "backup"];
        Self {
            right: Outcomes::new("channel", channels),
            wrong: Outcomes::new("channel", channels),
            breaker: Gauge::default(),
            new_right: AtomicU64::new(0),
            new_wrong: AtomicU64::new(0),
            is_attacked: AtomicBool::new(false),
        }
    }

    /// Counts one.
    pub(crate) fn note(&self, channel: Channel, is_right: bool) {
        let (counts, new) = if is_right { (&self.right, &self.new_right) } else { (&self.wrong, &self.new_wrong) };
        counts.at(channel as usize).inc();
        if let Channel::Email | Channel::Sms = channel {
            new.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether all new codes are of ten characters.
    pub(crate) fn is_attacked(&self) -> bool {
        self.is_attacked.load(Ordering::Relaxed)
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.add("right_guesses", "Codes that were typed and right, by how they came", self.right.clone());
        registry.add("wrong_guesses", "Codes that were typed and wrong, by how they came", self.wrong.clone());
        registry.add(
            "guessing_breaker_open",
            "1 while every new code is of ten characters, since codes are being guessed at everywhere",
            self.breaker.clone(),
        );
    }

    fn weigh(&self, seen: GuessCounts) {
        let was_attacked = self.is_attacked();
        let is_attacked = if was_attacked {
            seen.wrong >= CALM
        } else {
            seen.wrong >= ATTACK && seen.wrong >= RATIO.saturating_mul(seen.right)
        };
        self.is_attacked.store(is_attacked, Ordering::Relaxed);
        self.breaker.set(i64::from(is_attacked));
        let GuessCounts { right, wrong } = seen;
        match (was_attacked, is_attacked) {
            (false, true) => tracing::warn!(right, wrong, "codes are being guessed at: new ones have ten characters"),
            (true, false) => tracing::info!(right, wrong, "codes are guessed at no more: new ones have six digits"),
            _ => {}
        }
    }
}

impl AuthService {
    /// Writes down what this instance has seen of guesses, and decides by what all have seen in the last ten minutes.
    pub async fn weigh_guesses(&self) -> Result<(), StoreError> {
        let guesses = &self.metrics.guesses;
        let new = GuessCounts {
            right: guesses.new_right.swap(0, Ordering::Relaxed),
            wrong: guesses.new_wrong.swap(0, Ordering::Relaxed),
        };
        match self.store.add_guesses(&self.instance, self.clock.now(), new).await {
            Ok(seen) => {
                guesses.weigh(seen);
                Ok(())
            }
            Err(error) => {
                guesses.new_right.fetch_add(new.right, Ordering::Relaxed);
                guesses.new_wrong.fetch_add(new.wrong, Ordering::Relaxed);
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_breaker_opens_at_an_attack_and_closes_when_it_is_over() {
        let guesses = Guesses::new();
        let weigh = |right, wrong| {
            guesses.weigh(GuessCounts { right, wrong });
            guesses.is_attacked()
        };
        assert!(!weigh(0, 199), "a few people who mistype");
        assert!(!weigh(21, 200), "many people, of whom some mistype");
        assert!(weigh(20, 200));
        assert!(weigh(1000, 100), "the owners of the mailboxes end no attack");
        assert!(!weigh(0, 99));
    }
}
