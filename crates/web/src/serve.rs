//! Serving until told to stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::routing::future::RouteFuture;
use futures_util::FutureExt as _;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

use crate::Draining;

/// The other end of the connection, in every request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Whoever has not sent a request's head by then is not going to, and would only hold a connection. It is longer than
/// load balancers keep idle connections (60 s), or they would send requests into ones that we are just closing.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// How long requests in flight may take to finish after the service was told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How a service ends.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    /// Told when it begins.
    pub draining: Draining,
    /// How long the service goes on answering after that: as long as whoever shares requests out needs to notice that
    /// `/ready` says no.
    pub delay: Duration,
}

/// Serves `router` on `listener` (HTTP/1.1 and h2 with prior knowledge) until `stop` completes and `drain.delay` is
/// over; then accepts nothing more, lets what is in flight finish, at most ten seconds, and returns.
pub async fn serve(listener: TcpListener, router: Router, drain: Drain, stop: impl Future<Output = ()>) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(HEAD_TIMEOUT);
    let connections = GracefulShutdown::new();
    let Drain { draining, delay } = drain;
    let mut end = pin!(async {
        stop.await;
        draining.begin();
        tokio::time::sleep(delay).await;
    });

    let attend = |stream: TcpStream, peer| {
        // Replies are small and written whole; waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(WithPeer { router: router.clone(), peer: Peer(peer) });
        let connection = connections.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended early");
            }
        });
    };

    loop {
        let (stream, peer) = tokio::select! {
            () = &mut end => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, mostly. Spinning on it would take the processor from those who could
                    // free some.
                    tracing::error!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        attend(stream, peer);
    }

    // Connections that the system has already made in our name carry requests that nobody would dare to send again.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        attend(stream, peer);
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, connections.shutdown()).await.is_err() {
        tracing::warn!("requests were still in flight after {} s and are cut off", DRAIN_TIMEOUT.as_secs());
    }
}

/// The router, told who is at the other end of its connection.
#[derive(Clone)]
struct WithPeer {
    router: Router,
    peer: Peer,
}

impl Service<Request<Incoming>> for WithPeer {
    type Response = <Router as Service<Request<Incoming>>>::Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Incoming>>::poll_ready(&mut self.router, cx)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        self.router.call(request)
    }
}
