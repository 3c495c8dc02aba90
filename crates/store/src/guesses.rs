//! Guesses: at the six digits of authenticator apps, for each person; and at all codes, for the whole installation.

use std::time::Duration;

use domain::{Digest, SessionId, Timestamp, UserId};
use sqlx::AnyConnection;

use crate::rows::Columns;
use crate::transaction::transaction;
use crate::{GUESSES_COUNT_FOR, Store, StoreError, users};

/// How many wrong guesses at six digits of their app a person suffers within [`GUESSES_COUNT_FOR`]. Three of a million
/// codes are right at any moment, so that one is found in 0.9 of 10,000 cases; after that, sign-ins ask for two codes.
pub const TOTP_GUESSES_PER_YEAR: u32 = 30;

/// Right and wrong guesses at codes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GuessCounts {
    /// Those that were right.
    pub right: u64,
    /// Those that were wrong.
    pub wrong: u64,
}

/// As whom a waiting sign-in guesses.
pub(crate) fn waiting(challenge: &Digest) -> String {
    challenge.to_string()
}

/// As whom a session guesses.
fn session(id: Option<&SessionId>) -> String {
    format!("session:{}", id.map_or("", |id| id.as_str()))
}

impl Store {
    /// Counts a guess that a session makes at one code of its user's app, before it is compared. `false` when there
    /// have been too many of whomever: then only two codes prove anything.
    pub async fn count_totp_guess(
        &self,
        user_id: &UserId,
        by: Option<&SessionId>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        transaction!(self, |tx| {
            if !users::is_taken(tx, user_id).await? {
                return Ok(false);
            }
            count_totp_of(tx, user_id, by, at).await
        })
    }

    /// Adds to what this instance has seen in this minute, and returns what all have seen in the ten minutes up to it.
    pub async fn add_guesses(
        &self,
        instance: &str,
        at: Timestamp,
        guesses: GuessCounts,
    ) -> Result<GuessCounts, StoreError> {
        let minute = at.as_seconds().div_euclid(60);
        let of = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        transaction!(self, |tx| {
            if guesses != GuessCounts::default() {
                sqlx::query(
                    "INSERT INTO guess_minutes (minute, instance, right_ones, wrong_ones) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (minute, instance) DO UPDATE SET \
                     right_ones = guess_minutes.right_ones + excluded.right_ones, \
                     wrong_ones = guess_minutes.wrong_ones + excluded.wrong_ones",
                )
                .bind(minute)
                .bind(instance)
                .bind(of(guesses.right))
                .bind(of(guesses.wrong))
                .execute(&mut *tx)
                .await?;
            }
            let row = sqlx::query(
                "SELECT CAST(COALESCE(SUM(right_ones), 0) AS BIGINT) AS right_ones, \
                 CAST(COALESCE(SUM(wrong_ones), 0) AS BIGINT) AS wrong_ones FROM guess_minutes WHERE minute > $1",
            )
            .bind(minute - 10)
            .fetch_one(&mut *tx)
            .await?;
            let seen = |column| row.int(column).map(|count| u64::try_from(count).unwrap_or(0));
            Ok(GuessCounts { right: seen("right_ones")?, wrong: seen("wrong_ones")? })
        })
    }

    /// Deletes at most `limit` rows, of each kind, of guesses that count for nothing any more, and returns how many of
    /// the kind of which there were most.
    pub async fn purge_guesses(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let an_hour_ago = now.minus(Duration::from_hours(1)).as_seconds().div_euclid(60);
        let a_year_ago = now.minus(GUESSES_COUNT_FOR).as_millis();
        transaction!(self, |tx| {
            let mut most = 0;
            for (delete, over_before) in [
                (
                    "DELETE FROM guess_minutes WHERE (minute, instance) IN \
                     (SELECT minute, instance FROM guess_minutes WHERE minute < $1 ORDER BY minute LIMIT $2)",
                    an_hour_ago,
                ),
                (
                    "DELETE FROM totp_guesses WHERE last_at < $1 AND guesser IN \
                     (SELECT guesser FROM totp_guesses WHERE last_at < $1 ORDER BY last_at LIMIT $2)",
                    a_year_ago,
                ),
            ] {
                let deleted = sqlx::query(delete).bind(over_before).bind(i64::from(limit)).execute(&mut *tx).await?;
                most = most.max(deleted.rows_affected());
            }
            Ok(most)
        })
    }
}

/// Counts a guess at one code of the app, unless there have been too many. Whoever calls holds the user's row: each
/// sees all that were counted before.
pub(crate) async fn count_totp(
    tx: &mut AnyConnection,
    user_id: &UserId,
    guesser: &str,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let row = sqlx::query(
        "SELECT CAST(COALESCE(SUM(wrong), 0) AS BIGINT) AS wrong FROM totp_guesses WHERE user_id = $1 AND last_at > $2",
    )
    .bind(user_id.as_str())
    .bind(at.minus(GUESSES_COUNT_FOR).as_millis())
    .fetch_one(&mut *tx)
    .await?;
    if row.count("wrong")? >= TOTP_GUESSES_PER_YEAR {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO totp_guesses (guesser, user_id, wrong, last_at) VALUES ($1, $2, 1, $3) \
         ON CONFLICT (guesser) DO UPDATE SET wrong = totp_guesses.wrong + 1, last_at = excluded.last_at",
    )
    .bind(guesser)
    .bind(user_id.as_str())
    .bind(at.as_millis())
    .execute(tx)
    .await?;
    Ok(true)
}

/// The same for a guess of a session.
pub(crate) async fn count_totp_of(
    tx: &mut AnyConnection,
    user_id: &UserId,
    by: Option<&SessionId>,
    at: Timestamp,
) -> Result<bool, StoreError> {
    count_totp(tx, user_id, &session(by), at).await
}

/// A waiting sign-in has ended with the right code: what it guessed before counts for nobody.
pub(crate) async fn take_back(tx: &mut AnyConnection, challenge: &Digest) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM totp_guesses WHERE guesser = $1").bind(waiting(challenge)).execute(tx).await?;
    Ok(())
}

/// A session has shown the right code, which was counted before it was compared. What was wrong before stays: a thief
/// who shares the session may have made those guesses.
pub(crate) async fn take_back_one(tx: &mut AnyConnection, by: Option<&SessionId>) -> Result<(), StoreError> {
    sqlx::query("UPDATE totp_guesses SET wrong = wrong - 1 WHERE guesser = $1 AND wrong > 0")
        .bind(session(by))
        .execute(tx)
        .await?;
    Ok(())
}
