//! The two questions that are asked all the time, and are answered past the router.

use std::pin::pin;
use std::sync::Arc;

use axum::BoxError;
use axum::response::Response;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body::Body;
use web::{Envelope, Lines, Peer, Shortcut};

use super::{envelope, forward_auth, router, validate};
use crate::AuthService;

/// Answers every request of the auth service.
pub type App = Shortcut<Direct>;

/// Answers `POST /tokens/validate` and `/forward-auth` by calling their handlers and the envelope. They are the same ones
/// that the router calls, so nothing else differs.
pub struct Direct {
    auth: Arc<AuthService>,
    envelope: Envelope,
}

/// The service's routes, ready to be served.
pub fn app(auth: Arc<AuthService>) -> App {
    let direct = Direct { envelope: envelope(&auth), auth: Arc::clone(&auth) };
    Shortcut::new(router(auth), direct)
}

/// What is answered directly.
#[derive(Clone, Copy)]
pub enum Question {
    /// Is this token good?
    Validation,
    /// May this request pass?
    ForwardAuth,
}

impl Question {
    fn of<B>(request: &Request<B>) -> Option<Self> {
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

impl web::Direct for Direct {
    type Question = Question;

    fn question<B>(request: &Request<B>) -> Option<Question> {
        Question::of(request)
    }

    async fn answer<B>(&self, question: Question, request: Request<B>, peer: Option<Peer>) -> Response
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
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
