//! One call over the wire: sending, the bound on the reply, and what counts as the service being there.

use std::time::Duration;

use auth_api::{ErrorBody, ErrorCode};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::body::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tracing::Instrument as _;
use url::Url;

use crate::client::path_of;
use crate::connections::Failure;
use crate::{AuthClient, EndUser, TransportError};

/// No reply of the service has a reason to be longer; a page of 100 audit events has a tenth of it.
const MAX_REPLY_BYTES: usize = 1024 * 1024;

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("alternatefutures-backend/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Whoever asks whether we are ready wants to know now.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// The auth service could not be asked, or what came back is not an answer. Nothing is known about the question.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// It failed several times just now; it was not even asked.
    #[error("the auth service has just failed repeatedly and is not asked for a moment")]
    BreakerOpen,
    /// No connection, no reply in time, or half of one.
    #[error("the auth service cannot be reached")]
    Transport(#[source] TransportError),
    /// A reply that the contract does not know.
    #[error("the auth service sent a reply that cannot be understood (status {status})")]
    Nonsense {
        /// Its HTTP status.
        status: u16,
    },
    /// A reply longer than any that is read. It says nothing about the service: whoever has much can ask for much.
    #[error("the auth service's reply is too long (status {status})")]
    TooLong {
        /// Its HTTP status.
        status: u16,
    },
    /// The service answered that it cannot serve now, or does not trust us.
    #[error("the auth service answered {code}")]
    Failing {
        /// Its error code.
        code: ErrorCode,
    },
}

/// Why a call for a user came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The service understood and said no; the body is fit for the user's eyes.
    #[error("refused with {}", .0.code)]
    Refused(Box<ErrorBody>),
    /// There is no answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A whole reply.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Unavailable> {
        serde_json::from_slice(&self.body).map_err(|_| self.nonsense())
    }

    pub(crate) fn nonsense(&self) -> Unavailable {
        Unavailable::Nonsense { status: self.status.as_u16() }
    }
}

impl AuthClient {
    /// One call on behalf of `user`.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Option<&(impl Serialize + Sync)>,
        user: &EndUser,
    ) -> Result<T, CallError> {
        let authorization = self.jwts.on_behalf_of(user, self.clock.now());
        let body = body.map(|body| serde_json::to_vec(body).expect("requests of strings and numbers are JSON"));
        let request = self.request(method, path_of(&url), authorization, user.client.request_id.as_deref(), body);
        self.guarded(request, |reply| understand(reply)).await?
    }

    /// Sends `request` unless the breaker is open, and tells the breaker how it went.
    ///
    /// `understand` fails on replies that count against the service; what merely does not help the caller is within
    /// its success.
    pub(crate) async fn guarded<T>(
        &self,
        mut request: Request<Full<Bytes>>,
        understand: impl FnOnce(&Reply) -> Result<T, Unavailable>,
    ) -> Result<T, Unavailable> {
        let Some(permit) = self.breaker.admit(self.clock.steady()) else {
            self.metrics.refused();
            return Err(Unavailable::BreakerOpen);
        };
        let uri = request.uri().clone();
        let path = uri.path();
        #[expect(clippy::disallowed_methods, reason = "the duration is only counted")]
        let started = std::time::Instant::now();
        let span = tracing::info_span!(
            target: telemetry::trace::TARGET,
            "call",
            otel.name = format_args!("auth {} {path}", request.method()),
            otel.kind = "client",
            http.request.method = request.method().as_str(),
        );
        telemetry::trace::pass_on(&span, request.headers_mut());
        let outcome = self.send(request).instrument(span).await.and_then(|reply| understand(&reply));
        self.metrics.called(&outcome, started.elapsed());
        if let Err(error) = &outcome {
            tracing::warn!(path, %error, cause = %cause(error), "call to the auth service failed");
        }
        match &outcome {
            Ok(_) | Err(Unavailable::TooLong { .. }) => permit.succeeded(),
            Err(_) => permit.failed(self.clock.steady()),
        }
        outcome
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply, Unavailable> {
        match timeout(self.total_timeout, self.connections.exchange(request, MAX_REPLY_BYTES)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(Failure::TooLong(status))) => Err(Unavailable::TooLong { status: status.as_u16() }),
            Ok(Err(Failure::Transport(error))) => Err(Unavailable::Transport(error)),
            Err(_) => Err(Unavailable::Transport(TransportError::Timeout)),
        }
    }

    /// Whether the auth service says that it lives. Asks it whatever the breaker thinks.
    pub async fn is_healthy(&self) -> bool {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = path_of(&self.url(&["health"]));
        request.headers_mut().insert(header::HOST, self.host.clone());
        let reply = timeout(HEALTH_TIMEOUT, self.connections.exchange(request, MAX_REPLY_BYTES)).await;
        reply.is_ok_and(|reply| reply.is_ok_and(|reply| reply.status == StatusCode::OK))
    }

    /// A request with what all calls have in common.
    pub(crate) fn request(
        &self,
        method: Method,
        path: Uri,
        authorization: HeaderValue,
        request_id: Option<&str>,
        json: Option<Vec<u8>>,
    ) -> Request<Full<Bytes>> {
        let is_json = json.is_some();
        let mut request = Request::new(json.map_or_else(Full::default, |json| Full::new(json.into())));
        *request.method_mut() = method;
        *request.uri_mut() = path;
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.host.clone());
        headers.insert(header::USER_AGENT, USER_AGENT);
        headers.insert(header::ACCEPT, JSON);
        headers.insert(header::AUTHORIZATION, authorization);
        if is_json {
            headers.insert(header::CONTENT_TYPE, JSON);
        }
        // Both services log the call under one id.
        if let Some(id) = request_id.and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(REQUEST_ID, id);
        }
        request
    }
}

