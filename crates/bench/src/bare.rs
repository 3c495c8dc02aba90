//! The measure of all ratios: an axum server that parses the validate route's request and answers a constant as long as
//! its reply. Same allocator as `afd`, and nothing of what makes a service: no identity, no limits, no headers.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The body of `POST /tokens/validate`.
#[derive(Deserialize)]
struct Request {
    token: String,
}

/// `bare PORT REPLY`: answers `POST /tokens/validate` with the text `REPLY`, and `GET /health`.
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().unwrap_or_default().parse()?;
    let reply: &'static str = Box::leak(arguments.next().unwrap_or_default().into_boxed_str());
    let app = Router::new()
        .route("/tokens/validate", post(validate))
        .route("/health", axum::routing::get(|| async { "ok" }))
        .with_state(reply);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, app).await?;
    Ok(())
}

async fn validate(State(reply): State<&'static str>, Json(request): Json<Request>) -> impl IntoResponse {
    // Looked at, so that parsing it cannot be left out.
    let reply = if request.token.is_empty() { "" } else { reply };
    ([(header::CONTENT_TYPE, "application/json")], reply)
}
