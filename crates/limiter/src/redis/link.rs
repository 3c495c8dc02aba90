//! The connections to Redis: made, watched, given up and made again.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use ::redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use domain::{Limit, Timestamp};
use futures_util::future::join_all;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::lane::{self, Connection, Departure, Group, Lane};
use super::script::{Answer, Question, Reply};
use super::target::{CONNECT_TIMEOUT, RedisUrlError, Target};
use super::{CallTimes, RedisOptions, Timekeeper};

/// One may be slow for a reason of its own. After so many in a row nobody waits for Redis any more.
const FAILURES: u32 = 3;
/// While nobody asks, Redis is asked so often whether it is there.
const HEARTBEAT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Tells whether Redis still has its memory: set once, and gone with everything else.
const ERA: &str = "afd:era";

/// A Redis or Valkey that several processes share, by itself or as a cluster. Clones are the same.
#[derive(Clone)]
pub struct Redis(Arc<Link>);

struct Link {
    target: Target,
    options: RedisOptions,
    /// `None` while Redis cannot be reached.
    up: RwLock<Option<Arc<Up>>>,
    /// Its number, without a lock; 0 for `None`.
    current: AtomicU64,
    /// The number of the last that there was.
    connection: AtomicU64,
    /// Questions in a row that were not answered.
    failures: AtomicU32,
    started: Instant,
    /// When Redis last came back without its memory, in milliseconds after `started` and one; 0 if it never did.
    emptied_at: AtomicU64,
    times: CallTimes,
    /// What Redis told when it was first seen.
    era: Mutex<Option<String>>,
    /// Wakes whoever makes a new connection.
    lost: Arc<Notify>,
}

/// A Redis that works, and the connections to it.
pub(super) struct Up {
    /// No other of this process has it.
    pub(super) number: u64,
    /// For whoever has no lane of their own.
    shared: Arc<Lane>,
    /// Those of threads that answer requests.
    own: Mutex<Vec<Arc<Lane>>>,
    /// Which process it is.
    server: Option<String>,
    /// Whether it came back without its memory.
    is_empty: bool,
}

