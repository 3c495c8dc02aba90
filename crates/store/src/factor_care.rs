//! Looking after a second factor: how it is, new backup codes, and the way back from one that is lost.

use domain::audit::EventType;
use domain::{Digest, DigestKeyId, Timestamp, UserId};

use crate::audit::{NewEvent, record};
use crate::rows::Columns;
use crate::second_factor::{put_backup_codes, remove, spend};
use crate::transaction::transaction;
use crate::{Factor, SecondProof, Store, StoreError, guesses, users};

/// How a user's second factor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactorStatus {
    /// Since when sign-ins ask for it; `None` while its user has not yet shown a code of it.
    pub enabled_at: Option<Timestamp>,
    /// How many backup codes are left.
    pub backup_codes_left: u32,
    /// The secret, sealed.
    pub sealed_secret: String,
    /// Names the key that sealed it.
    pub seal_key: DigestKeyId,
}

impl Store {
    /// How the user's second factor is; `None` when they have none, not even one that waits to be enabled.
    pub async fn factor_status(&self, user_id: &UserId) -> Result<Option<FactorStatus>, StoreError> {
        let row = sqlx::query(
            "SELECT enabled_at, sealed_secret, seal_key, \
             (SELECT COUNT(*) FROM backup_codes WHERE user_id = $1) AS backup_codes \
             FROM totp_factors WHERE user_id = $1",
        )
        .bind(user_id.as_str())
        .fetch_optional(self.reader())
        .await?;
        row.map(|row| {
            Ok(FactorStatus {
                enabled_at: row.opt_time("enabled_at")?,
                backup_codes_left: row.count("backup_codes")?,
                sealed_secret: row.text("sealed_secret")?,
                seal_key: row.parsed("seal_key")?,
            })
        })
        .transpose()
    }

    /// Spends the proof, keeps these backup codes in the place of all that there were, and writes
    /// `mfa.backup_codes_replaced`. `false` when the proof is no good, or the factor is another than `factor` by now.
    pub async fn replace_backup_codes(
        &self,
        user_id: &UserId,
        factor: &Factor,
        proof: &SecondProof,
        backup_codes: &[Digest],
        event: &NewEvent,
    ) -> Result<bool, StoreError> {
        transaction!(self, |tx| {
            if users::lock(tx, user_id).await?.is_none() {
                return Ok(false);
            }
            self.require_proof(tx, user_id, event).await?;
            let kept = sqlx::query(
                "UPDATE totp_factors SET last_step = last_step \
                 WHERE user_id = $1 AND enabled_at IS NOT NULL AND sealed_secret = $2",
            )
            .bind(user_id.as_str())
            .bind(factor.sealed_secret.as_str())
            .execute(&mut *tx)
            .await?;
            if kept.rows_affected() == 0 || !spend(tx, user_id, proof).await? {
                return Ok(false);
            }
            if let SecondProof::Step(_) = proof {
                guesses::take_back_one(tx, event.actor.session_id.as_ref()).await?;
            }
            put_backup_codes(tx, user_id, backup_codes).await?;
            record(tx, EventType::MfaBackupCodesReplaced, Some(user_id), event).await?;
            Ok(true)
        })
    }

    /// Removes the factor of somebody who has lost it, with its codes and waiting sign-ins, as an operator does, and
    /// writes `mfa.reset`. `false` when there is none. Their sessions stay.
    pub async fn reset_factor(&self, user_id: &UserId, event: &NewEvent) -> Result<bool, StoreError> {
        transaction!(self, |tx| {
            if users::lock(tx, user_id).await?.is_none() || !remove(tx, user_id).await? {
                return Ok(false);
            }
            record(tx, EventType::MfaReset, Some(user_id), event).await?;
            Ok(true)
        })
    }
}
