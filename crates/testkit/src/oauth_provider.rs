//! An OAuth 2.0 provider on real HTTP, as strict as the strictest of the real ones, that fails when it is told to.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get, post};
use axum::{Form, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The three things that a provider is asked by a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OAuthStep {
    /// A token for a code.
    Token,
    /// Who the token is of.
    Userinfo,
    /// Their addresses.
    Emails,
}

/// How a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OAuthFault {
    /// 500, with JSON that would otherwise do.
    Status500,
    /// 200 and a page for people.
    Html,
    /// 200 and not one byte.
    Nothing,
    /// 200 and 10 MB of JSON.
    Huge,
    /// No answer, ever.
    Hang,
    /// 200, the beginning of an answer, and then nothing more.
    Stall,
    /// 302 to somewhere that would answer well.
    Redirect,
    /// 200 and an error, as GitHub does it.
    ErrorWith200,
    /// JSON that is not what was asked for.
    OtherJson,
}

/// A listening provider with one client; it stops when it is dropped.
pub struct OAuthProvider {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    user: Value,
    emails: Value,
    denies: bool,
    faults: HashMap<OAuthStep, OAuthFault>,
    asked: Vec<OAuthStep>,
    count: u64,
    /// By code: what it was given out for.
    codes: HashMap<String, Grant>,
    tokens: Vec<String>,
}

struct Grant {
    redirect_uri: String,
    challenge: String,
}

type Fields = HashMap<String, String>;

impl OAuthProvider {
    /// The client's id.
    pub const CLIENT_ID: &'static str = "a client";
    /// The client's secret, which is accepted in the body and in the `Authorization` header.
    pub const CLIENT_SECRET: &'static str = "the client's secret & more";

    /// Listens on a free port of this machine.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Mutex::new(Shared::default()));
        let router = Router::new()
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/userinfo", get(userinfo))
            .route("/emails", get(emails))
            .route("/elsewhere", any(async || Json(would_do())))
            .with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { address, shared, serving }
    }

    /// The URL of `/authorize`, `/token`, `/userinfo` or `/emails`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on this is the person at the browser.
    pub fn person(&self, user: Value, emails: Value) {
        let mut shared = lock(&self.shared);
        (shared.user, shared.emails) = (user, emails);
    }

    /// Whether the person at the browser says no.
    pub fn deny(&self, denies: bool) {
        lock(&self.shared).denies = denies;
    }

    /// From now on, this step fails like this, or not.
    pub fn fail(&self, step: OAuthStep, fault: Option<OAuthFault>) {
        let faults = &mut lock(&self.shared).faults;
        match fault {
            Some(fault) => faults.insert(step, fault),
            None => faults.remove(&step),
        };
    }

    /// What services have asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<OAuthStep> {
        lock(&self.shared).asked.clone()
    }

    /// The tokens given out so far.
    #[must_use]
    pub fn tokens(&self) -> Vec<String> {
        lock(&self.shared).tokens.clone()
    }

    /// What a browser is answered at `url`, which must be this provider's `/authorize`: where it goes next.
    pub async fn visit(&self, url: &str) -> String {
        assert!(url.starts_with(&self.url("/authorize?")), "{url}");
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
        let response = client.expect("an HTTP client").get(url).send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), 303, "{:?}", response.text().await);
        let location = response.headers()["location"].to_str().expect("a location is text");
        location.to_owned()
    }
}

impl Drop for OAuthProvider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// RFC 6749 §4.1.1 and RFC 7636 §4.3. Everything optional is required.
async fn authorize(State(shared): State<Arc<Mutex<Shared>>>, Query(query): Query<Fields>) -> Response {
    let field = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    let is_right = field("response_type") == "code"
        && field("client_id") == OAuthProvider::CLIENT_ID
        && field("code_challenge_method") == "S256"
        && field("code_challenge").len() == 43
        && field("redirect_uri").starts_with("http")
        && !field("scope").is_empty()
        && field("state").len() >= 22;
    if !is_right {
        return (StatusCode::BAD_REQUEST, "invalid_request").into_response();
    }
    let mut shared = lock(&shared);
    shared.count += 1;
    let code = format!("code {}", shared.count);
    let answer = if shared.denies {
        "error=access_denied&error_description=no".to_owned()
    } else {
        let grant =
            Grant { redirect_uri: field("redirect_uri").to_owned(), challenge: field("code_challenge").to_owned() };
        shared.codes.insert(code.clone(), grant);
        format!("code={}", code.replace(' ', "%20"))
    };
    Redirect::to(&format!("{}?{answer}&state={}", field("redirect_uri"), field("state"))).into_response()
}

