//! The connections to Redis: made, watched, given up and made again.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::cluster::ClusterClient;
use ::redis::cluster_async::ClusterConnection;
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo as _, RedisError, RedisResult,
    ServerErrorKind, Value,
};
use domain::{Limit, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::script::{Answer, Question};
use super::{CallTimes, RedisOptions, Timekeeper};

/// Requests share these; what several ask at once goes out together.
const CONNECTIONS: usize = 2;
/// One may be slow for a reason of its own. After so many in a row nobody waits for Redis any more.
const FAILURES: u32 = 3;
/// Connecting, with TLS and the first questions.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// While nobody asks, Redis is asked so often whether it is there.
const HEARTBEAT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Tells whether Redis still has its memory: set once, and gone with everything else.
const ERA: &str = "afd:era";

/// A Redis or Valkey that several processes share, by itself or as a cluster. Clones are the same.
#[derive(Clone)]
pub struct Redis(Arc<Link>);

/// A text that names no Redis that we would talk to. It may hold a password, so it is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedisUrlError {
    /// Not of the form that it should have.
    #[error("must be redis://HOST:PORT or rediss://HOST:PORT, or several of a cluster's, separated by commas")]
    Malformed,
    /// The library takes `#insecure` for the wish that nobody looks at the server's certificate.
    #[error(
        "must not have a fragment: the server's certificate is checked always (SSL_CERT_FILE names an authority of \
         your own), so there is no #insecure; in a password, # is written %23"
    )]
    Fragment,
}

struct Link {
    target: Target,
    options: RedisOptions,
    /// `None` while Redis cannot be reached.
    up: RwLock<Option<Arc<Up>>>,
    /// Of the last connection that was made.
    connection: AtomicU64,
    /// Questions in a row that were not answered.
    failures: AtomicU32,
    times: CallTimes,
    /// What Redis told when it was first seen.
    era: Mutex<Option<String>>,
    /// Wakes whoever makes a new connection.
    lost: Arc<Notify>,
}

enum Target {
    Single(Box<Client>),
    Cluster(Box<ClusterClient>),
}

/// Connections that work.
struct Up {
    number: u64,
    pool: Pool,
    /// When Redis came back without its memory, if it did.
    empty_since: Option<Instant>,
}

enum Pool {
    Single { connections: Vec<MultiplexedConnection>, next: AtomicUsize },
    Cluster(ClusterConnection),
}

/// What the scripts of a heartbeat count, to find out whether Redis takes writes.
const PROBE: &str = "probe";
const PROBE_LIMIT: Limit = Limit { count: u32::MAX, window: Duration::from_secs(1) };

impl Redis {
    /// Connects to `redis://`, `rediss://` (TLS), or a cluster, of which some nodes' URLs are given, separated by
    /// commas; a comma at the end makes a cluster of one URL. User and password are those of the URL.
    ///
    /// Redis need not be there: until it is, and whenever it is not, limiters do without.
    ///
    /// # Errors
    /// When the text is no such URL.
    pub async fn connect(url: &SecretString, options: RedisOptions) -> Result<Self, RedisUrlError> {
        let link = Arc::new(Link {
            target: Target::parse(url.expose_secret())?,
            options,
            up: RwLock::default(),
            connection: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            times: CallTimes::default(),
            era: Mutex::default(),
            lost: Arc::default(),
        });
        match link.connect().await {
            Ok(up) => {
                link.warn_of_eviction(&up).await;
                link.came_up(up);
            }
            Err(error) => tracing::error!(%error, "Redis cannot be reached: {WITHOUT}"),
        }
        tokio::spawn(watch(Arc::downgrade(&link), Arc::clone(&link.lost)));
        Ok(Self(link))
    }

    /// Whether the text names a Redis.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_url(url: &str) -> Result<(), RedisUrlError> {
        Target::parse(url).map(drop)
    }

    /// Whether Redis is asked now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.0.up().is_some()
    }

    /// Asks Redis; `None` when there was no answer in time.
    pub(super) async fn ask(&self, question: &Question, limit: Limit, now: Timestamp) -> Option<Answer> {
        self.0.ask(question, limit, now).await
    }

    /// Names the connection that is in use; 0 while there has been none.
    pub(super) fn connection(&self) -> u64 {
        self.0.connection.load(Ordering::Acquire)
    }

    /// Whether Redis came back without its memory less than this long ago.
    pub(super) fn is_cautious(&self, window: Duration) -> bool {
        let up = self.0.up();
        up.and_then(|up| up.empty_since).is_some_and(|since| since.elapsed() < window)
    }

    pub(super) fn new_nonce(&self) -> [u8; 8] {
        let mut nonce = [0; 8];
        self.0.options.chance.with(|rng| rng.fill_bytes(&mut nonce));
        nonce
    }

    pub(super) fn call_times(&self) -> CallTimes {
        self.0.times.clone()
    }

    pub(super) fn timekeeper(&self) -> Timekeeper {
        self.0.options.timekeeper
    }

    pub(super) fn fallback_divisor(&self) -> u32 {
        self.0.options.fallback_divisor.get()
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redis")
    }
}

