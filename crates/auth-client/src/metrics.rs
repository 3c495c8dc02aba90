//! What a client counts about its calls.

use std::time::Duration;

use telemetry::{Histogram, Outcomes, Registry};

use crate::{AuthClient, Unavailable};

/// Calls to the auth service.
#[derive(Debug)]
pub(crate) struct Metrics {
    calls: Outcomes<5>,
    seconds: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let outcomes = ["answered", "breaker_open", "unreachable", "nonsense", "failing"];
        Self { calls: Outcomes::new("outcome", outcomes), seconds: Histogram::default() }
    }

    /// Counts a call that was made and took this long.
    pub(crate) fn called<T>(&self, outcome: &Result<T, Unavailable>, took: Duration) {
        self.seconds.observe(took);
        self.ended(outcome.as_ref().err());
    }

    /// Counts a call that the breaker did not let through.
    pub(crate) fn refused(&self) {
        self.ended(Some(&Unavailable::BreakerOpen));
    }

    fn ended(&self, error: Option<&Unavailable>) {
        let place = match error {
            None => 0,
            Some(Unavailable::BreakerOpen) => 1,
            Some(Unavailable::Transport(_)) => 2,
            Some(Unavailable::Nonsense { .. } | Unavailable::TooLong { .. }) => 3,
            Some(Unavailable::Failing { .. }) => 4,
        };
        self.calls.at(place).inc();
    }
}

impl AuthClient {
    /// Shows in `registry` how calls to the auth service go.
    pub fn register_metrics(&self, registry: &mut Registry) {
        let Metrics { calls, seconds } = &self.metrics;
        registry.add("auth_calls", "Calls to the auth service, by what came back", calls.clone());
        registry.add("auth_call_seconds", "How long calls to the auth service took", seconds.clone());
        registry.add(
            "auth_breaker_open",
            "1 while calls to the auth service are refused without asking it, else 0",
            self.breaker.open_gauge(),
        );
    }
}
