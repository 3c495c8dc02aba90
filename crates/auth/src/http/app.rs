//! The service as connections see it: its router, and a shorter way for the two questions that are asked all the time.

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

use super::{envelope, forward_auth, router, validate};
use crate::AuthService;

/// Answers every request of the auth service.
///
/// `POST /tokens/validate` and `/forward-auth` do not go through the router, whose layers and tables cost more than the
/// answer: their handlers and the envelope are called directly. They are the same ones, so nothing else differs.
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

/// What is answered directly.
#[derive(Clone, Copy)]
enum Question {
    Validation,
    ForwardAuth,
}

impl Question {
    fn of<B>(request: &http::Request<B>) -> Option<Self> {
        match request.uri().path() {
            // A page of another origin needs the answers that only the router's CORS layer gives.
            validate::PATH if request.method() == Method::POST && !request.headers().contains_key(header::ORIGIN) => {
                Some(Self::Validation)
            }
            // Every method, and never by that layer, which answers every OPTIONS request by itself: a proxy would take
            // that for leave.
            forward_auth::PATH => Some(Self::ForwardAuth),
            _ => None,
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Validation => validate::PATH,
            Self::ForwardAuth => forward_auth::PATH,
        }
    }

    async fn answer(self, request: Request, auth: Arc<AuthService>) -> Response {
        match self {
            Self::Validation => validate::validate.call(request, auth).await,
            Self::ForwardAuth => forward_auth::forward_auth.call(request, auth).await,
        }
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
        let Some(question) = Question::of(&request) else {
            return Either::Right(self.router.call(request));
        };
        let direct = Arc::clone(&self.direct);
        Either::Left(Box::pin(async move {
            let Direct { auth, envelope } = &*direct;
            let is_head = request.method() == Method::HEAD;
            let answer = |request: Request| question.answer(request, Arc::clone(auth));
            let request = request.map(axum::body::Body::new);
            let mut response = envelope.put_around(request, question.path(), Lines::OfFailures, answer).await;
            if is_head {
                // HTTP/2 would send it.
                *response.body_mut() = axum::body::Body::empty();
            }
            Ok(response)
        }))
    }
}
