//! An auth service on a real socket that knows four credentials: `good`, `session`, `described`, whose owner it describes
//! when it is asked to, as older ones did not, and `limited`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use auth_api::{AUTH_SERVICE, SERVICE_TO_SERVICE, ServiceClaims};
use axum::extract::{Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::{StatusCode, header};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(super) const SECRET: &str = "an example secret of at least 32 bytes";
const AT: &str = "2025-11-08T12:00:00.000Z";

/// What the service was asked, the service JWT already verified.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) line: String,
    pub(super) claims: ServiceClaims,
    pub(super) body: Value,
}

#[derive(Default)]
struct Known {
    asked: Mutex<Vec<Asked>>,
}

pub(super) struct FakeAuth {
    pub(super) address: SocketAddr,
    known: Arc<Known>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl FakeAuth {
    pub(super) async fn start() -> Self {
        let known = Arc::<Known>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let running = Some(serve(listener, Arc::clone(&known)));
        Self { address, known, running }
    }

    pub(super) async fn stop(&mut self) {
        let (stop, task) = self.running.take().unwrap();
        stop.send(()).unwrap();
        task.await.unwrap();
    }

    pub(super) async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.running = Some(serve(listener, Arc::clone(&self.known)));
    }

    /// All that was asked so far, `/health` aside.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.known.asked.lock().unwrap().clone()
    }

    /// All that was asked besides validations.
    pub(super) fn calls(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.line != "POST /tokens/validate").collect()
    }
}

fn serve(listener: TcpListener, known: Arc<Known>) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let router = Router::new()
        .route("/tokens/validate", post(validate))
        .route("/tokens", post(create).get(list))
        .route("/tokens/{id}", delete(remove))
        .route("/tokens/{id}/rotate", post(rotate))
        .route("/tokens/limits", get(limits))
        .route("/auth/me", get(me))
        .route("/audit", get(audit))
        .layer(middleware::from_fn_with_state(known, check))
        .route("/health", get(async || "{}"));
    let (stop, stopped) = oneshot::channel();
    let stopped = async {
        let _ = stopped.await;
    };
    let serving = web::serve(listener, router, web::Threads::Here, web::Drain::default(), stopped);
    let task = tokio::spawn(async { drop(serving.await) });
    (stop, task)
}

/// Only a service with the secret is answered; what it asks is written down.
async fn check(State(known): State<Arc<Known>>, request: Request, next: Next) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(claims) = authorization.and_then(|value| verify(value.strip_prefix("Bearer ")?)) else {
        return error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", &json!({}));
    };
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let line = format!("{} {}", parts.method, parts.uri);
    let body = serde_json::from_slice(&bytes).unwrap_or_default();
    known.asked.lock().unwrap().push(Asked { line, claims, body });
    next.run(Request::from_parts(parts, bytes.into())).await
}

fn verify(jwt: &str) -> Option<ServiceClaims> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.set_audience(&[AUTH_SERVICE]);
    let key = DecodingKey::from_secret(SECRET.as_bytes());
    let claims = jsonwebtoken::decode::<ServiceClaims>(jwt, &key, &validation).ok()?.claims;
    (claims.kind == SERVICE_TO_SERVICE).then_some(claims)
}