static NUMBER: AtomicU64 = AtomicU64::new(1);

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
            current: AtomicU64::new(0),
            connection: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            started: Instant::now(),
            emptied_at: AtomicU64::new(0),
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
        self.0.current.load(Ordering::Acquire) != 0
    }

    /// Asks Redis; `None` when there was no answer in time.
    pub(super) async fn ask(&self, question: Question, limit: Limit, now: Timestamp) -> Option<Answer> {
        self.0.ask(question, limit, now).await
    }

    /// Names the connection that is in use; 0 while there has been none.
    pub(super) fn connection(&self) -> u64 {
        self.0.connection.load(Ordering::Acquire)
    }

    /// Whether Redis came back without its memory less than this long ago.
    pub(super) fn is_cautious(&self, window: Duration) -> bool {
        match self.0.emptied_at.load(Ordering::Acquire) {
            0 => false,
            millis => self.0.started.elapsed() < Duration::from_millis(millis - 1) + window,
        }
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

impl Link {
    fn up(&self) -> Option<Arc<Up>> {
        self.up.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask(self: &Arc<Self>, question: Question, limit: Limit, now: Timestamp) -> Option<Answer> {
        let (reply, departure) = self.lane()?.queue(question);
        if let Some(departure) = departure {
            tokio::spawn(Arc::clone(self).depart(departure));
        }
        let (reply, nth) = reply.await.ok()?;
        Some(reply.to(nth, limit, now))
    }

    /// This thread's own lane to Redis, or until it has one, the one that all share.
    fn lane(self: &Arc<Self>) -> Option<Arc<Lane>> {
        let number = self.current.load(Ordering::Acquire);
        if let Some(lane) = lane::own(number) {
            return Some(lane);
        }
        let up = self.up()?;
        // On a runtime of several threads, who reads a reply is seldom who waits for it, whatever the connection.
        if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
            if let Connection::Cluster(_) = up.shared.connection {
                return Some(up.adopt(up.shared.connection.clone()));
            }
            lane::choose(&up, &up.shared);
            tokio::spawn(Arc::clone(self).open_own(Arc::clone(&up)));
        }
        Some(Arc::clone(&up.shared))
    }

    /// Opens a connection that is read and written by this thread, so that no other has to be woken for an answer.
    async fn open_own(self: Arc<Self>, up: Arc<Up>) {
        let opening = async {
            let connection = self.target.open().await?;
            let server = connection.server().await;
            Ok::<_, RedisError>((connection, server))
        };
        match timeout(CONNECT_TIMEOUT, opening).await {
            // Behind the same address there may be another by now. What this one knows, that one need not.
            Ok(Ok((connection, server))) if server.is_some() && server == up.server => drop(up.adopt(connection)),
            Ok(Err(error)) => tracing::debug!(%error, "a thread has no connection to Redis of its own"),
            _ => tracing::debug!("a thread has no connection to Redis of its own"),
        }
    }

    /// Asks what has been waiting for it.
    async fn depart(self: Arc<Self>, departure: Departure) {
        let Some((lane, groups)) = departure.take() else { return };
        let trips = lane.connection.trips(groups);
        join_all(trips.into_iter().map(|groups| self.travel(&lane, groups))).await;
    }

    async fn travel(&self, lane: &Lane, groups: Vec<Group>) {
        let started = Instant::now();
        let asked = timeout(self.options.timeout, lane.connection.ask(&groups)).await;
        self.times.count(started, matches!(asked, Ok(Ok(_))));
        let replies = match asked {
            Ok(Ok(replies)) => replies,
            Ok(Err(error)) => return self.failed(lane, &groups, Some(error)),
            Err(_) => return self.failed(lane, &groups, None),
        };
        for (group, reply) in groups.into_iter().zip(replies) {
            match reply.and_then(Reply::read) {
                Ok(reply) => {
                    self.failures.store(0, Ordering::Release);
                    group.tell(reply);
                }
                Err(error) => self.failed(lane, &[group], Some(error)),
            }
        }
    }

    /// Counts questions that were not answered, and gives up after too many.
    fn failed(&self, lane: &Lane, groups: &[Group], error: Option<RedisError>) {
        let askers = groups.iter().map(|group| group.askers.len()).sum::<usize>();
        let askers = u32::try_from(askers).unwrap_or(FAILURES).min(FAILURES);
        let failures = self.failures.fetch_add(askers, Ordering::AcqRel) + askers;
        if failures >= FAILURES || error.as_ref().is_some_and(is_final) {
            self.give_up(lane.number, error);
        } else {
            tracing::debug!(?error, "Redis did not answer a question");
        }
    }

    /// Asks nobody any more until a new connection works. Of many who find the same one broken, one does this.
    fn give_up(&self, broken: u64, error: Option<RedisError>) {
        let mut up = self.up.write().unwrap_or_else(PoisonError::into_inner);
        if up.as_ref().is_some_and(|up| up.number == broken) {
            *up = None;
            self.current.store(0, Ordering::Release);
            let error = error.map_or_else(|| "no answer in time".to_owned(), |error| error.to_string());
            tracing::error!(%error, "Redis cannot be reached: {WITHOUT}");
            self.lost.notify_one();
        }
    }

    fn came_up(&self, up: Up) {
        let (number, is_empty) = (up.number, up.is_empty);
        self.failures.store(0, Ordering::Release);
        self.connection.store(number, Ordering::Release);
        let mut current = self.up.write().unwrap_or_else(PoisonError::into_inner);
        *current = Some(Arc::new(up));
        self.current.store(number, Ordering::Release);
        drop(current);
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
            let connection = self.target.open().await?;
            // All masters of a cluster, and then that it takes writes.
            connection.query::<Value>(&::redis::cmd("PING")).await?;
            let probe = Group { question: self.probe(), askers: Vec::new() };
            connection.ask(&[probe]).await?.into_iter().collect::<RedisResult<Vec<_>>>()?;
            let is_empty = self.has_forgotten(&connection).await?;
            let server = connection.server().await;
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let shared = Lane::new(number, connection);
            Ok(Up { number, shared, own: Mutex::default(), server, is_empty })
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
    async fn has_forgotten(&self, connection: &Connection) -> RedisResult<bool> {
        let mut proposed = [0; 8];
        self.options.chance.with(|rng| rng.fill_bytes(&mut proposed));
        let proposed = u64::from_ne_bytes(proposed).to_string();
        let mut set = ::redis::cmd("SET");
        set.arg(ERA).arg(&proposed).arg("NX");
        connection.query::<Value>(&set).await?;
        let era: String = connection.query(::redis::cmd("GET").arg(ERA)).await?;

        let known = self.era.lock().unwrap_or_else(PoisonError::into_inner).replace(era.clone());
        let is_cluster = matches!(connection, Connection::Cluster(_));
        let has_forgotten = known.is_some_and(|known| is_cluster || known != era);
        if has_forgotten {
            // From here on its era is known. So also if this connection comes to nothing, or is lost before a window has
            // passed, the next one must not be believed for that.
            let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
            self.emptied_at.store(millis + 1, Ordering::Release);
        }
        Ok(has_forgotten)
    }

    /// A Redis that drops keys to make room forgets windows in the middle of them.
    async fn warn_of_eviction(&self, up: &Up) {
        let connection = &up.shared.connection;
        let Connection::Single(_) = connection else { return };
        let Ok(memory) = connection.query::<String>(::redis::cmd("INFO").arg("memory")).await else { return };
        let policy = memory.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"));
        if let Some(policy) = policy.map(str::trim).filter(|&policy| policy != "noeviction") {
            tracing::warn!(policy, "Redis's maxmemory-policy should be noeviction: short of memory, it forgets limits");
        }
    }
}

impl Up {
    /// Takes a connection of this thread in.
    fn adopt(self: &Arc<Self>, connection: Connection) -> Arc<Lane> {
        let lane = Lane::new(self.number, connection);
        self.own.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&lane));
        lane::choose(self, &lane);
        lane
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
            let _: Option<Answer> = link.ask(link.probe(), PROBE_LIMIT, Timestamp::from_millis(0)).await;
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
