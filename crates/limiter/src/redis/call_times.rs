//! How long Redis takes.

use telemetry::{HistogramVec, Registry};
use tokio::time::Instant;

/// The calls of one process to Redis, by whether they were answered. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct CallTimes(HistogramVec<2>);

impl Default for CallTimes {
    fn default() -> Self {
        Self(HistogramVec::new("outcome", ["answered", "failed"]))
    }
}

impl CallTimes {
    /// Counts a call that was made at `started` and has just ended.
    pub(super) fn count(&self, started: Instant, is_answered: bool) {
        self.0.at(usize::from(!is_answered)).observe(started.elapsed());
    }

    pub(crate) fn register(self, registry: &mut Registry) {
        registry.add("redis_seconds", "How long calls to Redis took", self.0);
    }
}
