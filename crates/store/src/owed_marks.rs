//! Marks that are owed: which credentials' cached copies, and which users', must not be trusted any more.
//!
//! Whoever ends or changes a credential marks it where all instances see it at once. That place may be out of reach, or
//! forget. So the same transaction also writes the mark here, and every instance looks here all the time
//! ([`Store::look`]).

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use domain::{SessionId, Timestamp, TokenId, UserId};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::rows::Columns;
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// When a mark ends, for programs before rounds, which read those that have not ended by their own clock. This one
/// reads all there are, and purges those that it has known for long enough by a clock that nobody sets.
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

/// One time that a mark was owed: whoever sees another one than before has to apply it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwedMark {
    ends: Timestamp,
    occasion: i64,
}

impl OwedMark {
    pub(crate) fn from_row(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self { ends: row.time("ends")?, occasion: row.int("occasion")? })
    }
}

impl Store {
    /// Deletes these marks, by the names of what they mark; one that was owed again since it was seen stays. They are to
    /// be few hundred at most, and older than any copy that they could be about.
    pub async fn purge_owed_marks(&self, seen: &[(String, OwedMark)]) -> Result<(), StoreError> {
        transaction!(self, |tx| {
            for (credential, mark) in seen {
                sqlx::query("DELETE FROM owed_marks WHERE credential = $1 AND ends = $2 AND occasion = $3")
                    .bind(credential.as_str())
                    .bind(mark.ends.as_millis())
                    .bind(mark.occasion)
                    .execute(&mut *tx)
                    .await?;
            }
            Ok(())
        })
    }
}

/// Writes down that copies of the credential are not to be trusted from `at` on. To be called in every transaction that
/// ends a credential, or makes it worth less than it was.
pub(crate) async fn owe(
    tx: &mut AnyConnection,
    credential: &MarkedCredential,
    at: Timestamp,
) -> Result<(), StoreError> {
    // The later of two ends: a clock that was set back must not shorten what is owed.
    sqlx::query(
        "INSERT INTO owed_marks (credential, ends, occasion) VALUES ($1, $2, $3) ON CONFLICT (credential) DO UPDATE SET \
         ends = CASE WHEN excluded.ends > owed_marks.ends THEN excluded.ends ELSE owed_marks.ends END, \
         occasion = excluded.occasion",
    )
    .bind(credential.key())
    .bind(at.plus(OWED_FOR).as_millis())
    .bind(RandomState::new().hash_one(()).cast_signed())
    .execute(tx)
    .await?;
    Ok(())
}
