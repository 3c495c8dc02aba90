//! The service as connections see it: its router, and a shorter way for what is asked all the time.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Bytes;
use axum::response::{IntoResponse as _, Response};
use axum::routing::future::RouteFuture;
use futures_util::future::{BoxFuture, Either};
use http::{Method, header};
use http_body::Body;
use hyper::body::Incoming;
use tower::Service;
use web::{Envelope, Lines, Peer};

use super::{Backend, graphql};

/// Answers every request of the backend.
///
/// Operations that come as JSON do not go through the router, as the auth service's validations do not go through its:
/// their handler and the envelope are called directly. They are the same ones, so nothing else differs.
#[derive(Clone)]
pub struct App {
    router: Router,
    direct: Arc<Direct>,
}

struct Direct {
    backend: Arc<Backend>,
    envelope: Envelope,
}

impl App {
    pub(super) fn new(router: Router, backend: Arc<Backend>, envelope: Envelope) -> Self {
        Self { router, direct: Arc::new(Direct { backend, envelope }) }
    }
}

/// Whether the router would do nothing but hand the request to its handler: a page of another origin needs the answers
/// of its CORS layer, and a form its limit.
fn is_direct<B>(request: &http::Request<B>) -> bool {
    let headers = request.headers();
    let is_form = || {
        let media_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], http::HeaderValue::as_bytes);
        media_type.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"))
    };
    request.method() == Method::POST
        && request.uri().path() == graphql::PATH
        && !headers.contains_key(header::ORIGIN)
        && !is_form()
}

impl App {
    fn answer<B>(&self, mut request: http::Request<B>, peer: Option<Peer>) -> Answer
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        if !is_direct(&request) {
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            return Either::Right(self.router.clone().call(request));
        }
        let direct = Arc::clone(&self.direct);
        Either::Left(Box::pin(async move {
            let Direct { backend, envelope } = &*direct;
            let arrival = envelope.receive(&request, peer, graphql::PATH);
            let context = arrival.context();
            let answer = pin!(async {
                let answer = graphql::answer(backend, context, request.map(axum::body::Body::new)).await;
                answer.into_response()
            });
            Ok(envelope.reply(&arrival, Lines::Each, answer).await)
        }))
    }
}

type Answer = Either<BoxFuture<'static, Result<Response, Infallible>>, RouteFuture<Infallible>>;

impl web::App for App {
    type Answer = Answer;

    fn answer(&self, request: http::Request<Incoming>, peer: Peer) -> Answer {
        self.answer(request, Some(peer))
    }
}

/// For programs that hold the service within themselves; a [`Peer`] in a request's extensions says where it comes from.
impl<B> Service<http::Request<B>> for App
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Answer {
        let peer = request.extensions().get::<Peer>().copied();
        self.answer(request, peer)
    }
}
