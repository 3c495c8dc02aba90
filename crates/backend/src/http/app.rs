//! What is asked all the time, and is answered past the router.

use std::pin::pin;
use std::sync::Arc;

use axum::BoxError;
use axum::body::Bytes;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, Method, Request, header};
use http_body::Body;
use web::{Envelope, Lines, Peer, Shortcut};

use super::{Backend, graphql};

/// Answers every request of the backend.
pub type App = Shortcut<Direct>;

/// Answers operations that come as JSON by calling their handler and the envelope. They are the same ones that the router
/// calls, so nothing else differs.
pub struct Direct {
    pub(super) backend: Arc<Backend>,
    pub(super) envelope: Envelope,
}

/// Whether the router would do nothing but hand the request to its handler: a page of another origin needs the answers
/// of its CORS layer, and a form its limit.
fn is_direct<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let is_form = || {
        let media_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        media_type.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"))
    };
    request.method() == Method::POST
        && request.uri().path() == graphql::PATH
        && !headers.contains_key(header::ORIGIN)
        && !is_form()
}

impl web::Direct for Direct {
    type Question = ();

    fn question<B>(request: &Request<B>) -> Option<()> {
        is_direct(request).then_some(())
    }

    async fn answer<B>(&self, (): (), request: Request<B>, peer: Option<Peer>) -> Response
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Self { backend, envelope } = self;
        let arrival = envelope.receive(&request, peer, graphql::PATH);
        let context = arrival.context();
        let answer = pin!(async {
            let answer = graphql::answer(backend, context, request.map(axum::body::Body::new)).await;
            answer.into_response()
        });
        envelope.reply(&arrival, Lines::Each, answer).await
    }
}