fn error(status: StatusCode, code: &str, more: &Value) -> Response {
    let mut body = json!({"error": format!("sentence for {code}"), "code": code, "requestId": "r"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    (status, Json(body)).into_response()
}

async fn validate(Json(body): Json<Value>) -> Response {
    let window = |remaining: u32| json!({"limit": 1000, "remaining": remaining, "resetAt": "2025-11-08T12:00:30.000Z"});
    let valid = |kind: &str, id: &str| {
        json!({
            "valid": true, "kind": kind, "userId": "u1", "tokenId": id, "name": null, "scopes": ["*"],
            "email": null, "displayName": null, "avatarUrl": null, "expiresAt": null, "rateLimit": window(998),
        })
    };
    match body["token"].as_str().unwrap() {
        "good" => Json(valid("pat", "t1")).into_response(),
        "session" => Json(valid("session", "s1")).into_response(),
        "described" => {
            let mut reply = valid("pat", "t1");
            if body["withUser"] == true {
                reply["user"] = user();
            }
            Json(reply).into_response()
        }
        "limited" => error(
            StatusCode::TOO_MANY_REQUESTS,
            "RATE_LIMIT_EXCEEDED",
            &json!({"valid": false, "retryAfter": 7, "resetAt": "2025-11-08T12:00:07.000Z", "rateLimit": window(0)}),
        ),
        "confusing" => Html("<!doctype html><title>valid: true</title>").into_response(),
        _ => error(StatusCode::UNAUTHORIZED, "INVALID_TOKEN", &json!({"valid": false})),
    }
}

async fn create(Json(body): Json<Value>) -> Response {
    match body["name"].as_str().unwrap() {
        "bad!" => error(StatusCode::BAD_REQUEST, "INVALID_TOKEN_NAME", &json!({})),
        "full" => error(StatusCode::BAD_REQUEST, "MAX_TOKENS_EXCEEDED", &json!({})),
        "narrow" => error(StatusCode::FORBIDDEN, "FORBIDDEN", &json!({})),
        "past" => {
            let details = json!({"details": [{"path": "expiresAt", "message": "must be in the future"}]});
            error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR", &details)
        }
        "often" => {
            error(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_EXCEEDED", &json!({"retryAfter": 60, "resetAt": AT}))
        }
        "broken" => error(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", &json!({})),
        "confusing" => Html("SELECT * FROM tokens at http://db.internal").into_response(),
        name => (StatusCode::CREATED, Json(created("t2", name, &body))).into_response(),
    }
}

fn created(id: &str, name: &str, body: &Value) -> Value {
    json!({"success": true, "token": {
        "id": id, "name": name, "token": "af_live_0123456789abcdef",
        "scopes": if body["scopes"].is_null() { json!(["*"]) } else { body["scopes"].clone() },
        "allowedIps": body["allowedIps"], "expiresAt": body["expiresAt"], "createdAt": AT, "updatedAt": AT, "lastUsedAt": null,
    }})
}

async fn list() -> Json<Value> {
    Json(json!({"tokens": [{
        "id": "t1", "name": "ci", "prefix": "af_live_0123", "scopes": ["a:read"], "allowedIps": ["192.0.2.0/24"], "expiresAt": null,
        "lastUsedAt": AT, "createdAt": AT, "updatedAt": AT,
    }]}))
}

async fn rotate(Path(id): Path<String>, Json(body): Json<Value>) -> Response {
    match id.as_str() {
        "t2" => (StatusCode::CREATED, Json(created("t2", "ci", &body))).into_response(),
        _ => error(StatusCode::NOT_FOUND, "NOT_FOUND", &json!({})),
    }
}

async fn remove(Path(id): Path<String>) -> Response {
    match id.as_str() {
        "t2" => Json(json!({"success": true, "message": "gone"})).into_response(),
        _ => error(StatusCode::NOT_FOUND, "NOT_FOUND", &json!({})),
    }
}

async fn limits() -> Json<Value> {
    Json(json!({"rateLimit": {"limit": 50, "remaining": 48, "resetAt": AT}, "tokenLimit": {"active": 2, "max": 500}}))
}

async fn me() -> Json<Value> {
    Json(json!({"user": user(), "organizations": []}))
}

fn user() -> Value {
    json!({
        "id": "u1", "email": "a@example.com", "phone": null, "displayName": "Ada", "avatarUrl": null,
        "emailVerified": true, "phoneVerified": false, "walletAddress": null, "createdAt": AT, "updatedAt": AT,
        "lastLoginAt": null,
    })
}

/// Two pages: three events, then one.
async fn audit(request: Request) -> Json<Value> {
    let event = |id: &str| {
        json!({
            "id": id, "type": "token.created", "at": AT,
            "actor": {"userId": "u1", "tokenId": null, "sessionId": "s1", "service": "alternatefutures-backend"},
            "ip": "203.0.113.9", "userAgent": "curl/8", "requestId": "r1", "metadata": {"name": "ci"},
        })
    };
    let query = request.uri().query().unwrap();
    Json(if query.contains("cursor=") {
        json!({"events": [event("e1")], "nextCursor": null})
    } else {
        json!({"events": [event("e4"), event("e3"), event("e2")], "nextCursor": "1762603200000.e2"})
    })
}
