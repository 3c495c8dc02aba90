//! Removing a way in, and choosing the one that is shown first.

use domain::audit::EventType;
use domain::{AuthMethodId, Timestamp, UserId};
use sqlx::AnyConnection;

use crate::audit::{NewEvent, record};
use crate::rows::Columns;
use crate::sign_in::MethodType;
use crate::transaction::transaction;
use crate::{Store, StoreError, users};

/// What became of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnlinkOutcome {
    /// It is gone.
    Unlinked,
    /// It is the only way in; nothing has changed.
    Last,
    /// The user has no such way in.
    NotFound,
}

struct Found {
    kind: String,
    identifier: String,
    is_primary: bool,
}

impl Store {
    /// Removes a way in and writes `method.unlinked`. Of parallel removals each waits for the one before, so the last
    /// way in stays.
    pub async fn unlink_method(
        &self,
        user_id: &UserId,
        id: &AuthMethodId,
        event: &NewEvent,
    ) -> Result<UnlinkOutcome, StoreError> {
        transaction!(self, |tx| {
            users::lock(tx, user_id).await?;
            let Some(method) = find(tx, user_id, id).await? else { return Ok(UnlinkOutcome::NotFound) };
            let others = sqlx::query("SELECT COUNT(*) AS others FROM auth_methods WHERE user_id = $1 AND id <> $2")
                .bind(user_id.as_str())
                .bind(id.as_str())
                .fetch_one(&mut *tx)
                .await?
                .count("others")?;
            if others == 0 {
                return Ok(UnlinkOutcome::Last);
            }
            sqlx::query("DELETE FROM auth_methods WHERE id = $1").bind(id.as_str()).execute(&mut *tx).await?;
            if method.is_primary {
                sqlx::query(
                    "UPDATE auth_methods SET is_primary = 1 WHERE id = \
                     (SELECT id FROM auth_methods WHERE user_id = $1 ORDER BY created_at, id LIMIT 1)",
                )
                .bind(user_id.as_str())
                .execute(&mut *tx)
                .await?;
            }
            show_another(tx, user_id, &method, event.at).await?;
            let event = event.clone().with("method", &method.kind).with("methodId", id.as_str());
            record(tx, EventType::MethodUnlinked, Some(user_id), &event).await?;
            Ok(UnlinkOutcome::Unlinked)
        })
    }

    /// Makes a way in the primary one, shows its address on the account, and writes `method.primary_set`. `false` when
    /// the user has no such way in.
    pub async fn set_primary_method(
        &self,
        user_id: &UserId,
        id: &AuthMethodId,
        event: &NewEvent,
    ) -> Result<bool, StoreError> {
        transaction!(self, |tx| {
            users::lock(tx, user_id).await?;
            let Some(method) = find(tx, user_id, id).await? else { return Ok(false) };
            sqlx::query("UPDATE auth_methods SET is_primary = CASE WHEN id = $1 THEN 1 ELSE 0 END WHERE user_id = $2")
                .bind(id.as_str())
                .bind(user_id.as_str())
                .execute(&mut *tx)
                .await?;
            let statement = match MethodType::from_name(&method.kind) {
                Some(MethodType::Email) => {
                    Some("UPDATE users SET email = $1, email_verified = 1, updated_at = $2 WHERE id = $3")
                }
                Some(MethodType::Sms) => {
                    Some("UPDATE users SET phone = $1, phone_verified = 1, updated_at = $2 WHERE id = $3")
                }
                Some(MethodType::Wallet) => Some("UPDATE users SET wallet_address = $1, updated_at = $2 WHERE id = $3"),
                Some(MethodType::OAuth) | None => None,
            };
            if let Some(statement) = statement {
                sqlx::query(statement)
                    .bind(method.identifier.as_str())
                    .bind(event.at.as_millis())
                    .bind(user_id.as_str())
                    .execute(&mut *tx)
                    .await?;
            }
            let event = event.clone().with("method", &method.kind).with("methodId", id.as_str());
            record(tx, EventType::MethodPrimarySet, Some(user_id), &event).await?;
            Ok(true)
        })
    }
}

async fn find(tx: &mut AnyConnection, user_id: &UserId, id: &AuthMethodId) -> Result<Option<Found>, StoreError> {
    let row = sqlx::query(
        "SELECT type, identifier, is_primary FROM auth_methods WHERE id = $1 AND user_id = $2 AND verified = 1",
    )
    .bind(id.as_str())
    .bind(user_id.as_str())
    .fetch_optional(tx)
    .await?;
    row.map(|row| {
        Ok(Found { kind: row.text("type")?, identifier: row.text("identifier")?, is_primary: row.flag("is_primary")? })
    })
    .transpose()
}

/// Where the account showed what has been removed, it shows another of the kind from now on, or none.
async fn show_another(
    tx: &mut AnyConnection,
    user_id: &UserId,
    removed: &Found,
    at: Timestamp,
) -> Result<(), StoreError> {
    let statement = match MethodType::from_name(&removed.kind) {
        Some(MethodType::Email) => {
            "UPDATE users SET updated_at = $1, email = (SELECT identifier FROM auth_methods WHERE user_id = $2 \
             AND type = 'email' ORDER BY created_at, id LIMIT 1), email_verified = CASE WHEN EXISTS (SELECT 1 FROM \
             auth_methods WHERE user_id = $2 AND type = 'email') THEN 1 ELSE 0 END WHERE id = $2 AND email = $3"
        }
        Some(MethodType::Sms) => {
            "UPDATE users SET updated_at = $1, phone = (SELECT identifier FROM auth_methods WHERE user_id = $2 \
             AND type = 'sms' ORDER BY created_at, id LIMIT 1), phone_verified = CASE WHEN EXISTS (SELECT 1 FROM \
             auth_methods WHERE user_id = $2 AND type = 'sms') THEN 1 ELSE 0 END WHERE id = $2 AND phone = $3"
        }
        Some(MethodType::Wallet) => {
            "UPDATE users SET updated_at = $1, wallet_address = (SELECT identifier FROM auth_methods \
             WHERE user_id = $2 AND type = 'wallet' ORDER BY created_at, id LIMIT 1) \
             WHERE id = $2 AND wallet_address = $3"
        }
        Some(MethodType::OAuth) | None => return Ok(()),
    };
    sqlx::query(statement)
        .bind(at.as_millis())
        .bind(user_id.as_str())
        .bind(removed.identifier.as_str())
        .execute(tx)
        .await?;
    Ok(())
}
