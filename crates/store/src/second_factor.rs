//! The second factor: TOTP (RFC 6238) with backup codes, and the sign-ins that wait for it.

use domain::audit::EventType;
use domain::{AuthMethodId, Digest, DigestKeyId, Timestamp, UserId};
use sqlx::AnyConnection;

use crate::audit::{NewEvent, record};
use crate::guesses;
use crate::pairing_forms::{self, NewPairingForm};
use crate::rows::Columns;
use crate::sign_in::{self, Entry, MethodType, NewSignIn, SignedIn};
use crate::transaction::transaction;
use crate::{Store, StoreError, User, methods, step_up, users};

/// A user's TOTP secret.
#[derive(Debug, Clone)]
pub struct Factor {
    /// The secret, sealed.
    pub sealed_secret: String,
    /// Whether sign-ins ask for it.
    pub is_enabled: bool,
    /// The last time step that was accepted.
    pub last_step: i64,
}

/// A second proof that has been checked as far as can be without the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecondProof {
    /// A right code of this time step; each step is good once (RFC 6238 §5.2). It was counted before it was compared.
    Step(i64),
    /// Two right codes, of this time step and of the one before.
    TwoSteps(i64),
    /// A backup code's digest.
    BackupCode(Digest),
}

/// What is guessed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guessed {
    /// One code of the app: three of a million are right, so that a person suffers only so many guesses.
    OneStep,
    /// Two successive codes of the app, or a backup code, which no number of guesses finds.
    Long,
}

/// Whether a guess at a waiting sign-in may be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MfaAttempt {
    /// It may; it has been counted.
    Counted {
        /// Whose sign-in it is.
        user_id: UserId,
        /// How many more guesses will be.
        attempts_remaining: u32,
    },
    /// It may not, since there have been too many at single codes of this person's app: the next has to be of two.
    WantsTwoSteps {
        /// How many more guesses will be looked at.
        attempts_remaining: u32,
    },
    /// There have been too many.
    TooMany,
    /// The sign-in has waited for too long.
    Expired,
    /// No sign-in waits under this token.
    Unknown,
}

/// What became of a waiting sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MfaOutcome<T> {
    /// The proof was right, and it and the waiting sign-in are spent; what followed.
    Right(T),
    /// The user is disabled.
    Disabled,
    /// The proof is no good, or it or the waiting sign-in is spent.
    NoProof,
}

impl Store {
    /// Keeps a secret that is not enabled yet, in the place of an earlier such one. `false` when one is enabled. Nothing
    /// is written down yet: the event says who acts, and when.
    pub async fn put_factor(
        &self,
        user_id: &UserId,
        sealed_secret: &str,
        seal_key: &DigestKeyId,
        event: &NewEvent,
    ) -> Result<bool, StoreError> {
        transaction!(self, |tx| {
            if users::lock(tx, user_id).await?.is_none() {
                return Err(StoreError::SessionEnded);
            }
            self.require_proof(tx, user_id, event).await?;
            let kept = sqlx::query(
                "INSERT INTO totp_factors (user_id, sealed_secret, seal_key, created_at) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (user_id) DO UPDATE SET sealed_secret = excluded.sealed_secret, \
                 seal_key = excluded.seal_key, created_at = excluded.created_at, last_step = 0 \
                 WHERE totp_factors.enabled_at IS NULL",
            )
            .bind(user_id.as_str())
            .bind(sealed_secret)
            .bind(seal_key.as_str())
            .bind(event.at.as_millis())
            .execute(&mut *tx)
            .await?;
            Ok(kept.rows_affected() > 0)
        })
    }

    /// The user's secret.
    pub async fn find_factor(&self, user_id: &UserId) -> Result<Option<Factor>, StoreError> {
        let row = sqlx::query("SELECT sealed_secret, enabled_at, last_step FROM totp_factors WHERE user_id = $1")
            .bind(user_id.as_str())
            .fetch_optional(self.reader())
            .await?;
        row.map(|row| {
            Ok(Factor {
                sealed_secret: row.text("sealed_secret")?,
                is_enabled: row.opt_int("enabled_at")?.is_some(),
                last_step: row.int("last_step")?,
            })
        })
        .transpose()
    }

    /// Enables the secret whose code of `step` was shown, keeps the backup codes, and writes `mfa.enabled`. `false`
    /// when that secret is not waiting any more. The session that did it has thereby proved the second factor.
    pub async fn enable_factor(
        &self,
        user_id: &UserId,
        factor: &Factor,
        step: i64,
        backup_codes: &[Digest],
        event: &NewEvent,
    ) -> Result<bool, StoreError> {
        transaction!(self, |tx| {
            if users::lock(tx, user_id).await?.is_none() {
                return Ok(false);
            }
            self.require_proof(tx, user_id, event).await?;
            let enabled = sqlx::query(
                "UPDATE totp_factors SET enabled_at = $1, last_step = $2 \
                 WHERE user_id = $3 AND enabled_at IS NULL AND sealed_secret = $4",
            )
            .bind(event.at.as_millis())
            .bind(step)
            .bind(user_id.as_str())
            .bind(factor.sealed_secret.as_str())
            .execute(&mut *tx)
            .await?;
            if enabled.rows_affected() == 0 {
                return Ok(false);
            }
            put_backup_codes(tx, user_id, backup_codes).await?;
            if let Some(session_id) = &event.actor.session_id {
                step_up::renew(tx, session_id, true, event.at).await?;
            }
            guesses::take_back_one(tx, event.actor.session_id.as_ref()).await?;
            record(tx, EventType::MfaEnabled, Some(user_id), event).await?;
            Ok(true)
        })
    }

