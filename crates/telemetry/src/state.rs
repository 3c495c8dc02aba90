//! What is one of several things at a time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

/// Which of the states that there are holds: a series for each, 1 for that one and 0 for the others. Clones are the
/// same.
#[derive(Debug, Clone)]
pub struct State<const N: usize> {
    label: &'static str,
    values: [&'static str; N],
    place: Arc<AtomicUsize>,
}

impl<const N: usize> State<N> {
    /// States told apart by `label`, which takes these values; the first one holds.
    #[must_use]
    pub fn new(label: &'static str, values: [&'static str; N]) -> Self {
        Self { label, values, place: Arc::default() }
    }

    /// From now on the state at this place holds.
    pub fn set(&self, place: usize) {
        self.place.store(place, Ordering::Relaxed);
    }
}

impl<const N: usize> EncodeMetric for State<N> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let holds = self.place.load(Ordering::Relaxed);
        self.values.iter().enumerate().try_for_each(|(place, value)| {
            let labels = [(self.label, *value)];
            encoder.encode_family(&labels)?.encode_gauge(&i64::from(place == holds))
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}
