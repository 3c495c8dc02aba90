//! A token that somebody found where it should not be.

use domain::audit::EventType;
use domain::{TokenId, TokenSecretId, UserId};

use crate::audit::{NewEvent, record};
use crate::owed_marks::{MarkedCredential, owe};
use crate::rows::Columns as _;
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// What is done about a leaked secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeakRemedy {
    /// The token is deleted with all its secrets.
    Revoke,
    /// The secret is ended, which a rotation replaced already; the token goes on.
    EndSecret,
    /// Its owner is told, and nothing else.
    Tell,
}

impl LeakRemedy {
    /// How the audit log calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoke => "revoked",
            Self::EndSecret => "secret_ended",
            Self::Tell => "told",
        }
    }
}

impl Store {
    /// Does about the leaked secret what `remedy` says, or ends it alone if a rotation has replaced it meanwhile; writes
    /// `token.leaked` and returns what was done. `None` when the secret is gone.
    pub async fn record_leak(
        &self,
        user_id: &UserId,
        token_id: &TokenId,
        secret_id: &TokenSecretId,
        remedy: LeakRemedy,
        event: &NewEvent,
    ) -> Result<Option<LeakRemedy>, StoreError> {
        transaction!(self, |tx| {
            // First the token's row: other reports of it, and rotations, wait here. What has become of the secret is
            // asked in another statement, which sees what they have committed.
            let found =
                sqlx::query("UPDATE personal_access_tokens SET version = version + 1 WHERE id = $1 AND user_id = $2")
                    .bind(token_id.as_str())
                    .bind(user_id.as_str())
                    .execute(&mut *tx)
                    .await?;
            if found.rows_affected() == 0 {
                return Ok(None);
            }
            let secret = sqlx::query("SELECT valid_until FROM token_secrets WHERE id = $1 AND token_id = $2")
                .bind(secret_id.as_str())
                .bind(token_id.as_str())
                .fetch_optional(&mut *tx)
                .await?;
            let Some(secret) = secret else { return Ok(None) };
            let remedy = if secret.opt_time("valid_until")?.is_some() { LeakRemedy::EndSecret } else { remedy };
            let (delete, id) = match remedy {
                LeakRemedy::Revoke => ("DELETE FROM personal_access_tokens WHERE id = $1", token_id.as_str()),
                LeakRemedy::EndSecret => ("DELETE FROM token_secrets WHERE id = $1", secret_id.as_str()),
                LeakRemedy::Tell => ("", ""),
            };
            if !delete.is_empty() {
                sqlx::query(delete).bind(id).execute(&mut *tx).await?;
                owe(tx, &MarkedCredential::Token(token_id.clone()), event.at).await?;
            }
            let event = event.clone().with("tokenId", token_id.as_str()).with("action", remedy.as_str());
            record(tx, EventType::TokenLeaked, Some(user_id), &event).await?;
            Ok(Some(remedy))
        })
    }
}
