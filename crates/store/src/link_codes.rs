//! Codes that prove a way in which somebody adds to their account. They sign nobody in.

use domain::{Digest, Timestamp, UserId};

use crate::audit::NewEvent;
use crate::messages::{self, Allowance, Allowed};
use crate::methods::{self, LinkOutcome, NewLink};
use crate::rows::Columns;
use crate::sign_in::{self, WayIn};
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// A code that is about to be sent.
#[derive(Debug, Clone)]
pub struct NewLinkCode {
    /// Who adds the way in.
    pub user_id: UserId,
    /// The address that it goes to.
    pub way_in: WayIn,
    /// Its keyed digest.
    pub digest: Digest,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// What became of a typed code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkCodeOutcome {
    /// It was right and is spent.
    Right(LinkOutcome),
    /// It was compared and wrong.
    Wrong {
        /// How many more guesses will be compared.
        attempts_remaining: u32,
    },
    /// It was not compared: the code has been guessed at too often.
    TooManyAttempts,
    /// It was not compared: the code is too old.
    Expired,
    /// No code was sent to this address for this user, or it has been used.
    NoCode,
}

impl Store {
    /// Keeps a code that may be sent; one sent earlier for the same user and kind of way in is gone. A way in that
    /// nobody has is a newcomer, whoever adds it. A code that may not be sent changes nothing.
    pub async fn put_link_code(&self, code: &NewLinkCode, allowance: &Allowance) -> Result<Allowed, StoreError> {
        transaction!(self, |tx| {
            let is_newcomer = sign_in::find_user_id(tx, &code.way_in).await?.is_none();
            let allowed = messages::count(tx, allowance, is_newcomer).await?;
            if !allowed.is_counted() {
                return Ok(allowed);
            }
            sqlx::query(
                "INSERT INTO link_codes (user_id, type, identifier, digest, attempts, expires_at) \
                 VALUES ($1, $2, $3, $4, 0, $5) ON CONFLICT (user_id, type) DO UPDATE SET \
                 identifier = excluded.identifier, digest = excluded.digest, attempts = 0, \
                 expires_at = excluded.expires_at",
            )
            .bind(code.user_id.as_str())
            .bind(code.way_in.method.as_str())
            .bind(code.way_in.identifier.as_str())
            .bind(code.digest.to_string())
            .bind(code.expires_at.as_millis())
            .execute(&mut *tx)
            .await?;
            Ok(allowed)
        })
    }

    /// Counts an attempt, compares, and adds the way in if the code is right.
    pub async fn redeem_link_code(
        &self,
        link: &NewLink,
        digest: &Digest,
        max_attempts: u32,
        event: &NewEvent,
    ) -> Result<LinkCodeOutcome, StoreError> {
        transaction!(self, |tx| {
            let (method, identifier) = (link.way_in.method.as_str(), link.way_in.identifier.as_str());
            let compared = sqlx::query(
                "UPDATE link_codes SET attempts = attempts + 1 WHERE user_id = $1 AND type = $2 AND identifier = $3 \
                 AND expires_at > $4 AND attempts < $5 RETURNING digest, attempts",
            )
            .bind(link.user_id.as_str())
            .bind(method)
            .bind(identifier)
            .bind(event.at.as_millis())
            .bind(i64::from(max_attempts))
            .fetch_optional(&mut *tx)
            .await?;
            let Some(compared) = compared else {
                let kept = sqlx::query(
                    "SELECT expires_at FROM link_codes WHERE user_id = $1 AND type = $2 AND identifier = $3",
                )
                .bind(link.user_id.as_str())
                .bind(method)
                .bind(identifier)
                .fetch_optional(&mut *tx)
                .await?;
                return Ok(match kept {
                    None => LinkCodeOutcome::NoCode,
                    Some(row) if row.time("expires_at")? <= event.at => LinkCodeOutcome::Expired,
                    Some(_) => LinkCodeOutcome::TooManyAttempts,
                });
            };
            let right: Digest = compared.parsed("digest")?;
            if right != *digest {
                let attempts_remaining = max_attempts.saturating_sub(compared.count("attempts")?);
                return Ok(LinkCodeOutcome::Wrong { attempts_remaining });
            }
            sqlx::query("DELETE FROM link_codes WHERE user_id = $1 AND type = $2")
                .bind(link.user_id.as_str())
                .bind(method)
                .execute(&mut *tx)
                .await?;
            methods::link(self, tx, link, event).await.map(LinkCodeOutcome::Right)
        })
    }

    /// Deletes at most `limit` codes that expired before `over_before`, and returns how many.
    pub async fn purge_link_codes(&self, over_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        // Twice: a new code may have taken the place of the one that was found.
        self.purge(
            "DELETE FROM link_codes WHERE expires_at < $1 AND (user_id, type) IN \
                 (SELECT user_id, type FROM link_codes WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
            over_before,
            limit,
        )
        .await
    }
}
