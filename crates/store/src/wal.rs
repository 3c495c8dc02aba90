//! SQLite's write-ahead log, which grows for as long as some reader still needs its beginning.

use std::fs;

use crate::open::Product;
use crate::{Store, StoreError};

/// What it may be, in bytes, before somebody cuts it short: SQLite itself when it begins the log anew, and
/// [`Store::shorten_wal`] when it does not come to that.
pub(crate) const LIMIT: u64 = 32 * 1024 * 1024;

/// How long the one writer waits for readers, in milliseconds; whoever wants to write waits behind it.
const WAIT: u32 = 250;

impl Store {
    /// Writes the log into the database file and cuts it to nothing, if it is larger than 32 MiB and no reader is in
    /// the way for long; true when it did. With PostgreSQL there is nothing to do.
    ///
    /// SQLite begins the log anew by itself when a commit finds everything written back and nobody reading from it.
    /// With readers that overlap at every moment that never comes, and the log grows for as long as there is load.
    pub async fn shorten_wal(&self) -> Result<bool, StoreError> {
        let Product::Sqlite { wal, .. } = &self.product else { return Ok(false) };
        if fs::metadata(wal).map_or(0, |file| file.len()) <= LIMIT {
            return Ok(false);
        }
        let mut writer = self.writer.acquire().await?;
        let lock_timeout: i64 = sqlx::query_scalar("PRAGMA busy_timeout").fetch_one(&mut *writer).await?;
        let shorter_wait = sqlx::AssertSqlSafe(format!("PRAGMA busy_timeout = {WAIT}"));
        sqlx::raw_sql(shorter_wait).execute(&mut *writer).await?;
        let outcome = sqlx::query_scalar::<_, i64>("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *writer).await;
        let as_before = sqlx::AssertSqlSafe(format!("PRAGMA busy_timeout = {lock_timeout}"));
        sqlx::raw_sql(as_before).execute(&mut *writer).await?;
        // Its first column says whether somebody was in the way.
        Ok(outcome? == 0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use domain::audit::{Actor, EventType};
    use domain::{ClientInfo, EventId, Timestamp, UserId};
    use tempfile::TempDir;

    use super::*;
    use crate::{NewEvent, Options};

    async fn store() -> (TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("a.db").display());
        let store = Store::open(&url, &Options::default()).await.unwrap();
        store.migrate().await.unwrap();
        (folder, store)
    }

    fn ann() -> UserId {
        "ann".parse().unwrap()
    }

    /// Writes so many events of two megabytes, one a transaction.
    async fn write(store: &Store, name: &str, count: u32) {
        for number in 0..count {
            let id: EventId = format!("{name}{number}").parse().unwrap();
            let metadata = [("note".to_owned(), "x".repeat(2 * 1024 * 1024))].into();
            let event = NewEvent {
                id,
                at: Timestamp::from_millis(i64::from(number)),
                actor: Actor::default(),
                client: ClientInfo::default(),
                metadata,
            };
            store.append_event(EventType::TokenLimited, Some(&ann()), &event).await.unwrap();
        }
    }

    fn size(store: &Store) -> u64 {
        let Product::Sqlite { wal, .. } = &store.product else { panic!("{store:?}") };
        fs::metadata(wal).unwrap().len()
    }

    #[tokio::test]
    async fn without_a_reader_in_the_way_the_log_stays_small() {
        let (_folder, store) = store().await;
        write(&store, "a", 20).await;
        assert!(size(&store) < LIMIT, "{}", size(&store));
        assert!(!store.shorten_wal().await.unwrap(), "there is nothing to do");
    }

    #[tokio::test]
    async fn the_log_grows_beside_a_snapshot_and_shrinks_when_it_ends() {
        let (_folder, store) = store().await;
        let mut snapshot = store.snapshot().await.unwrap();
        let count = "SELECT COUNT(*) FROM audit_events";
        assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&mut *snapshot).await.unwrap(), 0);
        write(&store, "a", 20).await;
        assert!(size(&store) > LIMIT);
        assert!(!store.shorten_wal().await.unwrap(), "somebody still needs it");
        assert!(size(&store) > LIMIT);
        assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&mut *snapshot).await.unwrap(), 0);

        drop(snapshot);
        while !store.shorten_wal().await.unwrap() {
            tokio::task::yield_now().await;
        }
        assert_eq!(size(&store), 0);
        // The writer waits for locks as long as before.
        let wait = "PRAGMA busy_timeout";
        let wait: i64 = sqlx::query_scalar(wait).fetch_one(&store.writer).await.unwrap();
        assert_eq!(wait, 5_000);
        write(&store, "b", 1).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_log_is_bounded_beside_readers_at_every_moment() {
        let (_folder, store) = store().await;
        write(&store, "a", 5).await;
        let stop = Arc::new(AtomicBool::new(false));
        let readers = (0..6).map(|_| {
            let (store, stop) = (store.clone(), Arc::clone(&stop));
            async move {
                while !stop.load(Ordering::Relaxed) {
                    sqlx::query("SELECT metadata FROM audit_events LIMIT 10").fetch_all(store.reader()).await.unwrap();
                }
            }
        });
        let readers = readers.collect::<tokio::task::JoinSet<_>>();
        for round in 0..12 {
            write(&store, &format!("b{round}n"), 5).await;
            store.shorten_wal().await.unwrap();
            // What is written between two looks, and what somebody was in the way of.
            assert!(size(&store) < 2 * LIMIT, "{}", size(&store));
        }
        stop.store(true, Ordering::Relaxed);
        readers.join_all().await;
    }
}
