//! Write transactions.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use sqlx::Any;
use sqlx::pool::PoolConnection;

use crate::{Store, StoreError};

/// How often a transaction that lost against another one runs again before the caller hears of it.
pub(crate) const MAX_RETRIES: u32 = 5;
/// The longest wait before the first of these runs; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(16);

/// `transaction!(store, |tx| { …; Ok(value) })`: runs the block in a write transaction and commits when it ends in
/// `Ok`, also by an early `return Ok(…)`. Anything else rolls back, and so does dropping the future. After a conflict,
/// and when the connection broke before the commit, the block runs again, so it must not consume what it captures.
///
/// On PostgreSQL each statement sees what was committed before it began. A block that decides by what it has read
/// therefore first updates a row that everybody who could change the answer updates as well, or repeats the condition
/// in the statement that changes something; but only a condition on the row that this statement changes: having waited
/// for that row, PostgreSQL looks at it again, and at no other.
///
/// A macro because the compiler cannot yet prove that the future of an `AsyncFn(&mut AnyConnection)` parameter is
/// `Send` (rust-lang/rust#100013), and handlers need futures that are.
macro_rules! transaction {
    ($store:expr, |$tx:ident| $work:block) => {{
        let mut attempts = $store.attempts();
        loop {
            let mut connection = match $store.writer.acquire().await {
                Ok(connection) => connection,
                Err(error) => break Err($crate::StoreError::from(error)),
            };
            let mut committing = false;
            let outcome: Result<_, $crate::StoreError> = $store
                .bounded(async {
                    let mut transaction = $store.begin(&mut connection).await?;
                    let $tx: &mut sqlx::AnyConnection = &mut transaction;
                    let value: Result<_, $crate::StoreError> = async { $work }.await;
                    // Rolling back happens when `transaction` is dropped.
                    let value = value?;
                    committing = true;
                    transaction.commit().await?;
                    Ok(value)
                })
                .await;
            match outcome {
                Err(error) if attempts.one_more(connection, &error, committing).await => {}
                outcome => break outcome,
            }
        }
    }};
}
pub(crate) use transaction;

/// How often a transaction may run again.
pub(crate) struct Attempts {
    conflicts: u32,
    may_be_dead: u32,
}

impl Store {
    /// For a transaction that has not run yet.
    pub(crate) fn attempts(&self) -> Attempts {
        Attempts { conflicts: 0, may_be_dead: self.dead_connections() }
    }
}

impl Attempts {
    /// Whether to run again after this error on this connection; waits for as long as that is wise. `committing` says
    /// that the commit had been sent: when the connection broke then, nobody knows what became of it, and the caller
    /// is told so.
    pub(crate) async fn one_more(
        &mut self,
        connection: PoolConnection<Any>,
        error: &StoreError,
        committing: bool,
    ) -> bool {
        if error.is_broken_connection() {
            // Closed here and now: the pool would first try to talk to whoever does not answer.
            drop(connection.detach());
            let again = self.may_be_dead > 0 && !committing && !error.is_timeout();
            self.may_be_dead = self.may_be_dead.saturating_sub(1);
            return again;
        }
        drop(connection);
        if !error.is_conflict() || self.conflicts == MAX_RETRIES {
            return false;
        }
        // Those who met here must not all meet again.
        let longest = FIRST_WAIT.as_micros() << self.conflicts;
        let share = RandomState::new().hash_one(self.conflicts) % 1024;
        let wait = u64::try_from(longest).unwrap_or(u64::MAX).saturating_mul(share) / 1024;
        tokio::time::sleep(Duration::from_micros(wait)).await;
        self.conflicts += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::error::Error;
    use std::fmt;

    use sqlx::error::{DatabaseError, ErrorKind};
    use tempfile::TempDir;

    use super::*;
    use crate::{Options, Store, StoreError};

    /// What PostgreSQL answers to a transaction that lost.
    #[derive(Debug)]
    struct SerializationFailure;

    impl fmt::Display for SerializationFailure {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("could not serialize access")
        }
    }

    impl Error for SerializationFailure {}

    impl DatabaseError for SerializationFailure {
        fn message(&self) -> &'static str {
            "could not serialize access"
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some("40001".into())
        }

        fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    fn lost() -> StoreError {
        sqlx::Error::Database(Box::new(SerializationFailure)).into()
    }

    async fn store() -> (TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("a.db").display());
        let store = Store::open(&url, &Options::default()).await.unwrap();
        store.migrate().await.unwrap();
        (folder, store)
    }

    async fn count_up(tx: &mut sqlx::AnyConnection) -> Result<(), StoreError> {
        sqlx::query("UPDATE apps SET lock_version = lock_version + 1").execute(tx).await?;
        Ok(())
    }

    async fn counted(store: &Store) -> i64 {
        sqlx::query_scalar("SELECT lock_version FROM apps").fetch_one(store.reader()).await.unwrap()
    }

    /// Loses `losses` times and succeeds then; returns how often it ran.
    async fn run(store: &Store, losses: u32) -> Result<u32, StoreError> {
        let mut runs = 0;
        transaction!(store, |tx| {
            runs += 1;
            count_up(tx).await?;
            if runs <= losses {
                return Err(lost());
            }
            Ok(runs)
        })
    }

    #[tokio::test]
    async fn what_lost_runs_again_and_only_the_last_run_is_kept() {
        let (_folder, store) = store().await;
        assert_eq!(run(&store, 0).await.unwrap(), 1);
        assert_eq!(run(&store, MAX_RETRIES).await.unwrap(), MAX_RETRIES + 1);
        assert_eq!(counted(&store).await, 2);

        assert!(run(&store, MAX_RETRIES + 1).await.unwrap_err().is_unavailable());
        assert_eq!(counted(&store).await, 2);
    }

    #[tokio::test]
    async fn other_failures_roll_back_at_once() {
        let (_folder, store) = store().await;
        let mut runs = 0;
        let outcome: Result<(), StoreError> = transaction!(store, |tx| {
            runs += 1;
            count_up(tx).await?;
            sqlx::query("SELECT nothing").execute(&mut *tx).await?;
            Ok(())
        });
        assert!(!outcome.unwrap_err().is_unavailable());
        assert_eq!((runs, counted(&store).await), (1, 0));
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_nothing_half_done() {
        let (_folder, store) = store().await;
        let (entered, inside) = tokio::sync::oneshot::channel();
        let task = tokio::spawn({
            let store = store.clone();
            async move {
                let mut entered = Some(entered);
                transaction!(store, |tx| {
                    count_up(tx).await?;
                    if let Some(entered) = entered.take() {
                        entered.send(()).unwrap();
                    }
                    std::future::pending::<Result<(), StoreError>>().await
                })
            }
        });
        inside.await.unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());

        assert_eq!(run(&store, 0).await.unwrap(), 1, "the writer is free again");
        assert_eq!(counted(&store).await, 1);
    }
}
