//! The service as connections see it: its router, and a shorter way for what is asked all the time.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::future::RouteFuture;
use axum::{Extension, Router};
use futures_util::future::{BoxFuture, Either};
use http::{Method, header};
use http_body::Body;
use tower::Service;
use web::{Envelope, Lines};

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

impl<B> Service<http::Request<B>> for App
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<BoxFuture<'static, Result<Response, Infallible>>, RouteFuture<Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if !is_direct(&request) {
            return Either::Right(self.router.call(request));
        }
        let direct = Arc::clone(&self.direct);
        Either::Left(Box::pin(async move {
            let Direct { backend, envelope } = &*direct;
            let answer = |request: Request| {
                let context = request.extensions().get::<Arc<web::Context>>().map(Arc::clone);
                let context = context.expect("the envelope has just put it there");
                let answer = graphql::post(State(Arc::clone(backend)), Extension(context), request);
                async { answer.await.into_response() }
            };
            let request = request.map(axum::body::Body::new);
            Ok(envelope.put_around(request, graphql::PATH, Lines::Each, answer).await)
        }))
    }
}
