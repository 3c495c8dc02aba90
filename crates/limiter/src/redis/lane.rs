//! A connection, and those who wait for what they ask to go out over it.
//!
//! What the requests of one thread ask in the same turn goes out together: the first of them sets off a task, which the
//! thread gets to when it has been through the others. Where several ask the same (a busy token), they ask it once.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::cluster_async::ClusterConnection;
use ::redis::{Cmd, ErrorKind, FromRedisValue, InfoDict, RedisResult, ServerErrorKind, Value};
use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::link::Up;
use super::script::{Question, Reply};

/// Clones are the same connection.
#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A connection with its queue.
pub(super) struct Lane {
    /// Of the [`Up`] it belongs to.
    pub(super) number: u64,
    pub(super) connection: Connection,
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    question: Question,
    asker: oneshot::Sender<Told>,
}

/// The reply to a question, and which of those who asked it this one was, from 0.
pub(super) type Told = (Reply, u32);

/// A question, and those who ask it.
pub(super) struct Group {
    pub(super) question: Question,
    pub(super) askers: Vec<oneshot::Sender<Told>>,
}

/// The right and the duty to send what waits. Whoever drops it unused, because their runtime ends, lets those who wait
/// go without an answer; otherwise they would wait for ever.
pub(super) struct Departure(Option<Arc<Lane>>);

impl Lane {
    pub(super) fn new(number: u64, connection: Connection) -> Arc<Self> {
        Arc::new(Self { number, connection, waiting: Mutex::default() })
    }

    /// Queues a question. The first in the queue has to see to its departure.
    pub(super) fn queue(self: &Arc<Self>, question: Question) -> (oneshot::Receiver<Told>, Option<Departure>) {
        let (asker, reply) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(Waiting { question, asker });
        let is_first = waiting.len() == 1;
        drop(waiting);
        (reply, is_first.then(|| Departure(Some(Arc::clone(self)))))
    }

    fn take(&self) -> Vec<Waiting> {
        std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Departure {
    /// The lane, and those who wait: by what they ask, and of equal questions in the order in which they came. Whoever
    /// comes now is the first of the next. `None` when nobody waits any more.
    pub(super) fn take(mut self) -> Option<(Arc<Lane>, Vec<Group>)> {
        let lane = self.0.take()?;
        let mut waiting = lane.take();
        // Whoever has gone meanwhile is not counted.
        waiting.retain(|waiting| !waiting.asker.is_closed());
        waiting.sort_by(|one, other| one.question.key().cmp(other.question.key()));
        let mut groups: Vec<Group> = Vec::new();
        for Waiting { question, asker } in waiting {
            match groups.last_mut() {
                Some(group) if group.question == question => group.askers.push(asker),
                _ => groups.push(Group { question, askers: vec![asker] }),
            }
        }
        (!groups.is_empty()).then_some((lane, groups))
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        if let Some(lane) = &self.0 {
            drop(lane.take());
        }
    }
}

impl Group {
    pub(super) fn tell(self, reply: Reply) {
        for (nth, asker) in (0..).zip(self.askers) {
            let _ = asker.send((reply, nth));
        }
    }
}

impl Connection {
    /// What goes out together and fails together: all of it to a single Redis, each question by itself to a cluster,
    /// whose nodes fail one by one.
    pub(super) fn trips(&self, groups: Vec<Group>) -> Vec<Vec<Group>> {
        match self {
            Self::Single(_) => vec![groups],
            Self::Cluster(_) => groups.into_iter().map(|group| vec![group]).collect(),
        }
    }

    /// Asks all of these at once. A script whose digest is not known is sent with its text: on a new Redis, or after
    /// `SCRIPT FLUSH`.
    pub(super) async fn ask(&self, groups: &[Group]) -> RedisResult<Vec<RedisResult<Value>>> {
        let mut replies = self.ask_by_digest(groups).await?;
        for (group, reply) in groups.iter().zip(&mut replies) {
            let is_unknown = |error: &::redis::RedisError| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript);
            if reply.as_ref().is_err_and(is_unknown) {
                *reply = self.query(&group.question.by_text(group.askers.len())).await;
            }
        }
        Ok(replies)
    }

    async fn ask_by_digest(&self, groups: &[Group]) -> RedisResult<Vec<RedisResult<Value>>> {
        let mut commands = groups.iter().map(|group| group.question.by_digest(group.askers.len()));
        match self {
            Self::Single(connection) => {
                let mut pipeline = ::redis::pipe();
                for command in commands {
                    pipeline.add_command(command);
                }
                pipeline.ignore_errors().query_async(&mut connection.clone()).await
            }
            Self::Cluster(_) => {
                let asking = commands.by_ref().map(|command| async move { self.query(&command).await });
                Ok(join_all(asking).await)
            }
        }
    }

    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        async fn on<T: FromRedisValue>(mut connection: impl ConnectionLike, command: &Cmd) -> RedisResult<T> {
            command.query_async(&mut connection).await
        }
        match self {
            Self::Single(connection) => on(connection.clone(), command).await,
            Self::Cluster(connection) => on(connection.clone(), command).await,
        }
    }

    /// The process at the other end, by the name it has until it is restarted; `None` for a cluster, or if it does not
    /// tell.
    pub(super) async fn server(&self) -> Option<String> {
        match self {
            Self::Single(_) => {
                let info: InfoDict = self.query(::redis::cmd("INFO").arg("server")).await.ok()?;
                info.get("run_id")
            }
            Self::Cluster(_) => None,
        }
    }
}

thread_local! {
    /// The lanes of this thread.
    static OWN: RefCell<Vec<Own>> = const { RefCell::new(Vec::new()) };
}

/// Which lane this thread uses for an [`Up`]. The `Up` owns it: when Redis is given up, all connections close.
struct Own {
    number: u64,
    up: Weak<Up>,
    lane: Weak<Lane>,
}

/// The lane of this thread for the `Up` of this number, if it has been chosen.
pub(super) fn own(number: u64) -> Option<Arc<Lane>> {
    OWN.with_borrow(|lanes| lanes.iter().find(|own| own.number == number).and_then(|own| own.lane.upgrade()))
}

/// Makes `lane` the one that this thread uses.
pub(super) fn choose(up: &Arc<Up>, lane: &Arc<Lane>) {
    OWN.with_borrow_mut(|lanes| {
        lanes.retain(|own| own.number != up.number && own.up.strong_count() > 0);
        lanes.push(Own { number: up.number, up: Arc::downgrade(up), lane: Arc::downgrade(lane) });
    });
}
