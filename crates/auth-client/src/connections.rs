//! Connections to the auth service: kept open, and used again by the thread that used them last.
//!
//! Servers that answer each request on one thread are why: the reply to a request that went over another thread's
//! connection is read by that thread, which then has to wake this one. That costs more than the call itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt as _};

use crate::transport::Reply;

/// Far sooner than the auth service, or a load balancer before it, closes idle connections: one that we leave earlier
/// is never found closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Threads with connections of their own; beyond, two of them share.
const SHELVES: usize = 64;

/// Makes a connection to the host of a URI, TLS and all.
pub(crate) type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// No answer came over the wire, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection came about, so nothing was sent.
    #[error("no connection could be made")]
    Connect(#[source] BoxError),
    /// The connection broke, or what came over it is not HTTP.
    #[error("the connection broke")]
    Broken(#[source] BoxError),
    /// It took too long.
    #[error("there was no answer in time")]
    Timeout,
}

/// Why an exchange came to nothing.
pub(crate) enum Failure {
    Transport(TransportError),
    /// The reply is longer than allowed.
    TooLong(StatusCode),
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        Self::Transport(TransportError::Broken(error.into()))
    }
}

/// All connections to one address.
pub(crate) struct Connections {
    connector: Connector,
    address: Uri,
    connect_timeout: Duration,
    shelves: Box<[Mutex<Vec<Idle>>]>,
}

/// A connection that waits for the next request.
struct Idle {
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

impl Idle {
    fn is_good(&self) -> bool {
        !self.sender.is_closed() && self.since.elapsed() < IDLE_TIMEOUT
    }
}

/// How connections are made, TLS with the certificates that the system trusts.
///
/// # Errors
///
/// If `address` asks for TLS and the system's certificates cannot be read.
pub(crate) fn connector(address: &Uri) -> std::io::Result<Connector> {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    if address.scheme() != Some(&Scheme::HTTPS) {
        return Ok(BoxCloneSyncService::new(tcp.map_response(MaybeHttpsStream::Http).map_err(BoxError::from)));
    }
    tcp.enforce_http(false);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = HttpsConnectorBuilder::new().with_provider_and_platform_verifier(provider)?;
    Ok(BoxCloneSyncService::new(tls.https_only().enable_http1().wrap_connector(tcp)))
}

impl Connections {
    /// None yet. `address` has a scheme and a host.
    pub(crate) fn new(connector: Connector, address: Uri, connect_timeout: Duration) -> Self {
        let shelves = (0..SHELVES).map(|_| Mutex::default()).collect();
        Self { connector, address, connect_timeout, shelves }
    }

    /// Sends `request`, whose URI is a path, and reads the whole reply, which may have `max_bytes`.
    ///
    /// A kept connection that turns out to be closed before anything was sent does no harm, nor does one that does not
    /// come about: that is tried once more. What was sent is never sent again.
    pub(crate) async fn exchange(&self, mut request: Request<Full<Bytes>>, max_bytes: usize) -> Result<Reply, Failure> {
        while let Some(mut sender) = self.take() {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return self.read(response, sender, max_bytes).await,
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut sender = match self.connect().await {
            Ok(sender) => sender,
            Err(_) => self.connect().await.map_err(|error| Failure::Transport(TransportError::Connect(error)))?,
        };
        let response = sender.send_request(request).await?;
        self.read(response, sender, max_bytes).await
    }

    async fn read(
        &self,
        response: Response<Incoming>,
        sender: SendRequest<Full<Bytes>>,
        max_bytes: usize,
    ) -> Result<Reply, Failure> {
        let status = response.status();
        match Limited::new(response.into_body(), max_bytes).collect().await {
            Ok(body) => {
                self.keep(sender);
                Ok(Reply { status, body: body.to_bytes() })
            }
            Err(error) if error.is::<LengthLimitError>() => Err(Failure::TooLong(status)),
            Err(error) => Err(Failure::Transport(TransportError::Broken(error))),
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, BoxError> {
        let connecting = self.connector.clone().oneshot(self.address.clone());
        let stream = timeout(self.connect_timeout, connecting).await??;
        // Requests are small: one buffer, one write.
        let (sender, connection) = Builder::new().writev(false).handshake(stream).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the auth service ended early");
            }
        });
        Ok(sender)
    }

    /// The connection that was used last, if it can be used again: the others may grow old.
    fn take(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.shelf();
        while let Some(last) = idle.pop() {
            if last.is_good() {
                return Some(last.sender);
            }
        }
        None
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        let mut idle = self.shelf();
        // The first has waited longest.
        if idle.first().is_some_and(|first| !first.is_good()) {
            idle.retain(Idle::is_good);
        }
        idle.push(Idle { sender, since: Instant::now() });
    }

    /// This thread's.
    fn shelf(&self) -> MutexGuard<'_, Vec<Idle>> {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static PLACE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % SHELVES;
        }
        // A panic cannot have left anything half done in it.
        PLACE.with(|&place| self.shelves[place].lock().unwrap_or_else(PoisonError::into_inner))
    }
}
