//! A circuit breaker: when the other side is down, say so at once instead of making everybody wait for a timeout.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::Timestamp;
use telemetry::Gauge;

/// How many failures in a row open the breaker.
const FAILURES_TO_OPEN: u32 = 5;
/// How long an open breaker refuses before it lets one call through to see.
const OPEN_FOR: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Timestamp },
    Probing,
}

/// Closed: calls go through. Open: calls are refused. After a while one call, the probe, decides which it becomes.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// The state, and how often it opened or closed: what a call of an earlier period reports is old news.
    state: Mutex<(State, u64)>,
    /// 1 unless it is closed.
    open: Gauge,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new((State::Closed { failures: 0 }, 0)), open: Gauge::default() }
    }

    /// Leave for one call, or `None` while the breaker is open.
    pub(crate) fn admit(&self, now: Timestamp) -> Option<Permit<'_>> {
        let mut guard = self.lock();
        let (state, period) = &mut *guard;
        match *state {
            State::Closed { .. } => {}
            State::Open { until } if now >= until => {
                *state = State::Probing;
                *period += 1;
            }
            State::Open { .. } | State::Probing => return None,
        }
        let is_probe = *state == State::Probing;
        Some(Permit { breaker: self, period: *period, is_probe, reported: false })
    }

    /// Follows the state: 1 unless calls go through.
    pub(crate) fn open_gauge(&self) -> Gauge {
        self.open.clone()
    }

    fn lock(&self) -> MutexGuard<'_, (State, u64)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave for one call; whoever holds it reports how the call went.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    breaker: &'a Breaker,
    period: u64,
    is_probe: bool,
    reported: bool,
}

impl Permit<'_> {
    /// The other side answered sensibly.
    pub(crate) fn succeeded(self) {
        self.report(|state, _| {
            if *state == State::Probing {
                tracing::info!("the auth service answers again");
            }
            *state = State::Closed { failures: 0 };
        });
    }

    /// The other side could not be reached, or answered nonsense.
    pub(crate) fn failed(self, now: Timestamp) {
        let until = now.plus(OPEN_FOR);
        self.report(|state, period| {
            *state = match *state {
                State::Closed { failures } if failures + 1 < FAILURES_TO_OPEN => {
                    State::Closed { failures: failures + 1 }
                }
                _ => {
                    tracing::warn!("the auth service keeps failing; calls are refused for {} s", OPEN_FOR.as_secs());
                    *period += 1;
                    State::Open { until }
                }
            };
        });
    }

    fn report(mut self, change: impl FnOnce(&mut State, &mut u64)) {
        self.reported = true;
        let mut guard = self.breaker.lock();
        let (state, period) = &mut *guard;
        if *period == self.period {
            change(state, period);
            self.breaker.open.set(i64::from(!matches!(state, State::Closed { .. })));
        }
    }
}

impl Drop for Permit<'_> {
    /// A probe whose caller went away decides nothing; without this nobody would ever probe again.
    fn drop(&mut self) {
        if self.is_probe && !self.reported {
            let mut guard = self.breaker.lock();
            if guard.1 == self.period {
                guard.0 = State::Open { until: Timestamp::from_millis(i64::MIN) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_seconds(1_762_603_200);

    fn fail(breaker: &Breaker, times: u32, now: Timestamp) {
        for _ in 0..times {
            breaker.admit(now).expect("admitted").failed(now);
        }
    }

    #[test]
    fn five_failures_in_a_row_open_it_four_do_not() {
        let breaker = Breaker::new();
        fail(&breaker, 4, T0);
        breaker.admit(T0).unwrap().succeeded();
        fail(&breaker, 4, T0);
        assert!(breaker.admit(T0).is_some(), "a success in between starts the count anew");
        assert_eq!(breaker.open_gauge().get(), 0);
        fail(&breaker, 1, T0);
        assert!(breaker.admit(T0).is_none());
        assert_eq!(breaker.open_gauge().get(), 1);
    }

    #[test]
    fn after_two_seconds_one_probe_decides() {
        let breaker = Breaker::new();
        fail(&breaker, 5, T0);
        assert!(breaker.admit(T0.plus(OPEN_FOR).minus(Duration::from_millis(1))).is_none());

        let later = T0.plus(OPEN_FOR);
        let probe = breaker.admit(later).unwrap();
        assert!(breaker.admit(later).is_none(), "one probe at a time");
        probe.failed(later);
        assert!(breaker.admit(later).is_none(), "a failed probe opens it for another two seconds");

        let later = later.plus(OPEN_FOR);
        breaker.admit(later).unwrap().succeeded();
        assert_eq!(breaker.open_gauge().get(), 0);
        fail(&breaker, 4, later);
        assert!(breaker.admit(later).is_some(), "a good probe closes it and forgets the failures");
    }

    #[test]
    fn a_probe_that_was_given_up_lets_another_one_through() {
        let breaker = Breaker::new();
        fail(&breaker, 5, T0);
        let later = T0.plus(OPEN_FOR);
        drop(breaker.admit(later).unwrap());
        assert!(breaker.admit(later).is_some());
    }

    #[test]
    fn calls_from_before_it_opened_change_nothing_when_they_end() {
        let breaker = Breaker::new();
        let slow_success = breaker.admit(T0).unwrap();
        let slow_failure = breaker.admit(T0).unwrap();
        fail(&breaker, 5, T0);

        slow_success.succeeded();
        assert!(breaker.admit(T0).is_none(), "an old success does not close it");
        let later = T0.plus(OPEN_FOR);
        let probe = breaker.admit(later).unwrap();
        slow_failure.failed(later);
        probe.succeeded();
        assert!(breaker.admit(later).is_some(), "nor does an old failure outvote the probe");
    }

    #[test]
    fn of_many_threads_exactly_one_probes() {
        for _ in 0..200 {
            let breaker = Breaker::new();
            fail(&breaker, 5, T0);
            let later = T0.plus(OPEN_FOR);
            let start = std::sync::Barrier::new(8);
            let permits = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            start.wait();
                            breaker.admit(later)
                        })
                    })
                    .collect();
                threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            });
            assert_eq!(permits.len(), 1);
        }
    }
}
