//! SQLite's readers: a few connections whose statements end in time.
//!
//! A pool of our own, because a statement on SQLite runs in this process and has no server that would end it. Each
//! connection has a moment, known to a handler that SQLite calls every few thousand steps, at which whatever it is
//! doing is interrupted. sqlx's pool gives nobody a place for that moment beside the connection.

use std::mem;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Error, SqlStr, SqliteConnection};
use sqlx_core::any::AnyConnectionBackend as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

/// Steps of SQLite's machine between two looks at the clock: some 0.1 ms, and more than a lookup by a key takes.
const STEPS: i32 = 4_000;

#[derive(Debug)]
pub(crate) struct SqliteReaders {
    options: SqliteConnectOptions,
    pragmas: String,
    statement_timeout: Duration,
    acquire_timeout: Duration,
    since: Instant,
    count: u32,
    /// First come, first served.
    turns: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

#[derive(Debug)]
struct Connection {
    sqlite: SqliteConnection,
    /// In microseconds after `since`.
    interrupted_at: Arc<AtomicU64>,
}

impl SqliteReaders {
    pub(crate) async fn open(
        url: &str,
        pragmas: String,
        count: u32,
        statement_timeout: Duration,
        acquire_timeout: Duration,
    ) -> Result<Self, Error> {
        let readers = Self {
            options: SqliteConnectOptions::from_str(url)?,
            pragmas,
            statement_timeout,
            acquire_timeout,
            since: Instant::now(),
            count,
            turns: Semaphore::new(count as usize),
            idle: Mutex::default(),
        };
        let first = readers.connect().await?;
        readers.idle().push(first);
        Ok(readers)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let mut sqlite = self.options.connect().await?;
        sqlx::raw_sql(AssertSqlSafe(self.pragmas.clone())).execute(&mut sqlite).await?;
        let interrupted_at = Arc::new(AtomicU64::new(u64::MAX));
        let (moment, since) = (Arc::clone(&interrupted_at), self.since);
        sqlite.lock_handle().await?.set_progress_handler(STEPS, move || {
            u128::from(moment.load(Ordering::Relaxed)) > since.elapsed().as_micros()
        });
        Ok(Connection { sqlite, interrupted_at })
    }

    /// All rows, or an error once the statement has taken too long. It does not go on when its caller goes away.
    pub(crate) async fn fetch_all(
        &self,
        sql: SqlStr,
        persistent: bool,
        arguments: Option<AnyArguments>,
    ) -> Result<Vec<AnyRow>, Error> {
        let turn = timeout(self.acquire_timeout, self.turns.acquire())
            .await
            .map_err(|_| Error::PoolTimedOut)?
            .map_err(|_| Error::PoolClosed)?;
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let mut busy = Busy { readers: self, connection: Some(connection), _turn: turn };
        let rows = busy.fetch_all(sql, persistent, arguments).await;
        // What SQLite itself has refused leaves a connection that works; an interrupted one as well.
        if matches!(rows, Ok(_) | Err(Error::Database(_))) {
            busy.returns_free();
        }
        rows
    }

    /// Waits for what is under way and closes all connections.
    pub(crate) async fn close(&self) {
        let all = self.turns.acquire_many(self.count).await;
        self.turns.close();
        drop(all);
        let idle = mem::take(&mut *self.idle());
        for connection in idle {
            let _ = connection.sqlite.close().await;
        }
    }
}

/// A connection and the turn that it is used in.
struct Busy<'r> {
    readers: &'r SqliteReaders,
    connection: Option<Connection>,
    /// Given back last, when the connection can be found.
    _turn: SemaphorePermit<'r>,
}