const WITHOUT: &str = "validations read the database, and each process grants a share of every limit, until it is back";

impl Target {
    fn parse(url: &str) -> Result<Self, RedisUrlError> {
        let urls: Vec<&str> = url.split(',').map(str::trim).filter(|url| !url.is_empty()).collect();
        if urls.is_empty() || !urls.iter().all(|url| url.starts_with("redis://") || url.starts_with("rediss://")) {
            return Err(RedisUrlError::Malformed);
        }
        if url.contains('#') {
            return Err(RedisUrlError::Fragment);
        }
        let infos: RedisResult<Vec<_>> = urls.iter().map(|&url| url.into_connection_info()).collect();
        let infos = infos.map_err(|_| RedisUrlError::Malformed)?;
        if urls.iter().any(|url| url.starts_with("rediss://")) {
            // As everywhere else in the program; an error says that somebody was here before.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let target = match infos.as_slice() {
            [info] if !url.contains(',') => Client::open(info.clone()).map(|client| Self::Single(Box::new(client))),
            _ => {
                // What a failing node costs is decided by the timeout around it all.
                let builder = ClusterClient::builder(infos).retries(3).max_retry_wait(100).min_retry_wait(10);
                builder.connection_timeout(CONNECT_TIMEOUT / 2).build().map(|client| Self::Cluster(Box::new(client)))
            }
        };
        target.map_err(|_| RedisUrlError::Malformed)
    }
}

impl Link {
    fn up(&self) -> Option<Arc<Up>> {
        self.up.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask(&self, question: &Question, limit: Limit, now: Timestamp) -> Option<Answer> {
        let up = self.up()?;
        let started = Instant::now();
        let asked = timeout(self.options.timeout, up.run(question)).await;
        let answer = asked
            .map_err(|_| None)
            .and_then(|reply| reply.and_then(|reply| Answer::read(reply, limit, now)).map_err(Some));
        self.times.count(started, answer.is_ok());
        match answer {
            Ok(answer) => {
                self.failures.store(0, Ordering::Release);
                Some(answer)
            }
            Err(error) => {
                let failures = self.failures.fetch_add(1, Ordering::AcqRel) + 1;
                if failures >= FAILURES || error.as_ref().is_some_and(is_final) {
                    self.give_up(&up, error);
                } else {
                    tracing::debug!(?error, "Redis did not answer a question");
                }
                None
            }
        }
    }

    /// Asks nobody any more until a new connection works. Of many who find the same one broken, one does this.
    fn give_up(&self, broken: &Up, error: Option<RedisError>) {
        let mut up = self.up.write().unwrap_or_else(PoisonError::into_inner);
        if up.as_ref().is_some_and(|up| up.number == broken.number) {
            *up = None;
            let error = error.map_or_else(|| "no answer in time".to_owned(), |error| error.to_string());
            tracing::error!(%error, "Redis cannot be reached: {WITHOUT}");
            self.lost.notify_one();
        }
    }

    fn came_up(&self, up: Up) {
        let is_empty = up.empty_since.is_some();
        self.failures.store(0, Ordering::Release);
        self.connection.store(up.number, Ordering::Release);
        *self.up.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(up));
        if is_empty {
            tracing::warn!(
                "Redis is back, perhaps without what it knew: for one more window each process grants no more than its \
                 share of a limit"
            );
        } else {
            tracing::info!("Redis is there: windows are counted in it");
        }
    }