    /// Spends the proof, removes the factor with its codes and waiting sign-ins, and writes `mfa.disabled`. `false`
    /// when the proof is no good.
    pub async fn disable_factor(
        &self,
        user_id: &UserId,
        proof: &SecondProof,
        event: &NewEvent,
    ) -> Result<bool, StoreError> {
        transaction!(self, |tx| {
            if users::lock(tx, user_id).await?.is_none() {
                return Ok(false);
            }
            self.require_proof(tx, user_id, event).await?;
            if !spend(tx, user_id, proof).await? {
                return Ok(false);
            }
            remove(tx, user_id).await?;
            record(tx, EventType::MfaDisabled, Some(user_id), event).await?;
            Ok(true)
        })
    }

    /// Takes one of the attempts of a waiting sign-in, if there is one left, and one of the person's if it is one code
    /// of the app. Guesses at one sign-in are none at another: whoever has somebody's mailbox shuts them out of nothing.
    pub async fn count_mfa_attempt(
        &self,
        challenge: &Digest,
        guessed: Guessed,
        max_attempts: u32,
        now: Timestamp,
    ) -> Result<MfaAttempt, StoreError> {
        transaction!(self, |tx| {
            let kept = sqlx::query("SELECT user_id, expires_at FROM mfa_challenges WHERE digest = $1")
                .bind(challenge.to_string())
                .fetch_optional(&mut *tx)
                .await?;
            let Some(kept) = kept else { return Ok(MfaAttempt::Unknown) };
            if kept.time("expires_at")? <= now {
                return Ok(MfaAttempt::Expired);
            }
            let user_id: UserId = kept.parsed("user_id")?;
            // The person's row comes first, as where the sign-in ends: in the other order two could wait for each other.
            users::is_taken(tx, &user_id).await?;
            let counted = sqlx::query(
                "UPDATE mfa_challenges SET attempts = attempts + 1 WHERE digest = $1 AND attempts < $2 \
                 RETURNING attempts",
            )
            .bind(challenge.to_string())
            .bind(i64::from(max_attempts))
            .fetch_optional(&mut *tx)
            .await?;
            let Some(counted) = counted else { return Ok(MfaAttempt::TooMany) };
            let attempts_remaining = max_attempts.saturating_sub(counted.count("attempts")?);
            let by = guesses::waiting(challenge);
            if guessed == Guessed::OneStep && !guesses::count_totp(tx, &user_id, &by, now).await? {
                return Ok(MfaAttempt::WantsTwoSteps { attempts_remaining });
            }
            Ok(MfaAttempt::Counted { user_id, attempts_remaining })
        })
    }

    /// Spends the proof and the waiting sign-in, and begins its session. `sign_in` says when, from where and with
    /// what session; by what means the store knows.
    pub async fn finish_mfa(
        &self,
        challenge: &Digest,
        proof: &SecondProof,
        sign_in: &NewSignIn,
    ) -> Result<MfaOutcome<Box<SignedIn>>, StoreError> {
        transaction!(self, |tx| {
            let (sign_in, user, entry) = match prove(tx, challenge, proof, sign_in).await? {
                MfaOutcome::Right(proved) => proved,
                MfaOutcome::Disabled => return Ok(MfaOutcome::Disabled),
                MfaOutcome::NoProof => return Ok(MfaOutcome::NoProof),
            };
            let session = sign_in::begin_session(tx, &sign_in, &user.id, &entry, true).await?;
            let user = User { last_login_at: Some(sign_in.at), ..user };
            Ok(MfaOutcome::Right(Box::new(SignedIn { user, session, user_created: false })))
        })
    }

    /// The same for a sign-in that waits on the page of a pairing: no session begins, and the form decides in the
    /// user's name.
    pub async fn finish_mfa_for_pairing(
        &self,
        challenge: &Digest,
        proof: &SecondProof,
        sign_in: &NewSignIn,
        form: &NewPairingForm,
    ) -> Result<MfaOutcome<()>, StoreError> {
        transaction!(self, |tx| {
            let (sign_in, user, entry) = match prove(tx, challenge, proof, sign_in).await? {
                MfaOutcome::Right(proved) => proved,
                MfaOutcome::Disabled => return Ok(MfaOutcome::Disabled),
                MfaOutcome::NoProof => return Ok(MfaOutcome::NoProof),
            };
            sign_in::record_recognised(tx, &sign_in, &user.id, &entry).await?;
            pairing_forms::insert(tx, form, &user.id).await.map(MfaOutcome::Right)
        })
    }

