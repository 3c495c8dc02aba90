//! A service as connections see it: its router, and a shorter way for what is asked all the time.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Bytes;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use axum::{BoxError, Router};
use futures_util::future::{BoxFuture, Either};
use http::Request;
use http_body::Body;
use hyper::body::Incoming;
use tower::Service;

use crate::{App, Peer};

/// What is answered without the router, whose layers and tables cost more than the answer. The router has to answer the
/// same, for those requests that need it.
pub trait Direct: Send + Sync + 'static {
    /// What is asked directly.
    type Question: Send + 'static;

    /// What the request asks; `None` if it is for the router.
    fn question<B>(request: &Request<B>) -> Option<Self::Question>;

    /// Answers it.
    fn answer<B>(
        &self,
        question: Self::Question,
        request: Request<B>,
        peer: Option<Peer>,
    ) -> impl Future<Output = Response> + Send
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>;
}

/// A router with a shorter way past it.
#[derive(Debug)]
pub struct Shortcut<D> {
    router: Router,
    direct: Arc<D>,
}

impl<D> Clone for Shortcut<D> {
    fn clone(&self) -> Self {
        Self { router: self.router.clone(), direct: Arc::clone(&self.direct) }
    }
}

impl<D: Direct> Shortcut<D> {
    /// Asks `direct` first, and `router` for what that does not answer.
    pub fn new(router: Router, direct: D) -> Self {
        Self { router, direct: Arc::new(direct) }
    }

    fn answer<B>(&self, mut request: Request<B>, peer: Option<Peer>) -> Answer
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Some(question) = D::question(&request) else {
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

impl<D: Direct> App for Shortcut<D> {
    type Answer = Answer;

    fn answer(&self, request: Request<Incoming>, peer: Peer) -> Answer {
        self.answer(request, Some(peer))
    }
}

/// For programs that hold the service within themselves; a [`Peer`] in a request's extensions says where it comes from.
impl<D, B> Service<Request<B>> for Shortcut<D>
where
    D: Direct,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        let peer = request.extensions().get().copied();
        self.answer(request, peer)
    }
}
