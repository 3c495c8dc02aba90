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

    /// Whether the tables are those of this version of the program, or of a later one.
    pub async fn is_migrated(&self) -> Result<bool, StoreError> {
        let applied =
            sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM _sqlx_migrations").fetch_one(self.reader()).await;
        match applied.map_err(StoreError::from) {
            Ok(applied) => Ok(usize::try_from(applied).unwrap_or(0) >= MIGRATIONS.iter().count()),
            Err(error @ StoreError::Unavailable(_)) => Err(error),
            // There is not even the table that says so.
            Err(_) => Ok(false),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::tempdir;

    fn url(path: &Path) -> String {
        format!("sqlite://{}", path.display())
    }

    async fn pragma(connection: &mut sqlx::AnyConnection, query: &'static str) -> String {
        let row = sqlx::query(query).fetch_one(connection).await.unwrap();
        row.try_get::<i64, _>(0).map_or_else(|_| row.get::<String, _>(0), |number| number.to_string())
    }

    #[tokio::test]
    async fn the_pragmas_are_in_force_on_every_connection() {
        let folder = tempdir().unwrap();
        let store = Store::open(&url(&folder.path().join("a.db")), &Options::default()).await.unwrap();
        let mut connections = vec![store.writer.acquire().await.unwrap()];
        for _ in 0..4 {
            connections.push(store.readers.acquire().await.unwrap());
        }
        assert!(store.writer.try_acquire().is_none() && store.readers.try_acquire().is_none(), "these are all");

        for (place, connection) in connections.iter_mut().enumerate() {
            assert_eq!(pragma(connection, "PRAGMA journal_mode").await, "wal");
            assert_eq!(pragma(connection, "PRAGMA synchronous").await, "2", "FULL");
            assert_eq!(pragma(connection, "PRAGMA foreign_keys").await, "1");
            assert_eq!(pragma(connection, "PRAGMA busy_timeout").await, "5000");
            assert_eq!(pragma(connection, "PRAGMA query_only").await, if place == 0 { "0" } else { "1" });
        }
    }

    #[tokio::test]
    async fn files_are_made_where_they_are_missing_and_for_their_owner_only() {
        let folder = tempdir().unwrap();
        for name in ["plain.db", "deep/er/auth.db", "with space %20 and #.db", "ünï.db"] {
            let path = folder.path().join(name);
            let store = Store::open(&url(&path), &Options::default()).await.unwrap();
            store.migrate().await.unwrap();
            store.ping().await.unwrap();
            for suffix in ["", "-wal", "-shm"] {
                let file = PathBuf::from(format!("{}{suffix}", path.display()));
                assert!(file.is_file(), "{}", file.display());
                #[cfg(unix)]
                {
                    use std::os::unix::fs::PermissionsExt as _;
                    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
                }
            }
            store.close().await;
            assert!(store.ping().await.unwrap_err().is_unavailable());
        }
    }

    #[tokio::test]
    async fn other_databases_are_refused_with_a_reason() {
        for (url, part) in [
            ("postgres://localhost/auth", "PostgreSQL"),
            ("postgresql://localhost/auth", "PostgreSQL"),
            ("mysql://localhost/auth", "must be sqlite://PATH"),
            ("auth.db", "must be sqlite://PATH"),
            ("", "must be sqlite://PATH"),
            ("sqlite:", "must name a file"),
            ("sqlite://", "must name a file"),
            ("sqlite::memory:", "must name a file"),
            ("sqlite://a.db?mode=rwc", "no parameters"),
        ] {
            let error = Store::open(url, &Options::default()).await.unwrap_err();
            assert!(error.to_string().contains(part), "{url}: {error}");
            assert!(!error.is_unavailable());
        }
        let folder = tempdir().unwrap();
        let error = Store::open(&url(folder.path()), &Options::default()).await.unwrap_err();
        assert!(matches!(error, StoreError::File(_)), "a folder is no file: {error}");
    }

    #[tokio::test]
    async fn both_forms_of_the_url_name_the_same_file() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("a.db");
        let store = Store::open(&url(&path), &Options::default()).await.unwrap();
        store.migrate().await.unwrap();
        let same = Store::open(&format!("sqlite:{}", path.display()), &Options::default()).await.unwrap();
        same.ping().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn migrations_run_once_however_many_run_them() {
        for _ in 0..10 {
            let folder = tempdir().unwrap();
            let url = url(&folder.path().join("a.db"));
            let all = (0..4).map(|_| {
                let url = url.clone();
                async move {
                    // Opening races as well: all want to change the journal's mode.
                    let store = Store::open(&url, &Options::default()).await.unwrap();
                    store.migrate().await.unwrap();
                    store.ping().await.unwrap();
                    store
                }
            });
            let stores = all.collect::<tokio::task::JoinSet<_>>().join_all().await;
            stores[0].migrate().await.unwrap();
            let applied = "SELECT COUNT(*) FROM _sqlx_migrations";
            let applied: i64 = sqlx::query_scalar(applied).fetch_one(stores[0].reader()).await.unwrap();
            assert_eq!(applied, i64::try_from(MIGRATIONS.iter().count()).unwrap());
        }
    }

    #[tokio::test]
    async fn a_database_without_tables_is_not_ready() {
        let folder = tempdir().unwrap();
        let store = Store::open(&url(&folder.path().join("a.db")), &Options::default()).await.unwrap();
        assert!(store.ping().await.is_err());
    }

    #[tokio::test]
    async fn a_database_of_a_newer_program_is_refused() {
        let folder = tempdir().unwrap();
        let store = Store::open(&url(&folder.path().join("a.db")), &Options::default()).await.unwrap();
        store.migrate().await.unwrap();
        let newer = "INSERT INTO _sqlx_migrations SELECT 9999, 'newer', installed_on, success, checksum, 0 \
                     FROM _sqlx_migrations LIMIT 1";
        sqlx::query(newer).execute(&store.writer).await.unwrap();
        assert!(matches!(store.migrate().await.unwrap_err(), StoreError::Migration(_)));
    }

    #[tokio::test]
    async fn only_the_writes_of_others_are_foreign() {
        let folder = tempdir().unwrap();
        let url = url(&folder.path().join("a.db"));
        let store = Store::open(&url, &Options::default()).await.unwrap();
        store.migrate().await.unwrap();
        let other = Store::open(&url, &Options::default()).await.unwrap();
        let touch = "UPDATE apps SET lock_version = lock_version + 1";

        let before = store.foreign_writes().await.unwrap();
        sqlx::query(touch).execute(&store.writer).await.unwrap();
        other.ping().await.unwrap();
        assert_eq!(store.foreign_writes().await.unwrap(), before, "its own writes and others' reads are not");
        sqlx::query(touch).execute(&other.writer).await.unwrap();
        let after = store.foreign_writes().await.unwrap();
        assert_ne!(after, before);
        assert_eq!(store.foreign_writes().await.unwrap(), after);

        // Versions of another connection say nothing: a new one counts as a change.
        store.writer.acquire().await.unwrap().close().await.unwrap();
        assert_ne!(store.foreign_writes().await.unwrap(), after);
    }

    #[tokio::test]
    async fn another_processes_lock_makes_it_unavailable_until_it_goes() {
        let folder = tempdir().unwrap();
        let url = url(&folder.path().join("a.db"));
        let impatient = Options { busy_timeout: Duration::ZERO, ..Options::default() };
        let store = Store::open(&url, &impatient).await.unwrap();
        store.migrate().await.unwrap();
        let other = Store::open(&url, &impatient).await.unwrap();

        let lock = other.begin().await.unwrap();
        assert!(store.touch_sessions(&[]).await.unwrap_err().is_unavailable());
        store.ping().await.unwrap();
        lock.rollback().await.unwrap();
        store.touch_sessions(&[]).await.unwrap();
    }
}
