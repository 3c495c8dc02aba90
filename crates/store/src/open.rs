//! Opening and closing. What a database of either kind needs for it is in `sqlite.rs` and `postgres.rs`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::any::install_default_drivers;
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyPool, Connection as _, Row, Transaction};

use crate::reader::{Reader, Readers};
use crate::shares::Shares;
use crate::step_up::StepUp;
use crate::token_lookups::Lookups;
use crate::{StoreError, postgres, sqlite};

/// How to use the database.
#[derive(Debug, Clone)]
pub struct Options {
    /// Connections to PostgreSQL, half of them for reading and half for writing, so that readers never queue behind
    /// writers that wait for each other; at least one of each. SQLite has one for writing and a few for reading.
    pub connections: u32,
    /// How long to wait for another transaction that holds what this one needs.
    pub lock_timeout: Duration,
    /// How long one statement, and one transaction as a whole, may take. A read that takes longer is interrupted; what
    /// SQLite's one writer is at is given up, but not interrupted.
    pub statement_timeout: Duration,
    /// How long to wait for a free connection, or for a new one to be made. Unless it is given, 15 s for SQLite, whose
    /// one writer has a queue, and 5 s for PostgreSQL.
    pub acquire_timeout: Option<Duration>,
    /// How long opening goes on trying while PostgreSQL cannot be reached.
    pub start_up_wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: 20,
            lock_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            acquire_timeout: None,
            start_up_wait: Duration::from_secs(30),
        }
    }
}

/// The database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) writer: AnyPool,
    pub(crate) readers: Readers,
    /// For those who look at the whole database at one moment, for as long as it takes.
    pub(crate) snapshots: AnyPool,
    pub(crate) shares: Arc<Shares>,
    /// One connection for [`Store::look`], so that busy readers cannot keep an instance from hearing of revocations.
    pub(crate) looks: AnyPool,
    pub(crate) product: Product,
    /// How long one call may hold a connection; a peer that says nothing at all must not keep anybody for ever.
    pub(crate) patience: Duration,
    pub(crate) lookups: Arc<Lookups>,
    /// What is demanded of sessions; `None` for an operator's command.
    pub(crate) step_up: Option<Arc<StepUp>>,
}

/// Which database it is.
#[derive(Debug, Clone)]
pub(crate) enum Product {
    Sqlite {
        /// How many writer connections there have been, one at a time.
        writer_connections: Arc<AtomicU64>,
        /// Its write-ahead log.
        wal: Arc<Path>,
    },
    Postgres,
}

/// Differs between two calls of [`Store::foreign_writes`] when somebody else wrote in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignWrites {
    /// Versions of different connections cannot be compared.
    connection: u64,
    version: i64,
}

impl Store {
    /// Opens `sqlite://path` or `sqlite:path`, creating the file, readable for its owner only, and its folder where
    /// they are missing; or `postgres://…`, as libpq writes it (PostgreSQL §34.1.1), waiting for the server where it
    /// cannot be reached yet. The tables come with [`Store::migrate`].
    pub async fn open(url: &str, options: &Options) -> Result<Self, StoreError> {
        install_default_drivers();
        if postgres::is_url(url) { postgres::open(url, options).await } else { sqlite::open(url, options).await }
    }

    /// Succeeds when the database answers and the tables are there.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT COUNT(*) FROM apps").fetch_one(self.reader()).await?;
        Ok(())
    }

    /// Waits for what is under way and closes all connections; later calls fail as unavailable.
    pub async fn close(&self) {
        self.readers.close().await;
        self.snapshots.close().await;
        self.looks.close().await;
        // Last, so that its closing moves what is in SQLite's WAL into the database file.
        self.writer.close().await;
    }

    /// A mark that changes when another process has written to a SQLite file, and not when this `Store` has. `None` on
    /// PostgreSQL, which does not tell.
    pub async fn foreign_writes(&self) -> Result<Option<ForeignWrites>, StoreError> {
        let Product::Sqlite { writer_connections, .. } = &self.product else { return Ok(None) };
        // On the writer's connection, since `data_version` (sqlite.org/pragma.html) counts the commits of all others.
        let mut writer = self.writer.acquire().await?;
        let version = sqlx::query("PRAGMA data_version").fetch_one(&mut *writer).await?.try_get(0)?;
        Ok(Some(ForeignWrites { connection: writer_connections.load(Ordering::Acquire), version }))
    }

    /// Begins a write transaction on a connection of the writer's.
    pub(crate) async fn begin<'c>(
        &self,
        connection: &'c mut PoolConnection<Any>,
    ) -> Result<Transaction<'c, Any>, StoreError> {
        let statement = match self.product {
            // Alone from the start. One that became a writer only later could find that what it read has changed.
            Product::Sqlite { .. } => "BEGIN IMMEDIATE",
            // Each statement sees what was committed before it; where that matters, a row has been locked first.
            Product::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        };
        Ok((**connection).begin_with(statement).await?)
    }

    /// Begins a transaction that sees the whole database as it is at one moment, for as long as it takes.
    pub(crate) async fn snapshot(&self) -> Result<Transaction<'static, Any>, StoreError> {
        Ok(match self.product {
            Product::Sqlite { .. } => self.snapshots.begin().await?,
            Product::Postgres => {
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
                let mut snapshot = self.snapshots.begin_with(begin).await?;
                sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *snapshot).await?;
                snapshot
            }
        })
    }

    /// Where to read.
    pub(crate) const fn reader(&self) -> Reader<'_> {
        Reader(self)
    }

    /// Runs `work` for no longer than one call may take.
    pub(crate) async fn bounded<T, E: From<sqlx::Error>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let timed_out = || sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        tokio::time::timeout(self.patience, work).await.unwrap_or_else(|_| Err(timed_out().into()))
    }

    /// How many connections of a pool may turn out to be dead before a call gives up: all that were there, after which
    /// a new one is made.
    pub(crate) fn dead_connections(&self) -> u32 {
        match self.product {
            Product::Sqlite { .. } => 0,
            Product::Postgres => self.writer.options().get_max_connections(),
        }
    }
}
