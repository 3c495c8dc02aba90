//! The service as connections see it, against an auth service on a real socket.

mod authentication;
mod fake_auth;
mod hostile;
mod http_statuses;
mod input;
mod known_documents;
mod operations;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use auth_client::{AuthClient, AuthClientConfig};
use axum::body::Body;
use domain::{Chance, Clock, Moment, Timestamp};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};
use tower::ServiceExt;
use web::{Peer, TrustedProxies};

use self::fake_auth::{FakeAuth, SECRET};
use super::{App, Config, app};

const T0: Timestamp = Timestamp::from_seconds(1_762_603_200);

/// A clock that stands still until it is moved.
#[derive(Debug, Clone)]
struct ManualClock(Arc<Mutex<Moment>>);

impl ManualClock {
    fn advance(&self, seconds: u64) {
        let mut at = self.0.lock().unwrap();
        let by = Duration::from_secs(seconds);
        *at = Moment { wall: at.wall.plus(by), steady: at.steady.plus(by) };
    }

    /// No time passes.
    fn set_back(&self, by: Duration) {
        let mut at = self.0.lock().unwrap();
        at.wall = at.wall.minus(by);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().wall
    }

    fn steady(&self) -> Timestamp {
        self.0.lock().unwrap().steady
    }
}

/// The service under test and the auth service beside it.
struct Service {
    app: App,
    auth: FakeAuth,
    clock: ManualClock,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{} {}", self.status, self.text))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The code of the only error, in either shape.
    fn code(&self) -> String {
        let body = self.json();
        let code = match body["errors"].as_array() {
            Some(errors) => {
                assert_eq!(errors.len(), 1, "{body}");
                errors[0]["extensions"]["code"].clone()
            }
            None => body["code"].clone(),
        };
        code.as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
    }
}

impl Service {
    async fn start() -> Self {
        let auth = FakeAuth::start().await;
        let clock = ManualClock(Arc::new(Mutex::new(Moment { wall: T0, steady: T0 })));
        let chance = Chance::new(ChaCha20Rng::seed_from_u64(1));
        let config = AuthClientConfig::new(format!("http://{}", auth.address), SECRET.into());
        let client = AuthClient::new(&config, Arc::new(clock.clone()), chance.clone()).unwrap();
        let app = app(Config {
            version: "1.2.3".to_owned(),
            commit_hash: "abc".to_owned(),
            cors_origins: vec![HeaderValue::from_static("https://app.example.com")],
            trusted_proxies: TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]),
            auth: client,
            clock: Arc::new(clock.clone()),
            chance,
            operations: web::Operations::default(),
        });
        Self { app, auth, clock }
    }

    async fn send(&self, mut request: Request<Body>) -> Reply {
        let peer: SocketAddr = "203.0.113.9:4711".parse().unwrap();
        if request.extensions().get::<Peer>().is_none() {
            request.extensions_mut().insert(Peer(peer));
        }
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Reply { status: parts.status, headers: parts.headers, text }
    }

    /// `POST /graphql` with a JSON body and nobody's credential.
    async fn post(&self, body: &Value) -> Reply {
        self.send(post(body)).await
    }

    /// Executes `query` as nobody.
    async fn ask(&self, query: &str) -> Reply {
        self.post(&json!({"query": query})).await
    }

    /// Executes `query` with a token that the auth service knows.
    async fn ask_as_somebody(&self, query: &str) -> Reply {
        self.send(with(post(&json!({"query": query})), header::AUTHORIZATION, "Bearer good")).await
    }
}

fn post(body: &Value) -> Request<Body> {
    let request = Request::post("/graphql").header(header::CONTENT_TYPE, "application/json");
    request.body(body.to_string().into()).unwrap()
}

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::empty()).unwrap()
}

fn with(mut request: Request<Body>, name: impl header::IntoHeaderName, value: &str) -> Request<Body> {
    request.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    request
}
