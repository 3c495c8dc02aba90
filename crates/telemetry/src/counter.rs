//! Numbers that only grow.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::Striped;

/// A number that only grows. Clones count together.
#[derive(Clone, Default)]
pub struct Counter(Arc<Striped<AtomicU64>>);

impl Counter {
    /// Counts one more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.mine().fetch_add(n, Ordering::Relaxed);
    }

    /// What has been counted.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counter").field(&self.get()).finish()
    }
}

impl EncodeMetric for Counter {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_counter::<NoLabelSet, u64, u64>(&self.get(), None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// One counter for each of the outcomes that there are; `T` is an enum whose variants number them.
///
/// The label's values are fixed from the start, so that a rate exists before the first of a kind.
#[derive(Debug, Clone)]
pub struct Outcomes<const N: usize> {
    label: &'static str,
    counters: [(&'static str, Counter); N],
}

impl<const N: usize> Outcomes<N> {
    /// Counters told apart by `label`, which takes these values.
    #[must_use]
    pub fn new(label: &'static str, values: [&'static str; N]) -> Self {
        Self { label, counters: values.map(|value| (value, Counter::default())) }
    }

    /// The counter of the value at this place.
    #[must_use]
    pub fn at(&self, place: usize) -> &Counter {
        &self.counters[place].1
    }
}

impl<const N: usize> EncodeMetric for Outcomes<N> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.counters.iter().try_for_each(|(value, counter)| {
            let labels = [(self.label, *value)];
            let encoder = encoder.encode_family(&labels)?;
            counter.encode(encoder)
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_threads() {
        let counter = Counter::default();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| (0..10_000).for_each(|_| counter.inc()));
            }
        });
        assert_eq!(counter.get(), 160_000);
    }
}
