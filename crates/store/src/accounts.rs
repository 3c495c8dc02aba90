//! What people change about their own account, and its end.

use domain::audit::EventType;
use domain::{SessionId, TokenId, UserId};
use sqlx::AnyConnection;

use crate::audit::{NewEvent, record};
use crate::owed_marks::{MarkedCredential, owe};
use crate::rows::Columns;
use crate::transaction::transaction;
use crate::{Store, StoreError, User, chain, users};

/// A change of what others see. `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// The name that others see.
    pub display_name: Option<Option<String>>,
    /// A picture.
    pub avatar_url: Option<Option<String>>,
}

/// Everything by which somebody acts as a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserCredentials {
    /// Signed-in devices.
    pub sessions: Vec<SessionId>,
    /// Personal access tokens.
    pub tokens: Vec<TokenId>,
}

impl UserCredentials {
    /// All of them, as marks name them.
    #[must_use]
    pub fn marked(&self) -> Vec<MarkedCredential> {
        let sessions = self.sessions.iter().cloned().map(MarkedCredential::Session);
        sessions.chain(self.tokens.iter().cloned().map(MarkedCredential::Token)).collect()
    }
}

impl Store {
    /// Changes the profile, writes `user.updated`, and returns the user as they are now.
    pub async fn update_profile(
        &self,
        user_id: &UserId,
        change: &ProfileChange,
        event: &NewEvent,
    ) -> Result<Option<User>, StoreError> {
        transaction!(self, |tx| {
            let Some(user) = users::lock(tx, user_id).await? else { return Ok(None) };
            let user = User {
                display_name: change.display_name.clone().unwrap_or(user.display_name),
                avatar_url: change.avatar_url.clone().unwrap_or(user.avatar_url),
                updated_at: event.at,
                ..user
            };
            sqlx::query("UPDATE users SET display_name = $1, avatar_url = $2, updated_at = $3 WHERE id = $4")
                .bind(user.display_name.as_deref())
                .bind(user.avatar_url.as_deref())
                .bind(event.at.as_millis())
                .bind(user_id.as_str())
                .execute(&mut *tx)
                .await?;
            record(tx, EventType::UserUpdated, Some(user_id), event).await?;
            Ok(Some(user))
        })
    }

    /// The user's sessions and tokens.
    pub async fn list_credentials(&self, user_id: &UserId) -> Result<UserCredentials, StoreError> {
        let sessions = sqlx::query("SELECT id FROM sessions WHERE user_id = $1")
            .bind(user_id.as_str())
            .fetch_all(self.reader())
            .await?;
        let tokens = sqlx::query("SELECT id FROM personal_access_tokens WHERE user_id = $1")
            .bind(user_id.as_str())
            .fetch_all(self.reader())
            .await?;
        Ok(UserCredentials {
            sessions: sessions.iter().map(|row| row.parsed("id")).collect::<Result<_, _>>()?,
            tokens: tokens.iter().map(|row| row.parsed("id")).collect::<Result<_, _>>()?,
        })
    }

    /// Deletes the user with every session, token, way in, factor and code, writes `user.deleted`, and returns what
    /// credentials there were. Audit events stay and name the user by id only: their particulars are erased.
    pub async fn delete_user(&self, user_id: &UserId, event: &NewEvent) -> Result<Option<UserCredentials>, StoreError> {
        transaction!(self, |tx| {
            if users::lock(tx, user_id).await?.is_none() {
                return Ok(None);
            }
            // These know addresses, not users.
            for statement in [
                "DELETE FROM one_time_codes WHERE subject IN (SELECT identifier FROM auth_methods WHERE user_id = $1)",
                "DELETE FROM wallet_challenges WHERE address IN (SELECT identifier FROM auth_methods WHERE user_id = $1)",
            ] {
                sqlx::query(statement).bind(user_id.as_str()).execute(&mut *tx).await?;
            }
            let sessions = delete_owned(tx, "DELETE FROM sessions WHERE user_id = $1 RETURNING id", user_id).await?;
            let tokens =
                delete_owned(tx, "DELETE FROM personal_access_tokens WHERE user_id = $1 RETURNING id", user_id).await?;
            let ended = UserCredentials { sessions, tokens };
            for credential in ended.marked() {
                owe(tx, &credential, event.at).await?;
            }
            // The rest goes with the user's row: ON DELETE CASCADE.
            sqlx::query("DELETE FROM users WHERE id = $1").bind(user_id.as_str()).execute(&mut *tx).await?;
            chain::erase_particulars(tx, user_id).await?;
            chain::record_deletion(tx, user_id, event).await?;
            Ok(Some(ended))
        })
    }
}

async fn delete_owned<T: std::str::FromStr>(
    tx: &mut AnyConnection,
    statement: &'static str,
    user_id: &UserId,
) -> Result<Vec<T>, StoreError> {
    let rows = sqlx::query(statement).bind(user_id.as_str()).fetch_all(tx).await?;
    rows.iter().map(|row| row.parsed("id")).collect()
}
