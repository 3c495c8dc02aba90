//! What is shown to whoever watches.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::{Metric, Registry as Inner};

/// The media type of what [`Registry::render`] writes.
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// The metrics of one process; each room registers its own.
pub struct Registry(Inner);

impl Default for Registry {
    fn default() -> Self {
        Self(Inner::with_prefix("afd"))
    }
}

impl Registry {
    /// Shows a metric as `afd_NAME`; counters get `_total` appended. `help` is a sentence without its full stop.
    pub fn add(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.0.register(name, help, metric);
    }

    /// Shows what makes its own series when asked.
    pub fn add_collector(&mut self, collector: impl Collector) {
        self.0.register_collector(Box::new(collector));
    }

    /// All of it in Prometheus's text format.
    ///
    /// # Panics
    /// Never: writing to a string does not fail.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.0).expect("a string takes everything");
        text
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Counter, Gauge, Histogram, HistogramVec, Outcomes, State};

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let mut registry = Registry::default();
        let counter = Counter::default();
        counter.add(3);
        registry.add("things", "Things", counter);
        let outcomes = Outcomes::new("outcome", ["good", "bad"]);
        outcomes.at(1).inc();
        registry.add("verdicts", "Verdicts", outcomes);
        let gauge: Gauge = Gauge::default();
        gauge.set(-1);
        registry.add("level", "A level", gauge);
        let state = State::new("state", ["new", "old"]);
        state.set(1);
        registry.add("age", "An age", state);
        let times = Histogram::default();
        for millis in [1, 2, 40_000] {
            times.observe(Duration::from_millis(millis));
        }
        registry.add("seconds", "Times", times);
        registry.add("others_seconds", "Others", HistogramVec::new("kind", ["a"]));

        let text = registry.render();
        for line in [
            "# HELP afd_things_total Things.",
            "# TYPE afd_things_total counter",
            "afd_things_total 3",
            "afd_verdicts_total{outcome=\"good\"} 0",
            "afd_verdicts_total{outcome=\"bad\"} 1",
            "afd_level -1",
            "# TYPE afd_age gauge",
            "afd_age{state=\"new\"} 0",
            "afd_age{state=\"old\"} 1",
            "# TYPE afd_seconds histogram",
            "afd_seconds_bucket{le=\"0.001\"} 1",
            "afd_seconds_bucket{le=\"0.0025\"} 2",
            "afd_seconds_bucket{le=\"30\"} 2",
            "afd_seconds_bucket{le=\"+Inf\"} 3",
            "afd_seconds_count 3",
            "afd_seconds_sum 40.003",
            "afd_others_seconds_count{kind=\"a\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in:\n{text}");
        }
    }
}
