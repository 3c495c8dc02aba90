//! Flows: requests for a code, each with guesses of its own, and how many guesses a mailbox or a number suffers in all.

use std::time::Duration;

use domain::{Digest, Timestamp};
use sqlx::AnyConnection;

use crate::codes::Redemption;
use crate::rows::{Columns, app};
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// How many guesses of one flow are looked at.
pub const GUESSES_PER_FLOW: u32 = 3;
/// How many wrong guesses, of all flows, a code of six digits survives.
pub const GUESSES_PER_CODE: u32 = 20;
/// How many wrong guesses at codes of six digits a mailbox or a number suffers within [`GUESSES_COUNT_FOR`]. Of a
/// million codes so many are found in 0.8 of 10,000 cases.
pub const GUESSES_PER_YEAR: u32 = 80;
/// For how long a wrong guess counts.
pub const GUESSES_COUNT_FOR: Duration = Duration::from_hours(365 * 24);
/// A subject whose code was guessed to death is guarded until nobody has guessed for so long.
pub const GUARDED_FOR: Duration = Duration::from_hours(24);

/// With whose guesses one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Those of the flow whose id has this keyed digest.
    Named(Digest),
    /// Those of all who name no flow, under this keyed digest of the subject.
    Shared(Digest),
}

impl Flow {
    fn digest(&self) -> String {
        match self {
            Self::Named(digest) | Self::Shared(digest) => digest.to_string(),
        }
    }
}

/// Whether a guess is looked at.
pub(crate) enum Admitted {
    Yes { attempts_remaining: u32 },
    TooOften,
    TooLate,
}

/// Begins a flow.
pub(crate) async fn insert(
    tx: &mut AnyConnection,
    flow: &Digest,
    subject: &Digest,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO sign_in_flows (digest, app_id, subject, guesses, expires_at) VALUES ($1, $2, $3, 0, $4)")
        .bind(flow.to_string())
        .bind(app())
        .bind(subject.to_string())
        .bind(expires_at.as_millis())
        .execute(tx)
        .await?;
    Ok(())
}

/// Takes one of the guesses of the flow. `epoch` says with which code those who name none begin anew.
pub(crate) async fn admit(
    tx: &mut AnyConnection,
    redemption: &Redemption,
    epoch: &str,
) -> Result<Admitted, StoreError> {
    let guesses = match redemption.flow {
        Flow::Shared(digest) => Some(count_shared(tx, redemption, &digest, epoch).await?),
        Flow::Named(digest) => {
            let (flow, at) = (digest.to_string(), redemption.sign_in.at);
            let counted = sqlx::query(
                "UPDATE sign_in_flows SET guesses = guesses + 1 WHERE digest = $1 AND subject = $2 \
                 RETURNING guesses, expires_at",
            )
            .bind(flow)
            .bind(redemption.subject_digest.to_string())
            .fetch_optional(tx)
            .await?;
            match counted {
                None => None,
                Some(row) if row.time("expires_at")? <= at => return Ok(Admitted::TooLate),
                Some(row) => Some(row.count("guesses")?),
            }
        }
    };
    Ok(match guesses.and_then(|guesses| GUESSES_PER_FLOW.checked_sub(guesses)) {
        Some(attempts_remaining) => Admitted::Yes { attempts_remaining },
        None => Admitted::TooOften,
    })
}