/// RFC 6749 §4.1.3 and RFC 7636 §4.6. A code is good once.
async fn token(State(shared): State<Arc<Mutex<Shared>>>, headers: HeaderMap, Form(form): Form<Fields>) -> Response {
    if let Some(response) = fault(&shared, OAuthStep::Token).await {
        return response;
    }
    let mut shared = lock(&shared);
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let login = format!("{}:{}", OAuthProvider::CLIENT_ID, OAuthProvider::CLIENT_SECRET);
    let basic = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default().to_owned());
    let knows_secret = match basic {
        Some(basic) => basic == format!("Basic {}", BASE64.encode(login)) && !form.contains_key("client_secret"),
        None => field("client_secret") == OAuthProvider::CLIENT_SECRET,
    };
    let challenge = BASE64URL.encode(Sha256::digest(field("code_verifier")));
    let grant = shared.codes.remove(field("code"));
    let is_right = grant.is_some_and(|grant| {
        grant.redirect_uri == field("redirect_uri")
            && grant.challenge == challenge
            && field("code_verifier").len() >= 43
    });
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    if field("grant_type") != "authorization_code" || field("client_id") != OAuthProvider::CLIENT_ID || !knows_secret {
        return refuse("invalid_client");
    }
    if !is_right {
        return refuse("invalid_grant");
    }
    shared.count += 1;
    let token = format!("provider-token-{}", shared.count);
    shared.tokens.push(token.clone());
    Json(json!({ "access_token": token, "token_type": "bearer", "expires_in": 3600 })).into_response()
}

async fn userinfo(State(shared): State<Arc<Mutex<Shared>>>, headers: HeaderMap) -> Response {
    if let Some(response) = fault(&shared, OAuthStep::Userinfo).await {
        return response;
    }
    let shared = lock(&shared);
    for_token(&shared, &headers, &shared.user)
}

async fn emails(State(shared): State<Arc<Mutex<Shared>>>, headers: HeaderMap) -> Response {
    if let Some(response) = fault(&shared, OAuthStep::Emails).await {
        return response;
    }
    let shared = lock(&shared);
    for_token(&shared, &headers, &shared.emails)
}

fn for_token(shared: &Shared, headers: &HeaderMap, answer: &Value) -> Response {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = bearer.strip_prefix("Bearer ").unwrap_or_default();
    if !shared.tokens.iter().any(|known| known == token) || !headers.contains_key(header::USER_AGENT) {
        return (StatusCode::UNAUTHORIZED, Json(json!({ "error": "invalid_token" }))).into_response();
    }
    Json(answer.clone()).into_response()
}

/// What any step could be answered with, were it not for the fault.
fn would_do() -> Value {
    json!({ "access_token": "x", "id": 1, "sub": "1", "data": { "id": "1" } })
}

/// Notes that the step was asked for, and fails it if it is to fail.
async fn fault(shared: &Mutex<Shared>, step: OAuthStep) -> Option<Response> {
    let fault = {
        let mut shared = lock(shared);
        shared.asked.push(step);
        shared.faults.get(&step).copied()?
    };
    Some(match fault {
        OAuthFault::Status500 => (StatusCode::INTERNAL_SERVER_ERROR, Json(would_do())).into_response(),
        OAuthFault::Html => axum::response::Html("<html><body>Sorry</body></html>").into_response(),
        OAuthFault::Nothing => Body::empty().into_response(),
        OAuthFault::Huge => {
            let mut huge = would_do();
            huge["filler"] = "x".repeat(10 * 1024 * 1024).into();
            Json(huge).into_response()
        }
        OAuthFault::Hang => std::future::pending().await,
        OAuthFault::Stall => {
            let beginning = stream::iter([Ok::<_, std::io::Error>("{\"id\":1,")]);
            Body::from_stream(beginning.chain(stream::pending())).into_response()
        }
        OAuthFault::Redirect => (StatusCode::FOUND, [(header::LOCATION, "/elsewhere")]).into_response(),
        OAuthFault::ErrorWith200 => Json(json!({ "error": "bad_verification_code" })).into_response(),
        OAuthFault::OtherJson => Json(json!("x")).into_response(),
    })
}
