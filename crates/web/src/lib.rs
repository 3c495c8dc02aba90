//! What the HTTP sides of both services share, and what would otherwise drift apart: the request's context (id, real
//! address, log line), the shape of errors, reading bodies, and serving until told to stop.

mod address;
mod bearer;
mod body;
mod context;
mod cors;
mod envelope;
mod error;
mod head_timer;
mod operations;
mod rate_limit;
mod request_id;
mod serve;
mod shortcut;

pub use address::TrustedProxies;
pub use bearer::{NoBearer, bearer, bearer_bytes};
pub use body::{AnyJson, Form, Json, JsonOrDefault, MAX_BODY_BYTES, Path, Query, content_type, read_json};
pub use context::{Context, client_info};
pub use cors::cors;
pub use envelope::{Arrival, Envelope, Lines, RequestContext, envelope};
pub use error::{ApiError, method_not_allowed, not_found};
pub use operations::{Draining, Operations, RequestMetrics};
pub use rate_limit::Window;
pub use request_id::{RequestId, RequestIds};
pub use serve::{App, Drain, Peer, Served, Threads, serve};
pub use shortcut::{Direct, Shortcut};
