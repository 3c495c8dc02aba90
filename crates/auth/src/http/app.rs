//! The service as connections see it: its router, and a shorter way for the one question that is asked all the time.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler as _;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use bytes::Bytes;
use futures_util::future::{BoxFuture, Either};
use http::{Method, header};
use http_body::Body;
use tower::Service;
use web::{Envelope, Lines};

use super::{envelope, router, validate};
use crate::AuthService;

/// Answers every request of the auth service.
///
/// `POST /tokens/validate` does not go through the router, whose layers and tables cost more than the answer: its
/// handler and its envelope are called directly. They are the same ones, so nothing else differs.
#[derive(Clone)]
pub struct App {
    router: Router,
    direct: Arc<Direct>,
}

struct Direct {
    auth: Arc<AuthService>,
    envelope: Envelope,
}

/// The service's routes, ready to be served.
pub fn app(auth: Arc<AuthService>) -> App {
    let direct = Arc::new(Direct { envelope: envelope(&auth), auth: Arc::clone(&auth) });
    App { router: router(auth), direct }
}

impl App {
    /// A page of another origin needs the answers that only the router's CORS layer gives.
    fn is_validation<B>(request: &http::Request<B>) -> bool {
        request.uri().path() == validate::PATH
            && request.method() == Method::POST
            && !request.headers().contains_key(header::ORIGIN)
    }
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
        if !Self::is_validation(&request) {
            return Either::Right(self.router.call(request));
        }
        let direct = Arc::clone(&self.direct);
        Either::Left(Box::pin(async move {
            let Direct { auth, envelope } = &*direct;
            let answer = |request: Request| validate::validate.call(request, Arc::clone(auth));
            let request = request.map(axum::body::Body::new);
            Ok(envelope.put_around(request, validate::PATH, Lines::OfFailures, answer).await)
        }))
    }
}
