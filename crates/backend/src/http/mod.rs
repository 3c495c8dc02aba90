//! The service's HTTP side.

mod accept;
mod app;
mod authenticate;
mod console;
mod graphql;
mod health;
mod operation;
mod reply;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use auth_api::BACKEND_SERVICE;
use auth_client::AuthClient;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use axum::{Router, middleware};
use domain::{Chance, Clock};
use http::HeaderValue;
use web::{Envelope, MAX_BODY_BYTES, Operations, RequestIds, Shortcut, TrustedProxies};

use crate::document::Documents;
use crate::schema::{Schemas, Version};

pub use app::App;
use app::Direct;

/// What the service is made of.
pub struct Config {
    /// The release, as `version` and `/health` show it.
    pub version: String,
    /// The commit it was built from.
    pub commit_hash: String,
    /// The origins whose pages may call us from a browser; `*` stands for all. No cookie is ever read, so that a page
    /// can only use what credential it has itself.
    pub cors_origins: Vec<HeaderValue>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// The auth service.
    pub auth: AuthClient,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where request ids come from.
    pub chance: Chance,
    /// What an operator sees of serving, and how it ends.
    pub operations: Operations,
}

/// What the handlers share.
struct Backend {
    schemas: Schemas,
    /// Those that `schemas` have executed.
    documents: Documents,
    auth: Arc<AuthClient>,
    clock: Arc<dyn Clock>,
    version: String,
}

/// The service, ready to be served.
pub fn app(config: Config) -> App {
    let auth = Arc::new(config.auth);
    let version = Version { commit_hash: config.commit_hash, version: config.version.clone() };
    let backend = Arc::new(Backend {
        schemas: Schemas::new(&auth, &version),
        documents: Documents::default(),
        auth,
        clock: Arc::clone(&config.clock),
        version: config.version,
    });
    let envelope = Envelope {
        clock: config.clock,
        request_ids: RequestIds::new(&config.chance),
        trusted_proxies: Arc::new(config.trusted_proxies),
        service: BACKEND_SERVICE,
        operations: config.operations,
    };
    let router = Router::new()
        .route(graphql::PATH, get(graphql::get).post(graphql::post))
        .route("/graphql/console.js", get(console::script))
        .route("/graphql/console.css", get(console::style))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .fallback(web::not_found)
        .method_not_allowed_fallback(web::method_not_allowed)
        .with_state(Arc::clone(&backend))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(web::cors(&config.cors_origins))
        .layer(middleware::from_fn_with_state(envelope.clone(), web::envelope));
    Shortcut::new(router, Direct { backend, envelope })
}
