//! Opening and closing.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::migrate::Migrator;
use sqlx::{Any, AnyPool, AssertSqlSafe, Row, Transaction};

use crate::StoreError;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// How to use the database.
#[derive(Debug, Clone)]
pub struct Options {
    /// Connections for reading.
    pub readers: u32,
    /// How long to wait for another process's transaction.
    pub busy_timeout: Duration,
    /// How long to wait for a free connection.
    pub acquire_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { readers: 4, busy_timeout: Duration::from_secs(5), acquire_timeout: Duration::from_secs(15) }
    }
}

/// The database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    writer: AnyPool,
    readers: AnyPool,
    /// How many writer connections there have been, one at a time.
    writer_connections: Arc<AtomicU64>,
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
    /// they are missing. The tables come with [`Store::migrate`].
    pub async fn open(url: &str, options: &Options) -> Result<Self, StoreError> {
        let path = sqlite_path(url)?;
        create_file(&path)?;
        let url = sqlite_url(&path)?;
        install_default_drivers();

        let writer_connections = Arc::new(AtomicU64::new(0));
        let connected = Arc::clone(&writer_connections);
        // busy_timeout first: it makes the change to WAL wait for others who do the same. FULL: a commit that was
        // answered survives a loss of power.
        let pragmas = format!(
            "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
            options.busy_timeout.as_millis()
        );
        // One writer: writers of this process queue here, in order, rather than at SQLite's lock, which is not fair.
        let writer = connections(1, options, pragmas.clone(), connected).connect(&url).await?;
        let readers = connections(
            options.readers,
            options,
            format!("{pragmas} PRAGMA query_only = ON;"),
            Arc::new(AtomicU64::new(0)),
        )
        .connect(&url)
        .await?;
        Ok(Self { writer, readers, writer_connections })
    }

    /// Brings the tables to this version of the program: all migrations that are missing, or none. May run in several
    /// processes at once.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        // Within one write transaction the second process waits and then finds everything done.
        let mut transaction = self.begin().await?;
        MIGRATIONS.run_direct(None, &mut *transaction, false).await.map_err(|error| match error {
            sqlx::migrate::MigrateError::Execute(error) => error.into(),
            error => StoreError::Migration(error),
        })?;
        Ok(transaction.commit().await?)
    }

    /// Succeeds when the database answers and the tables are there.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT COUNT(*) FROM apps").fetch_one(self.reader()).await?;
        Ok(())
    }

    /// Waits for what is under way and closes all connections; later calls fail as unavailable.
    pub async fn close(&self) {
        self.readers.close().await;
        // Last, so that its closing moves what is in the WAL into the database file.
        self.writer.close().await;
    }

    /// A mark that changes when another process (an operator's command) has written to the database, and not when this
    /// `Store` has.
    pub async fn foreign_writes(&self) -> Result<ForeignWrites, StoreError> {
        // On the writer's connection, since `data_version` (sqlite.org/pragma.html) counts the commits of all others.
        let mut writer = self.writer.acquire().await?;
        let version = sqlx::query("PRAGMA data_version").fetch_one(&mut *writer).await?.try_get(0)?;
        Ok(ForeignWrites { connection: self.writer_connections.load(Ordering::Acquire), version })
    }

    /// Begins a write transaction that is alone from the start. One that became a writer only later could find that
    /// what it read has changed.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Any>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Where to read.
    pub(crate) const fn reader(&self) -> &AnyPool {
        &self.readers
    }
}

fn connections(count: u32, options: &Options, pragmas: String, connected: Arc<AtomicU64>) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(count)
        .acquire_timeout(options.acquire_timeout)
        // A file does not hang up.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |connection, _| {
            connected.fetch_add(1, Ordering::AcqRel);
            let pragmas = pragmas.clone();
            Box::pin(async move {
                sqlx::raw_sql(AssertSqlSafe(pragmas)).execute(connection).await?;
                Ok(())
            })
        })
}

fn sqlite_path(url: &str) -> Result<PathBuf, StoreError> {
    if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        return Err(StoreError::Url(
            "names a PostgreSQL database, which this build cannot serve yet; use sqlite://PATH",
        ));
    }
    let path = url
        .strip_prefix("sqlite://")
        .or_else(|| url.strip_prefix("sqlite:"))
        .ok_or(StoreError::Url("must be sqlite://PATH"))?;
    if path.is_empty() || path == ":memory:" {
        return Err(StoreError::Url("must name a file, as in sqlite://PATH"));
    }
    if path.contains('?') {
        return Err(StoreError::Url("takes no parameters after the path"));
    }
    Ok(std::path::absolute(path)?)
}

/// sqlx undoes percent-encoding, so that everything unusual survives in it.
fn sqlite_url(path: &Path) -> Result<String, StoreError> {
    let path = path.to_str().ok_or(StoreError::Url("must name a path in UTF-8"))?;
    let mut url = "sqlite://".to_owned();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url.push_str("?mode=rw");
    Ok(url)
}

/// SQLite would create the file with the permissions that the umask leaves; its WAL takes over those of the file.
fn create_file(path: &Path) -> io::Result<()> {
    let mut folder = fs::DirBuilder::new();
    let mut file = fs::OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        folder.mode(0o700);
        file.mode(0o600);
    }
    if let Some(parent) = path.parent() {
        folder.recursive(true).create(parent)?;
    }
    file.append(true).create(true).open(path).map(drop)
}
