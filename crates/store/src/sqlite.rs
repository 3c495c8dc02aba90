//! A SQLite file: one writer, some readers, every answered commit on the disk.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::AssertSqlSafe;
use sqlx::any::AnyPoolOptions;

use crate::open::Product;
use crate::postgres::SERVER_FIRST;
use crate::reader::Readers;
use crate::shares::Shares;
use crate::sqlite_readers::SqliteReaders;
use crate::{Options, Store, StoreError, wal};

/// More would not help: one process reads the file.
const READERS: u32 = 4;
/// A copy into another table, or a walk through the audit chain, and a second one to compare with.
const SNAPSHOTS: u32 = 2;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);

pub(crate) async fn open(url: &str, options: &Options) -> Result<Store, StoreError> {
    let path = sqlite_path(url)?;
    create_file(&path)?;
    let url = sqlite_url(&path)?;

    let writer_connections = Arc::new(AtomicU64::new(0));
    let connected = Arc::clone(&writer_connections);
    // busy_timeout first: it makes the change to WAL wait for others who do the same. FULL: a commit that was
    // answered survives a loss of power.
    let pragmas = format!(
        "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
         PRAGMA journal_size_limit = {};",
        options.lock_timeout.as_millis(),
        wal::LIMIT
    );
    // One writer: writers of this process queue here, in order, rather than at SQLite's lock, which is not fair.
    let writer = connections(1, options, pragmas.clone(), connected).connect(&url).await?;
    let query_only = format!("{pragmas} PRAGMA query_only = ON;");
    let snapshots = connections(SNAPSHOTS, options, query_only.clone(), Arc::default()).connect_lazy(&url)?;
    let looks = connections(1, options, query_only.clone(), Arc::default()).connect(&url).await?;
    let acquire_timeout = options.acquire_timeout.unwrap_or(ACQUIRE_TIMEOUT);
    let readers = SqliteReaders::open(&url, query_only, READERS, options.statement_timeout, acquire_timeout).await?;
    let mut wal = path.into_os_string();
    wal.push("-wal");
    Ok(Store {
        writer,
        readers: Readers::Sqlite(Arc::new(readers)),
        snapshots,
        looks,
        shares: Arc::new(Shares::of(READERS)),
        product: Product::Sqlite { writer_connections, wal: Path::new(&wal).into() },
        patience: options.statement_timeout + SERVER_FIRST,
        lookups: Arc::default(),
        step_up: None,
    })
}

fn connections(count: u32, options: &Options, pragmas: String, connected: Arc<AtomicU64>) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(count)
        .acquire_timeout(options.acquire_timeout.unwrap_or(ACQUIRE_TIMEOUT))
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
    let path = url
        .strip_prefix("sqlite://")
        .or_else(|| url.strip_prefix("sqlite:"))
        .ok_or(StoreError::Url("must be sqlite://PATH or postgres://HOST/DATABASE"))?;
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
    use sqlx::{Row as _, SqlSafeStr as _};
    use tempfile::tempdir;

    use super::*;
    use crate::migrate::MIGRATIONS;

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
        let mut writer = store.writer.acquire().await.unwrap();
        assert!(store.writer.try_acquire().is_none(), "this is the one");
        let mut snapshot = store.snapshots.acquire().await.unwrap();
        let Readers::Sqlite(readers) = &store.readers else { panic!("{store:?}") };
        for (query, expected) in [
            ("PRAGMA journal_mode", "wal"),
            ("PRAGMA synchronous", "2"),
            ("PRAGMA foreign_keys", "1"),
            ("PRAGMA busy_timeout", "5000"),
            ("PRAGMA journal_size_limit", "33554432"),
            ("PRAGMA query_only", "1"),
        ] {
            assert_eq!(pragma(&mut snapshot, query).await, expected);
            for _ in 0..=READERS {
                let row = readers.fetch_all(AssertSqlSafe(query).into_sql_str(), false, None).await.unwrap().remove(0);
                let value =
                    row.try_get::<i64, _>(0).map_or_else(|_| row.get::<String, _>(0), |value| value.to_string());
                assert_eq!(value, expected);
            }
            let expected = if query.ends_with("query_only") { "0" } else { expected };
            assert_eq!(pragma(&mut writer, query).await, expected);
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
            ("mysql://localhost/auth", "must be sqlite://PATH or"),
            ("auth.db", "must be sqlite://PATH or"),
            ("", "must be sqlite://PATH or"),
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
        let impatient = Options { lock_timeout: Duration::ZERO, ..Options::default() };
        let store = Store::open(&url, &impatient).await.unwrap();
        store.migrate().await.unwrap();
        let other = Store::open(&url, &impatient).await.unwrap();

        let mut connection = other.writer.acquire().await.unwrap();
        let lock = other.begin(&mut connection).await.unwrap();
        assert!(store.touch_sessions(&[]).await.unwrap_err().is_unavailable());
        store.ping().await.unwrap();
        lock.rollback().await.unwrap();
        store.touch_sessions(&[]).await.unwrap();
    }
}
