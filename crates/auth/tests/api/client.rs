//! Calls to the service under test, and their replies.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use auth::App;
use axum::body::Body;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use serde_json::Value;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

/// Where calls come from unless they say otherwise.
pub(crate) const ADDRESS: &str = "198.51.100.1";
/// With what program, likewise.
pub(crate) const PROGRAM: &str = "test/1.0";

/// A call in the making; await it.
#[must_use]
pub(crate) struct Call {
    app: App,
    request: Request<Body>,
}

impl Call {
    pub(crate) fn new(app: App, method: Method, path: &str) -> Self {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(PROGRAM));
        Self { app, request }.from(ADDRESS)
    }

    /// With this bearer credential.
    pub(crate) fn by(self, credential: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), &format!("Bearer {credential}"))
    }

    /// Over a connection from this address.
    pub(crate) fn from(mut self, address: &str) -> Self {
        let address: IpAddr = address.parse().unwrap();
        self.request.extensions_mut().insert(web::Peer(SocketAddr::new(address, 40_000)));
        self
    }

    /// With this program.
    pub(crate) fn agent(mut self, program: &str) -> Self {
        self.request.headers_mut().insert(USER_AGENT, HeaderValue::from_str(program).unwrap());
        self
    }

    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        self.bytes(name, value.as_bytes())
    }

    /// A header that need not be text.
    pub(crate) fn bytes(mut self, name: &str, value: &[u8]) -> Self {
        let value = HeaderValue::from_bytes(value).unwrap();
        self.request.headers_mut().append(HeaderName::try_from(name).unwrap(), value);
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.request.headers_mut().remove(name);
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub(crate) fn body(self, content_type: &str, body: impl Into<Body>) -> Self {
        self.raw(body).header(CONTENT_TYPE.as_str(), content_type)
    }

    /// With a body that no header says anything about.
    pub(crate) fn raw(mut self, body: impl Into<Body>) -> Self {
        *self.request.body_mut() = body.into();
        self
    }
}

impl IntoFuture for Call {
    type Output = Reply;
    type IntoFuture = Pin<Box<dyn Future<Output = Reply> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Ok(response) = self.app.oneshot(self.request).await;
            let (parts, body) = response.into_parts();
            let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let json = serde_json::from_str(&text).unwrap_or_default();
            Reply { status: parts.status.as_u16(), headers: parts.headers, text, json }
        })
    }
}

/// What was answered.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// Null where the body is no JSON.
    pub(crate) json: Value,
}

impl Reply {
    /// A header's text; empty where it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The JSON body of a success of this status.
    #[track_caller]
    pub(crate) fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.assert_dressed();
        self.json
    }

    /// The JSON body of a failure, which must be in the form that all errors have.
    #[track_caller]
    pub(crate) fn fails(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, &self.json["code"]), (status, &code.into()), "{}", self.text);
        self.assert_dressed();
        assert!(self.json["error"].as_str().is_some_and(|sentence| !sentence.is_empty()), "{}", self.text);
        assert_eq!(self.json["requestId"], self.header("x-request-id"), "{}", self.text);
        assert_eq!(self.header("www-authenticate").starts_with("Bearer "), matches!(status, 401 | 403), "{self:?}");
        if status == 429 {
            let seconds = self.json["retryAfter"].as_u64().unwrap();
            assert!(seconds > 0);
            assert_eq!(self.header("retry-after"), seconds.to_string());
            assert!(self.json["resetAt"].is_string(), "{}", self.text);
        }
        self.json
    }

    /// A 400 that names the field.
    #[track_caller]
    pub(crate) fn fails_at(self, path: &str) {
        let body = self.fails(400, "VALIDATION_ERROR");
        assert_eq!(body["details"][0]["path"], path, "{body}");
        assert!(body["details"][0]["message"].as_str().is_some_and(|sentence| !sentence.is_empty()), "{body}");
    }

    /// What every reply carries.
    #[track_caller]
    fn assert_dressed(&self) {
        assert!(!self.header("x-request-id").is_empty(), "{self:?}");
        assert_eq!(self.header("cache-control"), "no-store", "{self:?}");
        assert_eq!(self.header("x-content-type-options"), "nosniff", "{self:?}");
    }
}

/// Runs `count` futures on all threads of the runtime, from one starting line.
pub(crate) async fn parallel<F>(count: usize, make: impl Fn(usize) -> F) -> Vec<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let line = Arc::new(Barrier::new(count));
    let mut running = JoinSet::new();
    for number in 0..count {
        let line = Arc::clone(&line);
        let work = make(number);
        running.spawn(async move {
            line.wait().await;
            work.await
        });
    }
    running.join_all().await
}
