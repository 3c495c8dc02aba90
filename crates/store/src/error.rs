//! Failures of the database, as opposed to misses.

use std::sync::Arc;

use crate::step_up::ProofTooOld;

/// The database is away or broken. What a caller asked for and is not there is never an error.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Busy, out of reach, or out of room. Trying again later can help: 503.
    #[error("the database is busy or cannot be reached")]
    Unavailable(#[source] sqlx::Error),
    /// This user has as many lists waiting as one may. Trying again later can help: 429.
    #[error("the user asks for too many lists at once")]
    Crowded,
    /// It refused or failed in a way that will not pass by itself: 500.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    /// A migration failed, or the database was written by a newer version of the program.
    #[error("the database could not be brought to this version of the program")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// A row holds what this program never writes.
    #[error("column {column} of a row cannot be read")]
    Malformed {
        /// The column.
        column: &'static str,
    },
    /// `DATABASE_URL` names no database that this build can open.
    #[error("DATABASE_URL {0}")]
    Url(&'static str),
    /// The database's file or its folder cannot be created.
    #[error("the database file cannot be opened")]
    File(#[from] std::io::Error),
    /// A window of a limit could not be saved in time, so that nothing may be admitted in it. As if the database were
    /// away: 503.
    #[error("a window could not be saved")]
    WindowNotSaved,
    /// The caller's session has proved who they are too long ago for what they ask. Nothing has changed, and they can
    /// prove it again: 401.
    #[error("the session's proof is too old")]
    ProofTooOld(ProofTooOld),
    /// The session by which the caller came has ended since. Nothing has changed: 401.
    #[error("the session has ended")]
    SessionEnded,
    /// What failed was asked by several at once.
    #[error(transparent)]
    Shared(Arc<StoreError>),
}

impl StoreError {
    /// Whether the same call may succeed later without anybody repairing anything.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Shared(error) => error.is_unavailable(),
            error => matches!(error, Self::Unavailable(_) | Self::Crowded | Self::WindowNotSaved),
        }
    }

    /// Whether the transaction lost against another one and is worth running again at once. A row that another
    /// transaction has inserted meanwhile is such a case: the next run sees it.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Unavailable(sqlx::Error::Database(error)) | Self::Database(sqlx::Error::Database(error))
            if error.code().is_some_and(|code| matches!(Cause::of(&code), Cause::Conflict | Cause::Duplicate)))
    }

    /// Whether the connection is of no use any more. What was not committed has not happened.
    pub(crate) fn is_broken_connection(&self) -> bool {
        matches!(self, Self::Unavailable(error) if is_broken(error))
    }

    /// Whether the database did not answer in time.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Self::Unavailable(error) if is_timeout(error))
    }
}

/// Whether the connection is of no use any more.
pub(crate) fn is_broken(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| Cause::of(&code) == Cause::HungUp),
        _ => false,
    }
}

/// Whether it was given up because nobody answered.
pub(crate) fn is_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut)
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let passing = match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            // What a server that goes down says last may be cut off in the middle.
            | sqlx::Error::Protocol(_)
            | sqlx::Error::Tls(_) => true,
            sqlx::Error::Database(error) => error
                .code()
                .is_some_and(|code| matches!(Cause::of(&code), Cause::Conflict | Cause::HungUp | Cause::Away)),
            _ => false,
        };
        if passing { Self::Unavailable(error) } else { Self::Database(error) }
    }
}

/// What a database's error code says about trying again.
#[derive(Debug, PartialEq, Eq)]
enum Cause {
    /// Another transaction was there first; at once again.
    Conflict,
    /// A row with this key is there already; perhaps since a moment ago.
    Duplicate,
    /// Not now, and not on this connection, which the server has closed.
    HungUp,
    /// Not now.
    Away,
    /// Never.
    Other,
}

impl Cause {
    /// Reads a five-character SQLSTATE (PostgreSQL appendix A) or SQLite's extended result code in decimal.
    fn of(code: &str) -> Self {
        if code.len() == 5 {
            return match (&code[..2], code) {
                // serialization_failure, deadlock_detected
                (_, "40001" | "40P01") => Self::Conflict,
                // unique_violation, duplicate_table, duplicate_object
                (_, "23505" | "42P07" | "42710") => Self::Duplicate,
                // admin_shutdown, crash_shutdown, cannot_connect_now, database_dropped, idle_session_timeout;
                // idle_in_transaction_session_timeout, transaction_timeout; connection exceptions
                (_, "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" | "25P04") | ("08", _) => Self::HungUp,
                // lock_not_available; read_only_sql_transaction, after a failover; statement_completion_unknown;
                // insufficient resources, operator intervention, system errors.
                (_, "55P03" | "25006" | "40003") | ("53" | "57" | "58", _) => Self::Away,
                _ => Self::Other,
            };
        }
        let Ok(code) = code.parse::<u32>() else { return Self::Other };
        match (code & 0xff, code) {
            // BUSY_RECOVERY and BUSY_SNAPSHOT are answered at once, without waiting for busy_timeout.
            (_, 261 | 517) => Self::Conflict,
            // BUSY, LOCKED, INTERRUPT (it took too long), IOERR, FULL, CANTOPEN
            (5 | 6 | 9 | 10 | 13 | 14, _) => Self::Away,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_databases_are_told_apart() {
        for code in ["40001", "40P01", "261", "517"] {
            assert_eq!(Cause::of(code), Cause::Conflict, "{code}");
        }
        assert_eq!(Cause::of("23505"), Cause::Duplicate);
        for code in ["08006", "57P01", "57P02", "25P03"] {
            assert_eq!(Cause::of(code), Cause::HungUp, "{code}");
        }
        for code in ["53300", "57014", "55P03", "25006", "40003", "5", "6", "10", "266", "9", "13", "14", "773"] {
            assert_eq!(Cause::of(code), Cause::Away, "{code}");
        }
        for code in ["23503", "22021", "42P01", "1", "11", "19", "2067", "", "x"] {
            assert_eq!(Cause::of(code), Cause::Other, "{code}");
        }
    }

    #[test]
    fn a_full_queue_is_worth_waiting_for_and_a_wrong_column_is_not() {
        assert!(StoreError::from(sqlx::Error::PoolTimedOut).is_unavailable());
        assert!(!StoreError::from(sqlx::Error::ColumnNotFound("x".into())).is_unavailable());
        assert!(!StoreError::Malformed { column: "x" }.is_unavailable());
    }
}
