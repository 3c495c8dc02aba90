//! One-time codes.

use domain::audit::EventType;
use domain::{CodeId, Digest, Timestamp, UserId};
use sqlx::AnyConnection;

use crate::audit::{NewEvent, record};
use crate::messages::{self, Allowance, Allowed};
use crate::rows::{Columns, app};
use crate::sign_in::{self, MethodType, NewSignIn, SignInOutcome, WayIn};
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// What a code is good for; one made for one purpose is worthless for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodePurpose {
    /// Signing in by e-mail.
    SignInByEmail,
    /// Signing in by SMS.
    SignInBySms,
}

impl CodePurpose {
    /// The purpose's name in the database and in digests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignInByEmail => "sign_in.email",
            Self::SignInBySms => "sign_in.sms",
        }
    }

    /// The account that a code for this subject opens.
    pub(crate) fn way_in(self, subject: &str) -> WayIn {
        let method = match self {
            Self::SignInByEmail => MethodType::Email,
            Self::SignInBySms => MethodType::Sms,
        };
        WayIn { method, provider: None, identifier: subject.to_owned() }
    }
}

/// A code that is about to be sent.
#[derive(Debug, Clone)]
pub struct NewCode {
    /// Its id.
    pub id: CodeId,
    /// What it is good for.
    pub purpose: CodePurpose,
    /// To whom it goes: the normalised address or number.
    pub subject: String,
    /// Its keyed digest; the code itself is not kept.
    pub digest: Digest,
    /// The keyed digest of the link's token, if a link is sent with it. Whatever ends one of the two ends both.
    pub link_digest: Option<Digest>,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// What became of the wish for a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// Whose the subject is, if it is anybody's.
    pub user_id: Option<UserId>,
    /// Whether the code may be sent.
    pub allowed: Allowed,
}

/// A code that somebody typed.
#[derive(Debug, Clone)]
pub struct Redemption {
    /// What it is to be good for.
    pub purpose: CodePurpose,
    /// The keyed digest of what was typed.
    pub digest: Digest,
    /// How many guesses are ever compared with one code.
    pub max_attempts: u32,
    /// What follows when it is right. The subject is the way in's identifier.
    pub sign_in: NewSignIn,
}

/// What became of a typed code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodeOutcome {
    /// It was right and is spent.
    Right(SignInOutcome),
    /// It was compared and wrong.
    Wrong {
        /// How many more guesses will be compared.
        attempts_remaining: u32,
    },
    /// It was not compared: the code has been guessed at too often.
    TooManyAttempts,
    /// It was not compared: the code is too old.
    Expired,
    /// No code was sent, or it has been used.
    NoCode,
}

impl Store {
    /// Keeps a code that may be sent; one sent earlier for the same purpose to the same subject is gone. Writes
    /// `code.requested` if the subject has an account. A code that may not be sent changes nothing.
    pub async fn put_code(
        &self,
        code: &NewCode,
        event: &NewEvent,
        allowance: &Allowance,
    ) -> Result<Requested, StoreError> {
        transaction!(self, |tx| {
            let user_id = sign_in::find_user_id(tx, &code.purpose.way_in(&code.subject)).await?;
            let allowed = messages::count(tx, allowance, user_id.is_none()).await?;
            if !allowed.is_counted() {
                return Ok(Requested { user_id, allowed });
            }
            sqlx::query(
                "INSERT INTO one_time_codes (id, app_id, purpose, subject, digest, link_digest, attempts, created_at, \
                 expires_at) VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8) \
                 ON CONFLICT (app_id, purpose, subject) DO UPDATE SET id = excluded.id, digest = excluded.digest, \
                 link_digest = excluded.link_digest, attempts = 0, created_at = excluded.created_at, expires_at = excluded.expires_at, consumed_at = NULL",
            )
            .bind(code.id.as_str())
            .bind(app())
            .bind(code.purpose.as_str())
            .bind(code.subject.as_str())
            .bind(code.digest.to_string())
            .bind(code.link_digest.map(|digest| digest.to_string()))
            .bind(event.at.as_millis())
            .bind(code.expires_at.as_millis())
            .execute(&mut *tx)
            .await?;
            if let Some(user_id) = &user_id {
                record(tx, EventType::CodeRequested, Some(user_id), event).await?;
            }
            Ok(Requested { user_id, allowed })
        })
    }

