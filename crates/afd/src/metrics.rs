//! `METRICS_PORT`: what the process counts about itself, on a listener of its own, so that it is nobody's business who
//! can only reach the service.

use std::sync::Arc;

use auth::AuthService;
use axum::Router;
use axum::routing::get;
use telemetry::{CONTENT_TYPE, Registry};
use tokio::net::TcpListener;
use web::{Drain, Threads};

use crate::config::Listen;
use crate::services;

/// The port that `METRICS_PORT` names, taken; `None` when it names none.
pub(crate) async fn bind(listen: &Listen) -> anyhow::Result<Option<TcpListener>> {
    let Some(port) = listen.metrics_port else { return Ok(None) };
    services::bind_to(listen.host, port).await.map(Some)
}

/// Answers `GET /metrics` until the process ends. What is only known when asked for is looked at then.
pub(crate) fn serve(listener: Option<TcpListener>, registry: Registry, auth: Option<Arc<AuthService>>) {
    let Some(listener) = listener else { return };
    let registry = Arc::new(registry);
    let metrics = async move || {
        if let Some(auth) = &auth {
            auth.look_at_itself().await;
        }
        ([(http::header::CONTENT_TYPE, CONTENT_TYPE)], registry.render())
    };
    let router = Router::new().route("/metrics", get(metrics));
    tokio::spawn(web::serve(listener, router, Threads::Here, Drain::default(), std::future::pending()));
}
