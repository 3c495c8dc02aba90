//! Serving until told to stop.

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use futures_util::FutureExt as _;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tower::Service as _;

use crate::Draining;
use crate::head_timer::HeadTimer;

/// The other end of the connection; in the extensions of every request that a router answers.
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

/// What answers requests: a router, or something that looks at requests before a router does.
pub trait App: Clone + Send + 'static {
    /// An answer in the making.
    type Answer: Future<Output = Result<Response, Infallible>> + Send + 'static;

    /// Answers a request of `peer`'s.
    fn answer(&self, request: Request<Incoming>, peer: Peer) -> Self::Answer;
}

impl App for Router {
    type Answer = RouteFuture<Infallible>;

    fn answer(&self, mut request: Request<Incoming>, peer: Peer) -> Self::Answer {
        request.extensions_mut().insert(peer);
        self.clone().call(request)
    }
}

/// The threads that answered requests. Connections to databases and the like that were opened on them live until this
/// is dropped, so drop it after those are closed.
#[derive(Debug)]
#[must_use = "dropping it ends what answering requests has started"]
pub struct Served {
    _workers: Vec<Worker>,
}

/// Where requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// On one thread a processor, each with a runtime and connections of its own, which are handed to them in turn. A
    /// request is read, answered and written by one thread; to wake another for it would cost more than a validation.
    OnePerProcessor,
    /// In the runtime of whoever serves: for what is asked seldom, and for tests that move the time.
    Here,
}

/// Serves `app` on `listener` (HTTP/1.1 and h2 with prior knowledge) until `stop` completes and `drain.delay` is
/// over; then accepts nothing more, lets what is in flight finish, at most ten seconds, and returns.
pub async fn serve(
    listener: TcpListener,
    app: impl App,
    threads: Threads,
    drain: Drain,
    stop: impl Future<Output = ()>,
) -> Served {
    let mut workers: Vec<Worker> = match threads {
        Threads::OnePerProcessor => {
            let processors = thread::available_parallelism().map_or(1, Into::into);
            (0..processors).map(|_| Worker::thread(app.clone())).collect()
        }
        Threads::Here => vec![Worker::here(app)],
    };
    let Drain { draining, delay } = drain;
    let mut end = pin!(async {
        stop.await;
        draining.begin();
        tokio::time::sleep(delay).await;
    });

    let mut turn = 0;
    let mut hand_over = |stream: TcpStream, peer| {
        turn = (turn + 1) % workers.len();
        workers[turn].take(stream, Peer(peer));
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
        hand_over(stream, peer);
    }

    // Connections that the system has already made in our name carry requests that nobody would dare to send again.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        hand_over(stream, peer);
    }
    drop(listener);
    for worker in &mut workers {
        worker.finish();
    }
    for worker in &mut workers {
        worker.finished().await;
    }
    Served { _workers: workers }
}

/// Answers on the connections that are handed to it.
#[derive(Debug)]
struct Worker {
    /// `None` once it is to finish.
    connections: Option<mpsc::UnboundedSender<(std::net::TcpStream, Peer)>>,
    drained: Option<oneshot::Receiver<()>>,
    /// The thread's runtime ends when this is dropped.
    _alive: oneshot::Sender<Infallible>,
}

impl Worker {
    fn here(app: impl App) -> Self {
        let (connections, taken) = mpsc::unbounded_channel();
        let (done, drained) = oneshot::channel();
        let (alive, _) = oneshot::channel();
        tokio::spawn(async move {
            attend(taken, app).await;
            let _ = done.send(());
        });
        Self { connections: Some(connections), drained: Some(drained), _alive: alive }
    }

    fn thread(app: impl App) -> Self {
        let (connections, taken) = mpsc::unbounded_channel();
        let (done, drained) = oneshot::channel();
        let (alive, ended) = oneshot::channel::<Infallible>();
        // Logs and traces of tests have a subscriber of their thread.
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a thread can have a runtime while there are file descriptors");
            tracing::dispatcher::with_default(&dispatch, || {
                runtime.block_on(async {
                    attend(taken, app).await;
                    let _ = done.send(());
                    let _ = ended.await;
                });
            });
            // Not waiting: what still runs has been given its time.
            runtime.shutdown_background();
        };
        thread::Builder::new().name("http".to_owned()).spawn(work).expect("a process may have a few threads");
        Self { connections: Some(connections), drained: Some(drained), _alive: alive }
    }

    fn take(&self, stream: TcpStream, peer: Peer) {
        // Replies are small and written whole; waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        // A stream belongs to the runtime that polls it, so it is taken out of the one that accepted it.
        match stream.into_std() {
            Ok(stream) => {
                let sent = self.connections.as_ref().map(|connections| connections.send((stream, peer)));
                if !matches!(sent, Some(Ok(()))) {
                    tracing::error!("a thread that answers requests is gone");
                }
            }
            Err(error) => tracing::error!(%error, "cannot hand a connection over"),
        }
    }

    fn finish(&mut self) {
        self.connections = None;
    }

    async fn finished(&mut self) {
        if let Some(drained) = self.drained.take() {
            let _ = drained.await;
        }
    }
}

/// Answers on all connections that come, and returns when no more come and those that came have ended.
async fn attend(mut taken: mpsc::UnboundedReceiver<(std::net::TcpStream, Peer)>, app: impl App) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // One buffer, one write: replies are small.
    builder.http1().header_read_timeout(HEAD_TIMEOUT).writev(false);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(HEAD_TIMEOUT);
    let (end, ending) = watch::channel(());
    while let Some((stream, peer)) = taken.recv().await {
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::error!(%error, "cannot take a connection over");
                continue;
            }
        };
        let app = app.clone();
        let service = hyper::service::service_fn(move |request| app.answer(request, peer));
        let mut builder = builder.clone();
        builder.http1().timer(HeadTimer::default());
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        tokio::spawn(converse(connection, ending.clone()));
    }
    drop(ending);
    end.send_replace(());
    if tokio::time::timeout(DRAIN_TIMEOUT, end.closed()).await.is_err() {
        tracing::warn!("requests were still in flight after {} s and are cut off", DRAIN_TIMEOUT.as_secs());
    }
}

/// Answers on a connection until it ends, which it is asked to do after its next reply when `ending` changes.
async fn converse<E: fmt::Display>(connection: impl GracefulConnection<Error = E>, mut ending: watch::Receiver<()>) {
    let mut connection = pin!(connection);
    let has_begun = ending.clone();
    let mut ending = pin!(ending.changed());
    let (mut listens, mut is_told) = (false, false);
    let ended = poll_fn(|task| {
        // To wait for something takes a lock each time it is polled. This wakes the connection as soon as it has been
        // polled once; whether it was the reason to wake is a look at a number.
        if !is_told && (!listens || has_begun.has_changed().unwrap_or(true)) {
            listens = true;
            if ending.as_mut().poll(task).is_ready() {
                is_told = true;
                connection.as_mut().graceful_shutdown();
            }
        }
        connection.as_mut().poll(task)
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "connection ended early");
    }
}
