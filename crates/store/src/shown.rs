//! Whether the credential by which somebody calls is still good, in the very transaction of what they want.
//!
//! It was looked at before, and a request may wait since, for a bcrypt hash or for the database. Whoever has been told in
//! the meantime that the credential is dead must not find a new secret made by it afterwards.

use domain::{SessionId, Timestamp, TokenSecretId, UserId};
use sqlx::AnyConnection;

use crate::StoreError;
use crate::rows::Columns;

/// The credential by which somebody calls who wants a secret made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A secret of a token.
    Secret(TokenSecretId),
    /// A session.
    Session(SessionId),
}

/// What has become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is good.
    Good,
    /// It is still good, but a rotation has replaced it.
    Replaced,
    /// It has ended.
    Gone,
}

/// What has become of this user's credential at `now`. The user has been locked in this transaction: whoever ends all
/// sessions together changes that row, and not theirs. Until the transaction ends nobody ends it: whoever wants to waits
/// for the row that is updated here with what it has.
///
/// Nobody who calls by something else than a token or a session calls by something that ends.
pub(crate) async fn standing(
    tx: &mut AnyConnection,
    shown: Option<&Shown>,
    user_id: &UserId,
    now: Timestamp,
) -> Result<Standing, StoreError> {
    match shown {
        None => Ok(Standing::Good),
        Some(Shown::Session(id)) => {
            let held = sqlx::query(
                "UPDATE sessions SET last_seen_at = last_seen_at \
                 WHERE id = $1 AND user_id = $2 AND absolute_expires_at > $3 \
                 AND epoch = (SELECT session_epoch FROM users WHERE id = $2)",
            )
            .bind(id.as_str())
            .bind(user_id.as_str())
            .bind(now.as_millis())
            .execute(tx)
            .await?;
            Ok(if held.rows_affected() == 0 { Standing::Gone } else { Standing::Good })
        }
        Some(Shown::Secret(id)) => {
            sqlx::query(
                "UPDATE personal_access_tokens SET updated_at = updated_at \
                 WHERE user_id = $2 AND id = (SELECT token_id FROM token_secrets WHERE id = $1)",
            )
            .bind(id.as_str())
            .bind(user_id.as_str())
            .execute(&mut *tx)
            .await?;
            // In a statement of its own, which sees what those have committed for whom the other one waited.
            let row = sqlx::query(
                "SELECT s.valid_until FROM token_secrets s JOIN personal_access_tokens t ON t.id = s.token_id \
                 WHERE s.id = $1 AND t.user_id = $2 AND (t.expires_at IS NULL OR t.expires_at > $3)",
            )
            .bind(id.as_str())
            .bind(user_id.as_str())
            .bind(now.as_millis())
            .fetch_optional(tx)
            .await?;
            let Some(row) = row else { return Ok(Standing::Gone) };
            Ok(match row.opt_time("valid_until")? {
                None => Standing::Good,
                Some(end) if now < end => Standing::Replaced,
                Some(_) => Standing::Gone,
            })
        }
    }
}
