//! A service in Rust, guarded by `auth-client`:
//!
//! ```sh
//! AUTH_SERVICE_URL=http://127.0.0.1:3001 JWT_SECRET=… PORT=5000 cargo run -p example-axum
//! curl -i http://127.0.0.1:5000/reports -H "Authorization: Bearer $TOKEN"
//! ```

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use auth_client::{AuthLayer, Caller};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

/// What was reported, and by whom; a real service has a database.
type Reports = Arc<Mutex<Vec<Value>>>;

/// Whoever may read reports reads all of them.
async fn list(State(reports): State<Reports>) -> Json<Value> {
    let reports = reports.lock().unwrap_or_else(PoisonError::into_inner);
    Json(json!({ "reports": *reports }))
}

/// The caller is an argument; without the layer's word there is none, and no call either.
async fn create(State(reports): State<Reports>, caller: Caller, title: String) -> (StatusCode, Json<Value>) {
    let report = json!({ "title": title, "by": caller.user_id() });
    reports.lock().unwrap_or_else(PoisonError::into_inner).push(report.clone());
    (StatusCode::CREATED, Json(report))
}

/// No scope: whoever is known may ask who they are.
async fn whoami(caller: Caller) -> Json<Value> {
    Json(json!({ "userId": caller.user_id(), "scopes": caller.scopes() }))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let auth = AuthLayer::new(setting("AUTH_SERVICE_URL")?, setting("JWT_SECRET")?)?;
    let app = Router::new()
        .route("/reports", get(list).layer(auth.scope("reports:read")))
        .route("/reports", post(create).layer(auth.scope("reports:write")))
        .route("/whoami", get(whoami).layer(auth))
        .route("/health", get(async || "ok"))
        .with_state(Reports::default());

    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{}", setting("PORT")?)).await?;
    // With the connection's address, which tokens with `allowedIps` and the audit log need.
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "`afd::config` reads what is `afd`'s; this is somebody else's program")]
fn setting(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("{name} is not set"))
}
