//! What an operator sees of serving, and how it ends.

use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use telemetry::Histogram;

/// What a service's requests and its end have in common; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Operations {
    /// How many requests there were, and how long they took.
    pub requests: RequestMetrics,
    /// Whether the service is about to end.
    pub draining: Draining,
}

/// Whether the service was told to stop: it still answers, and asks to be sent nothing more.
#[derive(Debug, Clone, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    /// From now on `/ready` says no, and each reply closes its connection.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Requests by method, route and status, and how long they took.
///
/// A table that only grows and is read without a lock: routes, methods and statuses are few, and what does not fit any
/// more is counted together, so that nobody can fill the memory by asking strangely.
#[derive(Clone)]
pub struct RequestMetrics(Arc<Table>);

struct Table {
    slots: Box<[OnceLock<Series>]>,
    others: Series,
}

struct Series {
    method: &'static str,
    route: Box<str>,
    status: u16,
    times: Histogram,
}

const SLOTS: usize = 2048;
/// Places looked at before a series counts among the others.
const PROBES: usize = 32;

impl Default for RequestMetrics {
    fn default() -> Self {
        let slots = (0..SLOTS).map(|_| OnceLock::new()).collect();
        Self(Arc::new(Table { slots, others: Series::new("other", "other", 0) }))
    }
}

impl Series {
    fn new(method: &'static str, route: &str, status: u16) -> Self {
        Self { method, route: route.into(), status, times: Histogram::default() }
    }
}

impl RequestMetrics {
    /// Counts a request that took this long.
    pub fn observe(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        self.times(name(method), route, status.as_u16()).observe(took);
    }

    fn times(&self, method: &'static str, route: &str, status: u16) -> &Histogram {
        // Not keyed: nobody outside chooses a route, a method or a status.
        let hash = foldhash::fast::FixedState::default().hash_one((method, route, status));
        #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
        let start = hash as usize;
        for probe in 0..PROBES {
            let slot = &self.0.slots[(start.wrapping_add(probe)) % SLOTS];
            let series = slot.get_or_init(|| Series::new(method, route, status));
            if series.status == status && series.method == method && *series.route == *route {
                return &series.times;
            }
        }
        &self.0.others.times
    }

    fn series(&self) -> impl Iterator<Item = &Series> {
        let others = Some(&self.0.others).filter(|others| others.times.count() > 0);
        self.0.slots.iter().filter_map(OnceLock::get).chain(others)
    }
}

/// Anybody can make up a method; those that have a meaning are told apart.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

impl fmt::Debug for RequestMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestMetrics").finish_non_exhaustive()
    }
}

impl Collector for RequestMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut counts = encoder.encode_descriptor("http_requests", "Requests.", None, MetricType::Counter)?;
        for series in self.series() {
            let status = series.status.to_string();
            let labels = [("method", series.method), ("route", &*series.route), ("status", &*status)];
            let count = series.times.count();
            counts.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
        }
        let help = "How long requests took, until the reply began.";
        let mut times = encoder.encode_descriptor("http_request_seconds", help, None, MetricType::Histogram)?;
        for series in self.series() {
            let status = series.status.to_string();
            let labels = [("method", series.method), ("route", &*series.route), ("status", &*status)];
            series.times.encode(times.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use telemetry::Registry;

    use super::*;

    #[test]
    fn requests_are_told_apart_by_method_route_and_status() {
        let metrics = RequestMetrics::default();
        let took = Duration::from_millis(3);
        for (method, route, status) in [
            (Method::GET, "/tokens", 200),
            (Method::GET, "/tokens", 200),
            (Method::GET, "/tokens", 401),
            (Method::POST, "/tokens", 201),
            (Method::from_bytes(b"BREW").unwrap(), "unknown", 405),
        ] {
            metrics.observe(&method, route, StatusCode::from_u16(status).unwrap(), took);
        }
        let mut registry = Registry::default();
        registry.add_collector(metrics);
        let text = registry.render();
        for line in [
            r#"afd_http_requests_total{method="GET",route="/tokens",status="200"} 2"#,
            r#"afd_http_requests_total{method="GET",route="/tokens",status="401"} 1"#,
            r#"afd_http_requests_total{method="POST",route="/tokens",status="201"} 1"#,
            r#"afd_http_requests_total{method="other",route="unknown",status="405"} 1"#,
            r#"afd_http_request_seconds_bucket{method="GET",route="/tokens",status="200",le="0.005"} 2"#,
            r#"afd_http_request_seconds_bucket{method="GET",route="/tokens",status="200",le="0.0025"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in:\n{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_counted_together_and_nothing_is_lost() {
        let metrics = RequestMetrics::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for route in 0..10_000 {
                        metrics.observe(&Method::GET, &format!("/{route}"), StatusCode::OK, Duration::ZERO);
                    }
                });
            }
        });
        assert_eq!(metrics.series().map(|series| series.times.count()).sum::<u64>(), 40_000);
        assert!(metrics.series().count() <= SLOTS + 1);
        assert!(metrics.0.others.times.count() > 0);
    }
}
