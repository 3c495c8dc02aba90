//! Codes that prove a way in which somebody adds to their account. They sign nobody in.

use domain::{CodeShape, Digest, Timestamp, UserId};

use crate::audit::NewEvent;
use crate::codes::{self, CodePurpose};
use crate::flows::{self, GUESSES_PER_CODE, GUESSES_PER_YEAR};
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

/// A code that somebody typed.
#[derive(Debug, Clone, Copy)]
pub struct LinkGuess {
    /// The keyed digest of what was typed.
    pub digest: Digest,
    /// Which of the two shapes that is.
    pub shape: CodeShape,
    /// How one signs in by the way in, with whose guesses this one counts.
    pub purpose: CodePurpose,
    /// The keyed digest of that and the address or number.
    pub subject: Digest,
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

    /// Of which shape a code is that is sent to add this address or number: whoever guesses at codes of many accounts
    /// suffers the same bound as whoever guesses at those of sign-ins, see [`GUESSES_PER_YEAR`].
    pub async fn link_code_shape(&self, subject: &Digest, at: Timestamp) -> Result<CodeShape, StoreError> {
        transaction!(self, |tx| {
            let is_long = flows::wrong_this_year(tx, subject, at).await? + GUESSES_PER_CODE > GUESSES_PER_YEAR
                || flows::is_guarded(tx, subject, at).await?;
            Ok(if is_long { CodeShape::TenCharacters } else { CodeShape::SixDigits })
        })
    }

    /// Counts an attempt, compares, and adds the way in if the code is right.
    pub async fn redeem_link_code(
        &self,
        link: &NewLink,
        guess: &LinkGuess,
        max_attempts: u32,
        event: &NewEvent,
    ) -> Result<LinkCodeOutcome, StoreError> {
        transaction!(self, |tx| {
            let (method, identifier) = (link.way_in.method.as_str(), link.way_in.identifier.as_str());
            // All guesses at one address go one after the other, whoever's code they are at, and whoever signs in by it.
            codes::lock_sent(tx, guess.purpose, identifier).await?;
            flows::lock(tx, &guess.subject, event.at).await?;
            if guess.shape == CodeShape::SixDigits
                && flows::wrong_this_year(tx, &guess.subject, event.at).await? >= GUESSES_PER_YEAR
            {
                return Ok(LinkCodeOutcome::TooManyAttempts);
            }
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
            if right != guess.digest {
                if guess.shape == CodeShape::SixDigits {
                    flows::note_wrong_at_link(tx, &guess.subject, &right, event.at).await?;
                }
                let attempts_remaining = max_attempts.saturating_sub(compared.count("attempts")?);
                return Ok(LinkCodeOutcome::Wrong { attempts_remaining });
            }
            sqlx::query("DELETE FROM link_codes WHERE user_id = $1 AND type = $2")
                .bind(link.user_id.as_str())
                .bind(method)
                .execute(&mut *tx)
                .await?;
            flows::take_back_at_link(tx, &right).await?;
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
