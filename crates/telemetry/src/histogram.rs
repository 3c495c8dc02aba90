//! How long things take.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::Striped;

/// The upper ends of the buckets, in microseconds: from a validation out of memory to what gives up.
pub const BOUNDS: [u64; 14] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000, 30_000_000];
const BUCKETS: usize = BOUNDS.len() + 1;

/// How many took how long. Clones count together.
#[derive(Clone, Default)]
pub struct Histogram(Arc<Striped<Times>>);

#[derive(Default)]
struct Times {
    buckets: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

impl Histogram {
    /// Counts one that took this long.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS.len());
        let times = self.0.mine();
        times.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        times.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets().iter().sum()
    }

    fn buckets(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|bucket| self.0.iter().map(|times| times.buckets[bucket].load(Ordering::Relaxed)).sum())
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Histogram").field(&self.count()).finish()
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let counts = self.buckets();
        let micros: u64 = self.0.iter().map(|times| times.micros.load(Ordering::Relaxed)).sum();
        let ends = BOUNDS.iter().map(|bound| Duration::from_micros(*bound).as_secs_f64()).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = ends.zip(counts).collect();
        let sum = Duration::from_micros(micros).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// One histogram for each of the values of a label.
#[derive(Debug, Clone)]
pub struct HistogramVec<const N: usize> {
    label: &'static str,
    histograms: [(&'static str, Histogram); N],
}

impl<const N: usize> HistogramVec<N> {
    /// Histograms told apart by `label`, which takes these values.
    #[must_use]
    pub fn new(label: &'static str, values: [&'static str; N]) -> Self {
        Self { label, histograms: values.map(|value| (value, Histogram::default())) }
    }

    /// The histogram of the value at this place.
    #[must_use]
    pub fn at(&self, place: usize) -> &Histogram {
        &self.histograms[place].1
    }
}

impl<const N: usize> EncodeMetric for HistogramVec<N> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.histograms.iter().try_for_each(|(value, histogram)| {
            let labels = [(self.label, *value)];
            let encoder = encoder.encode_family(&labels)?;
            histogram.encode(encoder)
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