    /// Connections that have proved to work.
    async fn connect(&self) -> RedisResult<Up> {
        let connecting = async {
            let pool = match &self.target {
                Target::Single(client) => {
                    let config = AsyncConnectionConfig::new().set_response_timeout(None);
                    let mut connections = Vec::with_capacity(CONNECTIONS);
                    for _ in 0..CONNECTIONS {
                        connections.push(client.get_multiplexed_async_connection_with_config(&config).await?);
                    }
                    Pool::Single { connections, next: AtomicUsize::new(0) }
                }
                Target::Cluster(client) => Pool::Cluster(client.get_async_connection().await?),
            };
            let number = self.connection.load(Ordering::Acquire) + 1;
            let mut up = Up { number, pool, empty_since: None };
            // All masters of a cluster, and then that it takes writes.
            up.query::<Value>(&::redis::cmd("PING")).await?;
            up.run(&self.probe()).await?;
            up.empty_since = self.has_forgotten(&up).await?.then(Instant::now);
            Ok(up)
        };
        timeout(CONNECT_TIMEOUT, connecting)
            .await
            .unwrap_or_else(|_| Err(RedisError::from((ErrorKind::Io, "no answer in time"))))
    }

    fn probe(&self) -> Question {
        let epoch = Timestamp::from_millis(0);
        Question::admit(PROBE, PROBE_LIMIT, super::script::Proof::None, self.options.timekeeper, epoch)
    }

    /// Whether Redis may have lost what it knew since it was last seen. Of a cluster nobody can tell: what this asks is
    /// on one of its nodes.
    async fn has_forgotten(&self, up: &Up) -> RedisResult<bool> {
        let mut proposed = [0; 8];
        self.options.chance.with(|rng| rng.fill_bytes(&mut proposed));
        let proposed = u64::from_ne_bytes(proposed).to_string();
        let mut set = ::redis::cmd("SET");
        set.arg(ERA).arg(&proposed).arg("NX");
        up.query::<Value>(&set).await?;
        let era: String = up.query(::redis::cmd("GET").arg(ERA)).await?;

        let known = self.era.lock().unwrap_or_else(PoisonError::into_inner).replace(era.clone());
        let is_cluster = matches!(up.pool, Pool::Cluster(_));
        Ok(known.is_some_and(|known| is_cluster || known != era))
    }

    /// A Redis that drops keys to make room forgets windows in the middle of them.
    async fn warn_of_eviction(&self, up: &Up) {
        let Pool::Single { .. } = up.pool else { return };
        let Ok(memory) = up.query::<String>(::redis::cmd("INFO").arg("memory")).await else { return };
        let policy = memory.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"));
        if let Some(policy) = policy.map(str::trim).filter(|&policy| policy != "noeviction") {
            tracing::warn!(policy, "Redis's maxmemory-policy should be noeviction: short of memory, it forgets limits");
        }
    }
}

impl Up {
    /// Runs the script, with its text where its digest is not known: on a new Redis, or after `SCRIPT FLUSH`.
    async fn run(&self, question: &Question) -> RedisResult<Value> {
        match self.query(&question.by_digest()).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.query(&question.by_text()).await
            }
            outcome => outcome,
        }
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        async fn on<T: FromRedisValue>(mut connection: impl ConnectionLike, command: &Cmd) -> RedisResult<T> {
            command.query_async(&mut connection).await
        }
        match &self.pool {
            Pool::Single { connections, next } => {
                let place = next.fetch_add(1, Ordering::Relaxed) % connections.len();
                on(connections[place].clone(), command).await
            }
            Pool::Cluster(connection) => on(connection.clone(), command).await,
        }
    }
}

/// Whether the next question will fare no better: there is no connection, or Redis takes no writes.
fn is_final(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, NoPerm, ReadOnly};
    matches!(error.kind(), ErrorKind::Server(BusyLoading | ClusterDown | MasterDown | NoPerm | ReadOnly))
        || error.is_io_error()
        || error.is_unrecoverable_error()
        || matches!(error.code(), Some("OOM" | "NOAUTH" | "NOREPLICAS" | "MISCONF"))
}

/// Makes a new connection when there is none, and finds out that there is none also when nobody asks.
async fn watch(link: Weak<Link>, lost: Arc<Notify>) {
    let mut pause = FIRST_PAUSE;
    while let Some(link) = link.upgrade() {
        if link.up().is_some() {
            let _: Option<Answer> = link.ask(&link.probe(), PROBE_LIMIT, Timestamp::from_millis(0)).await;
        } else {
            match link.connect().await {
                Ok(up) => link.came_up(up),
                Err(error) => tracing::debug!(%error, "Redis still cannot be reached"),
            }
        }
        let is_up = link.up().is_some();
        // Not held on to while waiting: the task ends with the last who uses the connection.
        drop(link);
        if is_up {
            pause = FIRST_PAUSE;
            let _ = timeout(HEARTBEAT, lost.notified()).await;
        } else {
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