/// Counts a guess that names no flow. They begin anew with every code, and ten minutes after the first of them, so that
/// they end alike whether there is a code or not.
async fn count_shared(
    tx: &mut AnyConnection,
    redemption: &Redemption,
    digest: &Digest,
    epoch: &str,
) -> Result<u32, StoreError> {
    let at = redemption.sign_in.at;
    let row = sqlx::query(
        "INSERT INTO sign_in_flows (digest, app_id, subject, code_id, guesses, expires_at) \
         VALUES ($1, $2, $3, $4, 1, $5) \
         ON CONFLICT (digest) DO UPDATE SET code_id = excluded.code_id, \
         guesses = CASE WHEN sign_in_flows.code_id = excluded.code_id AND sign_in_flows.expires_at > $6 \
         THEN sign_in_flows.guesses + 1 ELSE 1 END, \
         expires_at = CASE WHEN sign_in_flows.code_id = excluded.code_id AND sign_in_flows.expires_at > $6 \
         THEN sign_in_flows.expires_at ELSE excluded.expires_at END RETURNING guesses",
    )
    .bind(digest.to_string())
    .bind(app())
    .bind(redemption.subject_digest.to_string())
    .bind(epoch)
    .bind(at.plus(SHARED_FOR).as_millis())
    .bind(at.as_millis())
    .fetch_one(tx)
    .await?;
    row.count("guesses")
}

/// As long as a code works: no more than three are looked at of one code.
const SHARED_FOR: Duration = Duration::from_mins(10);

/// How many wrong guesses at codes of six digits count at this moment.
pub(crate) async fn wrong_this_year(
    tx: &mut AnyConnection,
    subject: &Digest,
    at: Timestamp,
) -> Result<u32, StoreError> {
    let row = sqlx::query(
        "SELECT CAST(COALESCE(SUM(counted), 0) AS BIGINT) AS wrong FROM sign_in_flows \
         WHERE subject = $1 AND counted > 0 AND expires_at > $2",
    )
    .bind(subject.to_string())
    .bind(at.minus(GUESSES_COUNT_FOR).as_millis())
    .fetch_one(tx)
    .await?;
    row.count("wrong")
}

/// Counts a wrong guess for a year if it was made `at_code`, a working one of six digits; and the subject stays guarded
/// if it is. What names no flow counts under the code: whoever has the right one takes none of it back.
pub(crate) async fn note_wrong(
    tx: &mut AnyConnection,
    redemption: &Redemption,
    at_code: Option<&str>,
) -> Result<(), StoreError> {
    let guesser = match (redemption.flow, at_code) {
        (Flow::Shared(_), Some(code)) => format!("code:{code}"),
        (flow, _) => flow.digest(),
    };
    let (subject, at) = (redemption.subject_digest.to_string(), redemption.sign_in.at.as_millis());
    sqlx::query(
        "INSERT INTO sign_in_flows (digest, app_id, subject, guesses, counted, expires_at) \
         VALUES ($1, $2, $3, 0, $4, $5) \
         ON CONFLICT (digest) DO UPDATE SET counted = sign_in_flows.counted + excluded.counted, \
         expires_at = CASE WHEN sign_in_flows.expires_at < excluded.expires_at \
         THEN excluded.expires_at ELSE sign_in_flows.expires_at END",
    )
    .bind(guesser)
    .bind(app())
    .bind(subject.as_str())
    .bind(i64::from(at_code.is_some()))
    .bind(at)
    .execute(&mut *tx)
    .await?;
    sqlx::query("UPDATE guarded_subjects SET last_guess_at = $1 WHERE subject = $2")
        .bind(at)
        .bind(subject)
        .execute(tx)
        .await?;
    Ok(())
}

/// Makes all who call this for one subject go on one after the other.
pub(crate) async fn lock(tx: &mut AnyConnection, subject: &Digest, at: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO sign_in_flows (digest, app_id, subject, guesses, expires_at) VALUES ($1, $2, $3, 0, $4) \
         ON CONFLICT (digest) DO UPDATE SET expires_at = excluded.expires_at",
    )
    .bind(format!("lock:{subject}"))
    .bind(app())
    .bind(subject.to_string())
    .bind(at.as_millis())
    .execute(tx)
    .await?;
    Ok(())
}

