//! Marks that are owed: which credentials' cached copies, and which users', must not be trusted any more.
//!
//! Whoever ends or changes a credential marks it where all instances see it at once. That place may be out of reach, or
//! forget. So the same transaction also writes the mark here, and every instance looks here all the time.

use std::time::Duration;

use domain::{SessionId, Timestamp, TokenId, UserId};
use sqlx::AnyConnection;

use crate::rows::Columns;
use crate::{Store, StoreError};

/// For how long a mark is owed: longer than any copy lives that was made before it, whatever the clocks say.
const OWED_FOR: Duration = Duration::from_mins(2);

/// What is cached by its id: a credential, or a user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MarkedCredential {
    /// A personal access token.
    Token(TokenId),
    /// A session.
    Session(SessionId),
    /// What a user sees of their own account.
    User(UserId),
    /// Everything that lets this user in: all their tokens, sessions and what was narrowed from them, known or not. One
    /// row instead of one for each; instances forget every copy of the user's.
    Owner(UserId),
}

impl MarkedCredential {
    /// `pat:`, `session:`, `user:` or `owner:` and the id, the name under which windows and marks are kept.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Token(id) => format!("pat:{id}"),
            Self::Session(id) => format!("session:{id}"),
            Self::User(id) => format!("user:{id}"),
            Self::Owner(id) => format!("owner:{id}"),
        }
    }

    /// The user, if it is everything of theirs.
    #[must_use]
    pub const fn owner(&self) -> Option<&UserId> {
        match self {
            Self::Owner(id) => Some(id),
            Self::Token(_) | Self::Session(_) | Self::User(_) => None,
        }
    }

    /// The user of whose copies all are to be forgotten, if `key` says so.
    #[must_use]
    pub fn owner_of(key: &str) -> Option<UserId> {
        key.strip_prefix("owner:")?.parse().ok()
    }
}

impl Store {
    /// The names of all credentials whose mark is owed at this moment.
    pub async fn owed_marks(&self, now: Timestamp) -> Result<Vec<String>, StoreError> {
        // With room for clocks that do not agree.
        let since = now.minus(OWED_FOR / 2).as_millis();
        let rows = sqlx::query("SELECT credential FROM owed_marks WHERE ends > $1")
            .bind(since)
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(|row| row.text("credential")).collect()
    }

    /// Deletes at most `limit` marks that were owed until before `over_before`, and returns how many.
    pub async fn purge_owed_marks(&self, over_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        // Twice: what was found may be owed again meanwhile.
        self.purge(
            "DELETE FROM owed_marks WHERE ends < $1 \
             AND credential IN (SELECT credential FROM owed_marks WHERE ends < $1 LIMIT $2)",
            over_before,
            limit,
        )
        .await
    }
}

/// Writes down that copies of the credential are not to be trusted from `at` on. To be called in every transaction that
/// ends a credential, or makes it worth less than it was.
pub(crate) async fn owe(
    tx: &mut AnyConnection,
    credential: &MarkedCredential,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO owed_marks (credential, ends) VALUES ($1, $2) \
         ON CONFLICT (credential) DO UPDATE SET ends = excluded.ends",
    )
    .bind(credential.key())
    .bind(at.plus(OWED_FOR).as_millis())
    .execute(tx)
    .await?;
    Ok(())
}
