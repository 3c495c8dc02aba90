//! What the services count about themselves, in a form that costs a hot path a few nanoseconds: whoever counts holds
//! the counter itself, so nothing is looked up, formatted or allocated per request, and threads do not write to each
//! other's cache lines. `docs/operations.md` lists every metric; a test compares it with what is registered.

mod counter;
mod histogram;
mod registry;
mod state;
mod stripe;
pub mod trace;

pub use counter::{Counter, Outcomes};
pub use histogram::{BOUNDS, Histogram, HistogramVec};
pub use prometheus_client::metrics::gauge::Gauge;
pub use registry::{CONTENT_TYPE, Registry};
pub use state::State;
pub use stripe::Striped;