/// Counts for a year a wrong guess at a code by which somebody adds the subject to their account.
pub(crate) async fn note_wrong_at_link(
    tx: &mut AnyConnection,
    subject: &Digest,
    code: &Digest,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO sign_in_flows (digest, app_id, subject, guesses, counted, expires_at) \
         VALUES ($1, $2, $3, 0, 1, $4) ON CONFLICT (digest) DO UPDATE SET counted = sign_in_flows.counted + 1, \
         expires_at = excluded.expires_at",
    )
    .bind(at_link(code))
    .bind(app())
    .bind(subject.to_string())
    .bind(at.as_millis())
    .execute(tx)
    .await?;
    Ok(())
}

/// Whoever has the right code reads the messages: what they guessed before counts for nobody.
pub(crate) async fn take_back_at_link(tx: &mut AnyConnection, code: &Digest) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM sign_in_flows WHERE digest = $1").bind(at_link(code)).execute(tx).await?;
    Ok(())
}

fn at_link(code: &Digest) -> String {
    format!("link:{code}")
}

/// Ends a flow with the right code, and what it has guessed before counts for nobody: whoever made these guesses reads
/// the messages.
pub(crate) async fn take_back(tx: &mut AnyConnection, flow: &Flow) -> Result<(), StoreError> {
    let Flow::Named(digest) = flow else { return Ok(()) };
    sqlx::query("DELETE FROM sign_in_flows WHERE digest = $1").bind(digest.to_string()).execute(tx).await?;
    Ok(())
}

/// From now on the subject's codes are of ten characters, until nobody has guessed for a day.
pub(crate) async fn guard(tx: &mut AnyConnection, subject: &Digest, at: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO guarded_subjects (subject, app_id, last_guess_at) VALUES ($1, $2, $3) \
         ON CONFLICT (subject) DO UPDATE SET last_guess_at = excluded.last_guess_at",
    )
    .bind(subject.to_string())
    .bind(app())
    .bind(at.as_millis())
    .execute(tx)
    .await?;
    Ok(())
}

pub(crate) async fn is_guarded(tx: &mut AnyConnection, subject: &Digest, at: Timestamp) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT subject FROM guarded_subjects WHERE subject = $1 AND last_guess_at > $2")
        .bind(subject.to_string())
        .bind(at.minus(GUARDED_FOR).as_millis())
        .fetch_optional(tx)
        .await?;
    Ok(row.is_some())
}

/// A flow that is over is told apart from one that never was for so long.
const KEPT: Duration = Duration::from_hours(1);

impl Store {
    /// Deletes at most `limit` rows, of each kind, of flows and guards that count for nothing any more, and returns how
    /// many of the kind of which there were most.
    pub async fn purge_flows(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        transaction!(self, |tx| {
            let mut most = 0;
            // The condition twice: a row that was found may have come to life again.
            for (delete, over_before) in [
                (
                    "DELETE FROM sign_in_flows WHERE counted = 0 AND expires_at < $1 AND digest IN (SELECT digest \
                     FROM sign_in_flows WHERE counted = 0 AND expires_at < $1 ORDER BY expires_at LIMIT $2)",
                    now.minus(KEPT),
                ),
                (
                    "DELETE FROM sign_in_flows WHERE counted > 0 AND expires_at < $1 AND digest IN (SELECT digest \
                     FROM sign_in_flows WHERE counted > 0 AND expires_at < $1 ORDER BY expires_at LIMIT $2)",
                    now.minus(GUESSES_COUNT_FOR),
                ),
                (
                    "DELETE FROM guarded_subjects WHERE last_guess_at < $1 AND subject IN (SELECT subject \
                     FROM guarded_subjects WHERE last_guess_at < $1 ORDER BY last_guess_at LIMIT $2)",
                    now.minus(GUARDED_FOR),
                ),
            ] {
                let deleted =
                    sqlx::query(delete).bind(over_before.as_millis()).bind(i64::from(limit)).execute(&mut *tx).await?;
                most = most.max(deleted.rows_affected());
            }
            Ok(most)
        })
    }
}
