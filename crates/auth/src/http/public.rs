//! What anybody may read: health, the index, the documents.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use auth_api::AUTH_SERVICE;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use domain::Timestamp;
use http::{StatusCode, header};
use limiter::LimiterState;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_swagger_ui::{Config, SwaggerUi};
use web::RequestContext;

use super::limits::Relaxed;
use crate::AuthService;

/// Whoever asks whether we are ready wants to know now.
const READY_PATIENCE: Duration = Duration::from_secs(2);

/// The process lives.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Health {
    status: &'static str,
    service: &'static str,
    version: &'static str,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
}

/// The process lives. Says nothing about what it depends on; that is `/ready`.
#[utoipa::path(get, path = "/health", tag = "operations", security(()), responses((status = 200, body = Health)))]
pub(super) async fn health(State(auth): State<Arc<AuthService>>) -> Json<Health> {
    let version = env!("CARGO_PKG_VERSION");
    Json(Health { status: "ok", service: AUTH_SERVICE, version, timestamp: auth.clock.now() })
}

/// Whether the parts that are needed to answer requests are there.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Ready {
    /// `ok`, `unavailable` or `draining`.
    status: &'static str,
    /// Each part: `ok` or `unavailable`.
    checks: BTreeMap<&'static str, &'static str>,
}

/// Whether to send requests here; 503 names the part that is missing, or says that the service is about to end.
#[utoipa::path(get, path = "/ready", tag = "operations", security(()),
    responses((status = 200, body = Ready), (status = 503, body = Ready)))]
pub(super) async fn ready(
    State(auth): State<Arc<AuthService>>,
    Extension(context): RequestContext,
) -> (StatusCode, Json<Ready>) {
    let database = timeout(READY_PATIENCE, auth.store.ping()).await;
    match &database {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "not ready: the database does not answer"),
        Err(_) => tracing::warn!("not ready: the database does not answer in time"),
    }
    let is_there = matches!(database, Ok(Ok(())));
    let word = |is_there| if is_there { "ok" } else { "unavailable" };
    let mut checks = BTreeMap::from([("database", word(is_there))]);
    if auth.limiter.state() != LimiterState::InProcess {
        checks.insert("redis", word(auth.limiter.state() == LimiterState::InRedis));
    }
    let is_there = checks.values().all(|state| *state == "ok");
    let (code, status) = match (context.is_draining, is_there) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (false, true) => (StatusCode::OK, "ok"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    (code, Json(Ready { status, checks }))
}

#[derive(Serialize)]
pub(super) struct Index {
    service: &'static str,
    version: &'static str,
    endpoints: Vec<String>,
}

/// What there is, by method and path.
pub(super) async fn index(_: Relaxed) -> Json<Index> {
    let document = super::api().into_openapi();
    let mut endpoints = vec!["GET /".to_owned(), "GET /openapi.json".to_owned(), "GET /docs".to_owned()];
    for (path, item) in &document.paths.paths {
        for (method, operation) in
            [("GET", &item.get), ("POST", &item.post), ("PATCH", &item.patch), ("DELETE", &item.delete)]
        {
            if operation.is_some() {
                endpoints.push(format!("{method} {path}"));
            }
        }
    }
    Json(Index { service: AUTH_SERVICE, version: env!("CARGO_PKG_VERSION"), endpoints })
}

/// The OpenAPI document.
pub(super) async fn openapi_json(_: Relaxed) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], super::openapi()).into_response()
}

/// The OpenAPI document for people. Everything it loads is compiled in.
pub(super) fn docs<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::from(SwaggerUi::new("/docs").config(Config::from("/openapi.json")))
}

/// The one way to authenticate: `Authorization: Bearer …`.
pub(super) struct BearerScheme;

impl utoipa::Modify for BearerScheme {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An access JWT, a personal access token or a service JWT"))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}