impl Busy<'_> {
    async fn fetch_all(
        &mut self,
        sql: SqlStr,
        persistent: bool,
        arguments: Option<AnyArguments>,
    ) -> Result<Vec<AnyRow>, Error> {
        let Some(Connection { sqlite, interrupted_at }) = &mut self.connection else { return Err(Error::PoolClosed) };
        let limit = u64::try_from(self.readers.statement_timeout.as_micros()).unwrap_or(u64::MAX);
        interrupted_at.store(self.readers.micros().saturating_add(limit), Ordering::Relaxed);
        sqlite
            .fetch_many(sql, persistent, arguments)
            .try_filter_map(|row| async { Ok(row.right()) })
            .try_collect()
            .await
    }

    fn returns_free(mut self) {
        let connection = self.connection.take();
        self.readers.idle().extend(connection);
    }
}

impl Drop for Busy<'_> {
    /// The caller went away in the middle: the statement ends now, and the connection with it.
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.interrupted_at.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use sqlx::{Row as _, SqlSafeStr as _};
    use tempfile::TempDir;

    use super::*;
    use crate::StoreError;

    const ENDLESS: &str = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n";

    async fn readers(statement_timeout: Duration) -> (TempDir, Arc<SqliteReaders>) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("a.db").display());
        let readers =
            SqliteReaders::open(&url, String::new(), 4, statement_timeout, Duration::from_mins(1)).await.unwrap();
        (folder, Arc::new(readers))
    }

    async fn ask(readers: &SqliteReaders, query: &'static str) -> Result<i64, StoreError> {
        let rows = readers.fetch_all(query.into_sql_str(), true, Some(AnyArguments::default())).await?;
        Ok(rows[0].get(0))
    }

    async fn all_are_free(readers: &SqliteReaders) {
        let all = readers.turns.acquire_many(readers.count).await.unwrap();
        drop(all);
        assert_eq!(ask(readers, "SELECT 7").await.unwrap(), 7);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_read_that_takes_too_long_is_interrupted_and_its_reader_free_again() {
        let (_folder, readers) = readers(Duration::from_millis(20)).await;
        for _ in 0..3 {
            let all = (0..12).map(|_| {
                let readers = Arc::clone(&readers);
                async move { ask(&readers, ENDLESS).await }
            });
            for outcome in all.collect::<tokio::task::JoinSet<_>>().join_all().await {
                assert!(outcome.unwrap_err().is_unavailable());
            }
            all_are_free(&readers).await;
            assert!(readers.idle().len() <= 4);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_read_ends_when_its_caller_goes_away() {
        let (_folder, readers) = readers(Duration::from_hours(1)).await;
        let mut left: Vec<Weak<AtomicU64>> = Vec::new();
        for _ in 0..10 {
            let connection = readers.connect().await.unwrap();
            left.push(Arc::downgrade(&connection.interrupted_at));
            readers.idle().push(connection);
            let task = tokio::spawn({
                let readers = Arc::clone(&readers);
                async move { ask(&readers, ENDLESS).await }
            });
            while readers.turns.available_permits() == 4 {
                tokio::task::yield_now().await;
            }
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
            all_are_free(&readers).await;
        }
        // A connection that is still at its statement holds the moment at which it is interrupted.
        while left.iter().any(|moment| moment.strong_count() > 0 && !is_idle(&readers, moment)) {
            tokio::task::yield_now().await;
        }
    }

    fn is_idle(readers: &SqliteReaders, moment: &Weak<AtomicU64>) -> bool {
        readers
            .idle()
            .iter()
            .any(|idle| moment.upgrade().is_some_and(|moment| Arc::ptr_eq(&moment, &idle.interrupted_at)))
    }

    #[tokio::test]
    async fn closing_waits_for_what_is_under_way_and_ends_all() {
        let (_folder, readers) = readers(Duration::from_millis(20)).await;
        let endless = ask(&readers, ENDLESS);
        let (outcome, ()) = tokio::join!(endless, readers.close());
        assert!(outcome.is_err());
        assert!(readers.idle().is_empty());
        assert!(ask(&readers, "SELECT 7").await.unwrap_err().is_unavailable());
    }
}