    /// Writes `mfa.failed`: a second proof was wrong.
    pub async fn record_mfa_failure(&self, user_id: &UserId, event: &NewEvent) -> Result<(), StoreError> {
        transaction!(self, |tx| { record(tx, EventType::MfaFailed, Some(user_id), event).await })
    }

    /// Deletes at most `limit` sign-ins that stopped waiting before `over_before`, and returns how many.
    pub async fn purge_mfa_challenges(&self, over_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.purge(
            "DELETE FROM mfa_challenges WHERE digest IN \
                 (SELECT digest FROM mfa_challenges WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
            over_before,
            limit,
        )
        .await
    }
}

/// Checks and spends the proof and the waiting sign-in. What is right comes back as the sign-in, by the means of its
/// first proof, and the user.
async fn prove(
    tx: &mut AnyConnection,
    challenge: &Digest,
    proof: &SecondProof,
    sign_in: &NewSignIn,
) -> Result<MfaOutcome<(NewSignIn, User, Entry)>, StoreError> {
    let row =
        sqlx::query("SELECT user_id, method, method_id FROM mfa_challenges WHERE digest = $1 AND expires_at > $2")
            .bind(challenge.to_string())
            .bind(sign_in.at.as_millis())
            .fetch_optional(&mut *tx)
            .await?;
    let Some(row) = row else { return Ok(MfaOutcome::NoProof) };
    let user_id: UserId = row.parsed("user_id")?;
    let mut sign_in = sign_in.clone();
    sign_in.way_in.method =
        MethodType::from_name(&row.text("method")?).ok_or(StoreError::Malformed { column: "method" })?;
    let Some(user) = users::lock(tx, &user_id).await? else { return Ok(MfaOutcome::NoProof) };
    if user.disabled_at.is_some() {
        sign_in::record_failure(tx, &sign_in, &user_id, "disabled").await?;
        return Ok(MfaOutcome::Disabled);
    }
    let entry = Entry { method_id: row.opt_parsed::<AuthMethodId>("method_id")?, is_first: false };
    // What the first proof was of may have been removed from the account since.
    if let Some(id) = &entry.method_id
        && !methods::is_there(tx, &user_id, id).await?
    {
        return Ok(MfaOutcome::NoProof);
    }
    // The user's row is locked: of parallel proofs one gets here with the code unspent.
    if !spend(tx, &user_id, proof).await? {
        return Ok(MfaOutcome::NoProof);
    }
    let ended = sqlx::query("DELETE FROM mfa_challenges WHERE digest = $1")
        .bind(challenge.to_string())
        .execute(&mut *tx)
        .await?;
    // Another proof was quicker; this one is spent for nothing, which is the safe side.
    if ended.rows_affected() == 0 {
        return Ok(MfaOutcome::NoProof);
    }
    guesses::take_back(tx, challenge).await?;
    Ok(MfaOutcome::Right((sign_in, user, entry)))
}

/// Keeps these in the place of all that there were.
pub(crate) async fn put_backup_codes(
    tx: &mut AnyConnection,
    user_id: &UserId,
    backup_codes: &[Digest],
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM backup_codes WHERE user_id = $1").bind(user_id.as_str()).execute(&mut *tx).await?;
    for digest in backup_codes {
        sqlx::query("INSERT INTO backup_codes (user_id, digest) VALUES ($1, $2)")
            .bind(user_id.as_str())
            .bind(digest.to_string())
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// Removes the factor with its codes and waiting sign-ins; whether there was one.
pub(crate) async fn remove(tx: &mut AnyConnection, user_id: &UserId) -> Result<bool, StoreError> {
    let removed =
        sqlx::query("DELETE FROM totp_factors WHERE user_id = $1").bind(user_id.as_str()).execute(&mut *tx).await?;
    for statement in [
        "DELETE FROM backup_codes WHERE user_id = $1",
        "DELETE FROM mfa_challenges WHERE user_id = $1",
        // They were guesses at a secret that is gone.
        "DELETE FROM totp_guesses WHERE user_id = $1",
    ] {
        sqlx::query(statement).bind(user_id.as_str()).execute(&mut *tx).await?;
    }
    Ok(removed.rows_affected() > 0)
}

/// Spends a proof of a user whose row is locked; whether it was good.
pub(crate) async fn spend(tx: &mut AnyConnection, user_id: &UserId, proof: &SecondProof) -> Result<bool, StoreError> {
    let spent = match proof {
        SecondProof::Step(step) | SecondProof::TwoSteps(step) => {
            sqlx::query(
                "UPDATE totp_factors SET last_step = $1 \
                 WHERE user_id = $2 AND enabled_at IS NOT NULL AND last_step < $1",
            )
            .bind(*step)
            .bind(user_id.as_str())
            .execute(tx)
            .await?
        }
        SecondProof::BackupCode(digest) => {
            sqlx::query("DELETE FROM backup_codes WHERE user_id = $1 AND digest = $2")
                .bind(user_id.as_str())
                .bind(digest.to_string())
                .execute(tx)
                .await?
        }
    };
    Ok(spent.rows_affected() > 0)
}
