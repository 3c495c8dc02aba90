//! What surrounds every request: its id, who is at the other end, the log line, the error's body.

use std::any::Any;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use domain::{Chance, ClientInfo, Clock, EventId};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use tracing::{Instrument as _, field};

use crate::{ApiError, Operations, Peer, TrustedProxies, Window};

/// What a handler may want to know about its request, and what it tells the envelope about its reply.
#[derive(Debug)]
pub struct Context {
    /// The request's id in replies and logs.
    pub request_id: String,
    /// Who is at the other end.
    pub client: ClientInfo,
    /// Whether the service was told to stop and asks to be sent nothing more.
    pub is_draining: bool,
    caller: OnceLock<&'static str>,
    window: Mutex<Option<Window>>,
}

impl Context {
    /// Notes for the log by what kind of credential the caller is known: `session`, `pat`, `service`.
    pub fn note_caller(&self, kind: &'static str) {
        let _ = self.caller.set(kind);
    }

    /// Shows the state of a limit in the reply's headers; the last one noted is shown.
    pub fn note_window(&self, window: Window) {
        *self.window.lock().unwrap_or_else(PoisonError::into_inner) = Some(window);
    }
}

/// The request's [`Context`] as an extractor.
pub type RequestContext = axum::Extension<Arc<Context>>;

/// What the [`envelope`] needs.
#[derive(Clone)]
pub struct Envelope {
    /// The time, for headers that count seconds.
    pub clock: Arc<dyn Clock>,
    /// Where request ids come from.
    pub chance: Chance,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Arc<TrustedProxies>,
    /// The service's name in the log.
    pub service: &'static str,
    /// What an operator sees and steers.
    pub operations: Operations,
}

/// How long a request may take. Everything within has shorter limits of its own; this one is for what nobody thought
/// of, and for whoever sends a body by the byte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The outermost layer of both services.
pub async fn envelope(State(envelope): State<Envelope>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unknown", MatchedPath::as_str);
    envelope.put_around(request, route, Lines::Each, |request| next.run(request)).await
}

/// Which requests of a route are in the log at the level `info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// Each.
    Each,
    /// Those that failed on our side; the others are there at the level `debug`. For a route that is asked so often
    /// that writing it down would cost more than answering.
    OfFailures,
}

impl Envelope {
    /// Puts the envelope around an answer.
    ///
    /// Gives the request its id and context, turns a panic into a 500 and an [`ApiError`] into its body, adds the
    /// headers that every reply carries, counts, and writes one log line that reads alone. Neither query strings nor
    /// headers are logged: they can hold secrets.
    pub async fn put_around<F: Future<Output = Response>>(
        &self,
        mut request: Request,
        route: &str,
        lines: Lines,
        answer: impl FnOnce(Request) -> F,
    ) -> Response {
        #[expect(clippy::disallowed_methods, reason = "the duration is only logged and counted")]
        let started = std::time::Instant::now();
        let context = Arc::new(self.context(&request));
        let method = request.method().clone();
        let version = request.version();
        let span = tracing::info_span!(
            target: telemetry::trace::TARGET,
            "request",
            otel.name = format_args!("{method} {route}"),
            otel.kind = "server",
            http.request.method = method.as_str(),
            http.route = route,
            http.response.status_code = field::Empty,
            request_id = context.request_id,
        );
        telemetry::trace::continue_trace(&span, request.headers());
        request.extensions_mut().insert(Arc::clone(&context));

        let answer = AssertUnwindSafe(answer(request)).catch_unwind().instrument(span.clone());
        let response = match tokio::time::timeout(REQUEST_TIMEOUT, answer).await {
            Ok(Ok(response)) => response,
            Ok(Err(panic)) => ApiError::internal(&panic_message(&*panic)).into_response(),
            Err(_) => ApiError::unavailable(&"the request took too long and was given up").into_response(),
        };
        let response = self.dress(response, &context, version);

        let status = response.status();
        span.record("http.response.status_code", status.as_u16());
        let took = started.elapsed();
        self.operations.requests.observe(&method, route, status, took);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    service = self.service,
                    request_id = context.request_id,
                    method = method.as_str(),
                    route,
                    status = status.as_u16(),
                    duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                    caller = context.caller.get().copied().unwrap_or("anonymous"),
                    ip = context.client.ip.map(tracing::field::display),
                    "request"
                )
            };
        }
        if lines == Lines::Each || status.is_server_error() {
            line!(info);
        } else {
            line!(debug);
        }
        response
    }

    /// What every reply carries.
    fn dress(&self, mut response: Response, context: &Context, version: Version) -> Response {
        if let Some(error) = response.extensions_mut().remove::<ApiError>() {
            let headers = std::mem::take(response.headers_mut());
            response = error.render(&context.request_id);
            // What the router had to say about the failure (`Allow`) stays; the empty body's length does not.
            for (name, value) in headers {
                if let Some(name) = name.filter(|name| *name != header::CONTENT_LENGTH) {
                    response.headers_mut().entry(name).or_insert(value);
                }
            }
        }
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&context.request_id) {
            headers.insert(REQUEST_ID, id);
        }
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // Whoever keeps the connection would find it closed when it sends the next request. (HTTP/2 has a frame for
        // that.)
        if self.operations.draining.has_begun() && version < Version::HTTP_2 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(window) = context.window.lock().unwrap_or_else(PoisonError::into_inner).take() {
            window.write(headers, self.clock.now());
        }
        response
    }

    fn context(&self, request: &Request) -> Context {
        let request_id = request_id(request.headers(), &self.chance);
        let peer = request.extensions().get::<Peer>().map(|Peer(peer)| peer.ip());
        let client = client_info(request.headers(), peer, &self.trusted_proxies, &request_id);
        let is_draining = self.operations.draining.has_begun();
        Context { request_id, client, is_draining, caller: OnceLock::new(), window: Mutex::new(None) }
    }
}

/// The request's id: the caller's where it is sane, else a new one.
#[must_use]
pub fn request_id(headers: &HeaderMap, chance: &Chance) -> String {
    header_text(headers, &REQUEST_ID)
        .filter(|id| ClientInfo::is_sane_request_id(id))
        .map_or_else(|| chance.with(|rng| EventId::generate(rng)).to_string(), str::to_owned)
}

/// Who is at the other end, as far as the connection and its proxies tell.
#[must_use]
pub fn client_info(
    headers: &HeaderMap,
    peer: Option<IpAddr>,
    trusted_proxies: &TrustedProxies,
    request_id: &str,
) -> ClientInfo {
    ClientInfo {
        ip: peer.map(|peer| trusted_proxies.client_address(peer, headers)),
        user_agent: header_text(headers, &header::USER_AGENT).and_then(ClientInfo::clean_user_agent),
        request_id: Some(request_id.to_owned()),
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

fn header_text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("(no message)"))
}