    /// Counts an attempt, compares, and signs in if the code is right. The attempt counts, and a failure of a known
    /// user is written down as `sign_in.failed`, whatever the outcome.
    pub async fn redeem_code(&self, redemption: &Redemption) -> Result<CodeOutcome, StoreError> {
        transaction!(self, |tx| {
            if let Some(refusal) = spend(tx, redemption).await? {
                return Ok(refusal);
            }
            sign_in::complete(tx, &redemption.sign_in).await.map(CodeOutcome::Right)
        })
    }
}

/// Counts an attempt, compares, and spends the code if it is right; else why it is not.
pub(crate) async fn spend(tx: &mut AnyConnection, redemption: &Redemption) -> Result<Option<CodeOutcome>, StoreError> {
    let sign_in = &redemption.sign_in;
    let Some((id, digest, attempts)) = count_attempt(tx, redemption).await? else {
        return why_not_compared(tx, redemption).await.map(Some);
    };
    if digest != redemption.digest {
        if let Some(user_id) = sign_in::find_user_id(tx, &sign_in.way_in).await? {
            sign_in::record_failure(tx, sign_in, &user_id, "wrong_code").await?;
        }
        let attempts_remaining = redemption.max_attempts.saturating_sub(attempts);
        return Ok(Some(CodeOutcome::Wrong { attempts_remaining }));
    }
    sqlx::query("UPDATE one_time_codes SET consumed_at = $1 WHERE id = $2")
        .bind(sign_in.at.as_millis())
        .bind(id)
        .execute(tx)
        .await?;
    Ok(None)
}

/// Takes one of the attempts of a live code, if there is one left. Counting and checking are one statement: of any
/// number of parallel guesses only `max_attempts` get past it, and they go on one after the other.
async fn count_attempt(
    tx: &mut AnyConnection,
    redemption: &Redemption,
) -> Result<Option<(String, Digest, u32)>, StoreError> {
    let row = sqlx::query(
        "UPDATE one_time_codes SET attempts = attempts + 1 \
         WHERE app_id = $1 AND purpose = $2 AND subject = $3 \
         AND consumed_at IS NULL AND expires_at > $4 AND attempts < $5 \
         RETURNING id, digest, attempts",
    )
    .bind(app())
    .bind(redemption.purpose.as_str())
    .bind(redemption.sign_in.way_in.identifier.as_str())
    .bind(redemption.sign_in.at.as_millis())
    .bind(i64::from(redemption.max_attempts))
    .fetch_optional(tx)
    .await?;
    row.map(|row| Ok((row.text("id")?, row.parsed("digest")?, row.count("attempts")?))).transpose()
}

async fn why_not_compared(tx: &mut AnyConnection, redemption: &Redemption) -> Result<CodeOutcome, StoreError> {
    let row = sqlx::query(
        "SELECT expires_at FROM one_time_codes \
         WHERE app_id = $1 AND purpose = $2 AND subject = $3 AND consumed_at IS NULL",
    )
    .bind(app())
    .bind(redemption.purpose.as_str())
    .bind(redemption.sign_in.way_in.identifier.as_str())
    .fetch_optional(tx)
    .await?;
    Ok(match row {
        None => CodeOutcome::NoCode,
        Some(row) if row.time("expires_at")? <= redemption.sign_in.at => CodeOutcome::Expired,
        Some(_) => CodeOutcome::TooManyAttempts,
    })
}
