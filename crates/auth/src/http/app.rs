//! The service as connections see it: its router, and a shorter way for the two questions that are asked all the time.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use bytes::Bytes;
use futures_util::future::{BoxFuture, Either};
use http::{Method, header};
use http_body::Body;
use hyper::body::Incoming;
use tower::Service;
use web::{Envelope, Lines, Peer};

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
}

impl Direct {
    async fn answer<B: Body<Data = Bytes>>(
        &self,
        question: Question,
        request: http::Request<B>,
        peer: Option<Peer>,
    ) -> Response {
        let Self { auth, envelope } = self;
        let arrival = envelope.receive(&request, peer, question.path());
        let context = arrival.context();
        let is_head = request.method() == Method::HEAD;
        let mut response = match question {
            Question::Validation => {
                let answer = pin!(validate::answer(auth, context, request));
                envelope.reply(&arrival, Lines::OfFailures, answer).await
            }
            Question::ForwardAuth => {
                // Without its body, which nobody reads.
                let (request, _) = request.into_parts();
                let answer = pin!(forward_auth::forward_auth(auth, context, &request));
                envelope.reply(&arrival, Lines::OfFailures, answer).await
            }
        };
        if is_head {
            // HTTP/2 would send it.
            *response.body_mut() = axum::body::Body::empty();
        }
        response
    }
}

impl App {
    fn answer<B>(&self, mut request: http::Request<B>, peer: Option<Peer>) -> Answer
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let Some(question) = Question::of(&request) else {
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            return Either::Right(self.router.clone().call(request));
        };
        let direct = Arc::clone(&self.direct);
        Either::Left(Box::pin(async move { Ok(direct.answer(question, request, peer).await) }))
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
        let peer = request.extensions().get().copied();
        self.answer(request, peer)
    }
}
