//! What people change about their own account.

use domain::UserId;
use domain::audit::EventType;

use crate::audit::{NewEvent, record};
use crate::rows::Columns;
use crate::transaction::transaction;
use crate::{Store, StoreError, User, users};

/// A change of what others see. `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// The name that others see.
    pub display_name: Option<Option<String>>,
    /// A picture.
    pub avatar_url: Option<Option<String>>,
}

/// How much there is by which somebody acts as a user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CredentialCounts {
    /// Signed-in devices.
    pub sessions: u32,
    /// Personal access tokens, expired ones included.
    pub tokens: u32,
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

    /// How many sessions and tokens the user has.
    pub async fn count_credentials(&self, user_id: &UserId) -> Result<CredentialCounts, StoreError> {
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM sessions WHERE user_id = u.id AND epoch = u.session_epoch) AS sessions, \
             (SELECT COUNT(*) FROM personal_access_tokens WHERE user_id = u.id) AS tokens \
             FROM users u WHERE u.id = $1 AND u.deleted_at IS NULL",
        )
        .bind(user_id.as_str())
        .fetch_optional(self.reader())
        .await?;
        let Some(row) = row else { return Ok(CredentialCounts::default()) };
        Ok(CredentialCounts { sessions: row.count("sessions")?, tokens: row.count("tokens")? })
    }
}