/// The innermost reason, "connection refused" for example; the outer ones only repeat what was attempted.
fn cause(mut error: &dyn std::error::Error) -> &dyn std::error::Error {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// What a reply to a call for a user says.
fn understand<T: DeserializeOwned>(reply: &Reply) -> Result<Result<T, CallError>, Unavailable> {
    if reply.status.is_success() {
        return reply.json().map(Ok);
    }
    let body = error_body(reply)?;
    Ok(Err(match body.code {
        code if code.status() >= 500 => Unavailable::Failing { code }.into(),
        _ => CallError::Refused(Box::new(body)),
    }))
}

/// The error in a reply of a service that is alive. The service being in trouble, or not knowing us, is an `Err`.
pub(crate) fn error_body(reply: &Reply) -> Result<ErrorBody, Unavailable> {
    let body: ErrorBody = reply.json()?;
    if body.code.status() != reply.status.as_u16() {
        return Err(reply.nonsense());
    }
    match body.code {
        // It is us whom the service does not know: our JWT, not the user's credential.
        code @ ErrorCode::Unauthorized => Err(Unavailable::Failing { code }),
        // One request that the service trips over does not mean that it is down: whoever finds such a request must
        // not be able to open the breaker for everybody.
        ErrorCode::InternalError => Ok(body),
        code if code.status() >= 500 => Err(Unavailable::Failing { code }),
        _ => Ok(body),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tower::util::BoxCloneSyncService;
    use tower::{BoxError, ServiceExt as _, service_fn};

    use super::*;
    use crate::connections::{Connections, connector};
    use crate::fake::{Answer, FakeAuth, ManualClock, T0, somebody};

    /// The first `dead` attempts to connect lead to an address where nobody listens, the others to the fake.
    async fn client_whose_first_connections_fail(dead: usize) -> (FakeAuth, AuthClient, Arc<AtomicUsize>) {
        let fake = FakeAuth::start(Answer::Reply(200, r#"{"tokens":[]}"#.to_owned())).await;
        let attempts = Arc::<AtomicUsize>::default();
        let mut client = fake.client(&ManualClock::at(T0));
        let address: Uri = format!("http://{}/", fake.address).parse().unwrap();
        let nowhere: Uri = format!("http://127.0.0.2:{}/", fake.address.port()).parse().unwrap();
        let (real, counted) = (connector(&address).unwrap(), Arc::clone(&attempts));
        let failing = service_fn(move |address: Uri| {
            let is_dead = counted.fetch_add(1, Ordering::SeqCst) < dead;
            real.clone().oneshot(if is_dead { nowhere.clone() } else { address })
        });
        let failing = BoxCloneSyncService::new(failing.map_err(BoxError::from));
        client.connections = Connections::new(failing, address, Duration::from_secs(1));
        (fake, client, attempts)
    }

    #[tokio::test]
    async fn a_connection_that_did_not_come_about_is_tried_once_more() {
        let (fake, client, attempts) = client_whose_first_connections_fail(1).await;
        client.list_tokens(&somebody()).await.unwrap();
        assert_eq!((attempts.load(Ordering::SeqCst), fake.asked().len()), (2, 1));
    }

    #[tokio::test]
    async fn and_only_once() {
        let (fake, client, attempts) = client_whose_first_connections_fail(2).await;
        client.list_tokens(&somebody()).await.unwrap_err();
        assert_eq!((attempts.load(Ordering::SeqCst), fake.asked().len()), (2, 0));
    }

    #[tokio::test]
    async fn health_is_asked_whatever_the_breaker_thinks() {
        let fake = FakeAuth::start(Answer::Reply(503, String::new())).await;
        let client = fake.client(&ManualClock::at(T0));
        for _ in 0..5 {
            client.list_tokens(&somebody()).await.unwrap_err();
        }
        assert!(!client.is_healthy().await);
        fake.answers(Answer::Reply(200, "{}".to_owned()));
        assert!(client.is_healthy().await);
        assert_eq!(fake.asked().last().unwrap().line, "GET /health HTTP/1.1");
    }
}
