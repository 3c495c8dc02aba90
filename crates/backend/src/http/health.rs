//! Whether the service lives, and whether it can answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use auth_api::BACKEND_SERVICE;
use axum::extract::State;
use axum::{Extension, Json};
use domain::Timestamp;
use http::StatusCode;
use serde::Serialize;
use web::RequestContext;

use super::Backend;

#[derive(Serialize)]
pub(super) struct Health {
    status: &'static str,
    service: &'static str,
    version: String,
    timestamp: Timestamp,
}

/// `GET /health`: the process lives. Says nothing about what it depends on; that is `/ready`.
pub(super) async fn health(State(backend): State<Arc<Backend>>) -> Json<Health> {
    let (version, timestamp) = (backend.version.clone(), backend.clock.now());
    Json(Health { status: "ok", service: BACKEND_SERVICE, version, timestamp })
}

#[derive(Serialize)]
pub(super) struct Ready {
    /// `ok`, `unavailable` or `draining`.
    status: &'static str,
    /// Each part: `ok` or `unavailable`.
    checks: BTreeMap<&'static str, &'static str>,
}

/// `GET /ready`: whether to send requests here; 503 names the part that is missing, or says that the service is about
/// to end.
pub(super) async fn ready(
    State(backend): State<Arc<Backend>>,
    Extension(context): RequestContext,
) -> (StatusCode, Json<Ready>) {
    let auth = if backend.auth.is_healthy().await { "ok" } else { "unavailable" };
    let (code, status) = match auth {
        _ if context.is_draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        "ok" => (StatusCode::OK, auth),
        _ => (StatusCode::SERVICE_UNAVAILABLE, auth),
    };
    (code, Json(Ready { status, checks: [("auth", auth)].into() }))
}
