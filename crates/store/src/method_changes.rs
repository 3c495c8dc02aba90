//! Removing a way in, and choosing the one that is shown first.

use std::collections::BTreeMap;

use domain::audit::{Actor, EventType};
use domain::{AuthMethodId, ClientInfo, EventId, Timestamp, UserId};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::audit::{NewEvent, record};
use crate::owed_marks::{MarkedCredential, owe};
use crate::rows::{Columns, app};
use crate::sign_in::{MethodType, WayIn};
use crate::transaction::transaction;
use crate::{Store, StoreError, sessions, users};

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

impl Found {
    fn from_row(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self { kind: row.text("type")?, identifier: row.text("identifier")?, is_primary: row.flag("is_primary")? })
    }
}

impl Store {
    /// Removes a way in, ends what began with it, and writes `method.unlinked` with the number of sessions. The session
    /// that asks goes on, whatever it began with: its owner is there. Of parallel removals each waits for the one before,
    /// so the last way in stays.
    pub async fn unlink_method(
        &self,
        user_id: &UserId,
        id: &AuthMethodId,
        event: &NewEvent,
    ) -> Result<UnlinkOutcome, StoreError> {
        transaction!(self, |tx| {
            users::lock(tx, user_id).await?;
            self.require_proof(tx, user_id, event).await?;
            let Some(method) = find(tx, user_id, id).await? else { return Ok(UnlinkOutcome::NotFound) };
            // One that was never proved lets nobody in.
            let others = sqlx::query(
                "SELECT COUNT(*) AS others FROM auth_methods WHERE user_id = $1 AND id <> $2 AND verified = 1",
            )
            .bind(user_id.as_str())
            .bind(id.as_str())
            .fetch_one(&mut *tx)
            .await?
            .count("others")?;
            if others == 0 {
                return Ok(UnlinkOutcome::Last);
            }
            let asks = event.actor.session_id.as_ref();
            let ended = sessions::end_begun_with(tx, user_id, id, asks, event.at).await?;
            end_forms(tx, user_id).await?;
            end_exchange_codes(tx, id).await?;
            let event = event.clone().with("method", &method.kind).with("methodId", id.as_str());
            let event = event.with("sessionsEnded", &ended.to_string());
            // Before it goes, so that whoever has the address that is removed is told as well. With the user's row locked
            // nobody else removes it.
            record(tx, EventType::MethodUnlinked, Some(user_id), &event).await?;
            remove(tx, user_id, id, &method, event.at).await?;
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
            self.require_proof(tx, user_id, event).await?;
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

/// Whoever has proved a way in on the page of a pairing has minutes to decide there; by which one, nobody wrote down.
async fn end_forms(tx: &mut AnyConnection, user_id: &UserId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM pairing_forms WHERE user_id = $1").bind(user_id.as_str()).execute(tx).await?;
    Ok(())
}

/// Whoever has come in by the way in and not yet exchanged the code for it would find no account, and make one.
async fn end_exchange_codes(tx: &mut AnyConnection, id: &AuthMethodId) -> Result<(), StoreError> {
    for is_of_it in [
        "c.identifier = m.identifier AND c.type = m.type AND c.provider = m.provider",
        "c.email = m.identifier AND m.type = 'email'",
    ] {
        let sql = format!(
            "DELETE FROM exchange_codes WHERE digest IN \
             (SELECT c.digest FROM auth_methods m JOIN exchange_codes c ON {is_of_it} WHERE m.id = $1)"
        );
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.as_str()).execute(&mut *tx).await?;
    }
    Ok(())
}

async fn find(tx: &mut AnyConnection, user_id: &UserId, id: &AuthMethodId) -> Result<Option<Found>, StoreError> {
    let row = sqlx::query(
        "SELECT type, identifier, is_primary FROM auth_methods WHERE id = $1 AND user_id = $2 AND verified = 1",
    )
    .bind(id.as_str())
    .bind(user_id.as_str())
    .fetch_optional(tx)
    .await?;
    row.map(|row| Found::from_row(&row)).transpose()
}

/// Takes a way in from an account that has it without having proved it: whoever proves it now is not to share an account
/// with whoever entered it. Writes `method.unlinked` there, without a word of who proved it.
pub(crate) async fn release_unproved(
    tx: &mut AnyConnection,
    way_in: &WayIn,
    event_id: &EventId,
    at: Timestamp,
) -> Result<(), StoreError> {
    let row = sqlx::query(
        "SELECT id, user_id, type, identifier, is_primary FROM auth_methods \
         WHERE app_id = $1 AND type = $2 AND provider = $3 AND identifier = $4 AND verified = 0",
    )
    .bind(app())
    .bind(way_in.method.as_str())
    .bind(way_in.provider.as_deref().unwrap_or_default())
    .bind(way_in.identifier.as_str())
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(()) };
    let (id, user_id): (AuthMethodId, UserId) = (row.parsed("id")?, row.parsed("user_id")?);
    let method = Found::from_row(&row)?;
    // Until the user is locked, another who proves the same may do the same, and the account may go.
    if users::lock(tx, &user_id).await?.is_none() || !remove(tx, &user_id, &id, &method, at).await? {
        return Ok(());
    }
    // Nobody who is told of this call knows whose account it was.
    owe(tx, &MarkedCredential::User(user_id.clone()), at).await?;
    let event = NewEvent {
        id: event_id.clone(),
        at,
        actor: Actor::default(),
        client: ClientInfo::default(),
        metadata: BTreeMap::new(),
    };
    let event = event.with("method", &method.kind).with("methodId", id.as_str()).with("reason", "proved_by_another");
    record(tx, EventType::MethodUnlinked, Some(&user_id), &event).await
}

/// Removes a way in of a user whose row is locked; if it was the primary one, the oldest of those left is from now on.
/// Whether it was still there.
async fn remove(
    tx: &mut AnyConnection,
    user_id: &UserId,
    id: &AuthMethodId,
    method: &Found,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let removed = sqlx::query("DELETE FROM auth_methods WHERE id = $1").bind(id.as_str()).execute(&mut *tx).await?;
    if removed.rows_affected() == 0 {
        return Ok(false);
    }
    if method.is_primary {
        sqlx::query(
            "UPDATE auth_methods SET is_primary = 1 WHERE id = \
             (SELECT id FROM auth_methods WHERE user_id = $1 ORDER BY created_at, id LIMIT 1)",
        )
        .bind(user_id.as_str())
        .execute(&mut *tx)
        .await?;
    }
    show_another(tx, user_id, method, at).await?;
    Ok(true)
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
