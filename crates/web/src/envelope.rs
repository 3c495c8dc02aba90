//! What surrounds every request: its id, who is at the other end, the log line, the error's body.

use std::any::Any;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use domain::Clock;
use futures_util::FutureExt as _;
use http::{HeaderValue, Method, Version, header};
use tracing::{Instrument as _, Span, field};

use crate::request_id::REQUEST_ID;
use crate::{ApiError, Context, Operations, Peer, RequestIds, TrustedProxies};

/// The request's [`Context`] as an extractor.
pub type RequestContext = axum::Extension<Arc<Context>>;

/// What the [`envelope`] needs.
#[derive(Clone)]
pub struct Envelope {
    /// The time, for headers that count seconds.
    pub clock: Arc<dyn Clock>,
    /// Where request ids come from.
    pub request_ids: RequestIds,
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

/// The headers that every reply carries, and those of a window.
const HEADERS: usize = 8;

/// The outermost layer of both services.
pub async fn envelope(State(envelope): State<Envelope>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unknown", MatchedPath::as_str);
    let peer = request.extensions().get::<Peer>().copied();
    let arrival = envelope.receive(&request, peer, route);
    request.extensions_mut().insert(Arc::clone(arrival.context()));
    envelope.reply(&arrival, Lines::Each, pin!(next.run(request))).await
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

/// A request that has come, and what the envelope has to remember of it.
#[derive(Debug)]
pub struct Arrival<'r> {
    context: Arc<Context>,
    route: &'r str,
    method: Method,
    version: Version,
    started: Instant,
    span: Span,
}

impl Arrival<'_> {
    /// What its handler may want to know.
    #[must_use]
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }
}

impl Envelope {
    /// Gives a request its id and context.
    #[must_use]
    pub fn receive<'r, B>(&self, request: &http::Request<B>, peer: Option<Peer>, route: &'r str) -> Arrival<'r> {
        #[expect(clippy::disallowed_methods, reason = "the duration is only logged and counted")]
        let started = Instant::now();
        let headers = request.headers();
        let request_id = self.request_ids.of(headers);
        let ip = peer.and_then(|Peer(peer)| self.trusted_proxies.client_address(peer.ip(), headers));
        let context = Arc::new(Context::new(request_id, ip, headers, self.operations.draining.has_begun()));
        let method = request.method().clone();
        let span = tracing::info_span!(
            target: telemetry::trace::TARGET,
            "request",
            otel.name = format_args!("{method} {route}"),
            otel.kind = "server",
            http.request.method = method.as_str(),
            http.route = route,
            http.response.status_code = field::Empty,
            request_id = &*context.request_id,
        );
        telemetry::trace::continue_trace(&span, headers);
        Arrival { context, route, method, version: request.version(), started, span }
    }

    /// Makes the reply of an answer.
    ///
    /// Turns a panic into a 500 and an [`ApiError`] into its body, gives up what takes too long, adds the headers that
    /// every reply carries, counts, and writes one log line that reads alone. Neither query strings nor headers are
    /// logged: they can hold secrets.
    pub async fn reply(
        &self,
        arrival: &Arrival<'_>,
        lines: Lines,
        answer: Pin<&mut impl Future<Output = Response>>,
    ) -> Response {
        let Arrival { context, route, method, started, span, .. } = arrival;
        let mut answer = AssertUnwindSafe(answer).catch_unwind().instrument(span.clone());
        // Most answers are there at once, and then a timer for them would be the dearest part.
        let at_once = poll_fn(|task| Poll::Ready(Pin::new(&mut answer).poll(task))).await;
        let outcome = match at_once {
            Poll::Ready(outcome) => Ok(outcome),
            Poll::Pending => tokio::time::timeout(REQUEST_TIMEOUT, answer).await,
        };
        let response = match outcome {
            Ok(Ok(response)) => response,
            Ok(Err(panic)) => ApiError::internal(&panic_message(&*panic)).into_response(),
            Err(_) => ApiError::unavailable(&"the request took too long and was given up").into_response(),
        };
        let response = self.dress(response, arrival);

        let status = response.status();
        span.record("http.response.status_code", status.as_u16());
        let took = started.elapsed();
        self.operations.requests.observe(method, route, status, took);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    service = self.service,
                    request_id = &*context.request_id,
                    method = method.as_str(),
                    route,
                    status = status.as_u16(),
                    duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                    caller = context.caller().unwrap_or("anonymous"),
                    ip = context.ip.map(tracing::field::display),
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
    fn dress(&self, mut response: Response, arrival: &Arrival<'_>) -> Response {
        let context = &arrival.context;
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
        headers.reserve(HEADERS);
        headers.insert(REQUEST_ID, context.request_id.to_header());
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // Whoever keeps the connection would find it closed when it sends the next request. (HTTP/2 has a frame for
        // that.)
        if self.operations.draining.has_begun() && arrival.version < Version::HTTP_2 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(window) = context.window() {
            window.write(headers, self.clock.now());
        }
        response
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("(no message)"))
}
