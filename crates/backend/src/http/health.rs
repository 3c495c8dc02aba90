//! Whether the service lives, and whether it can answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use auth_api::BACKEND_SERVICE;
use axum::Json;
use axum::extract::State;
use domain::Timestamp;
use http::StatusCode;
use serde::Serialize;

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
    status: &'static str,
    /// Each part: `ok` or `unavailable`.
    checks: BTreeMap<&'static str, &'static str>,
}

/// `GET /ready`: whether requests can be answered now; 503 names the part that is missing.
pub(super) async fn ready(State(backend): State<Arc<Backend>>) -> (StatusCode, Json<Ready>) {
    let (code, status) = if backend.auth.is_healthy().await {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    };
    (code, Json(Ready { status, checks: [("auth", status)].into() }))
}
