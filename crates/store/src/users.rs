//! Users.

use domain::{Timestamp, UserId};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::rows::Columns;
use crate::{Store, StoreError};

/// A person with an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The primary e-mail address, normalised.
    pub email: Option<String>,
    /// The phone number, E.164.
    pub phone: Option<String>,
    /// The name that others see.
    pub display_name: Option<String>,
    /// A picture.
    pub avatar_url: Option<String>,
    /// The wallet's address.
    pub wallet_address: Option<String>,
    /// Whether the user has proved that the e-mail address is theirs.
    pub email_verified: bool,
    /// Whether the user has proved that the phone number is theirs.
    pub phone_verified: bool,
    /// When the account came into being.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// The last sign-in.
    pub last_login_at: Option<Timestamp>,
    /// When an operator shut the account; nothing of a disabled user's is accepted anywhere.
    pub disabled_at: Option<Timestamp>,
}

/// The columns of [`User`], of a table named `u`; prefixed, so that they go beside those of what belongs to the user.
macro_rules! user_columns {
    () => {
        "u.id AS u_id, u.email AS u_email, u.phone AS u_phone, u.display_name AS u_display_name, \
         u.avatar_url AS u_avatar_url, u.wallet_address AS u_wallet_address, u.email_verified AS u_email_verified, \
         u.phone_verified AS u_phone_verified, u.created_at AS u_created_at, u.updated_at AS u_updated_at, \
         u.last_login_at AS u_last_login_at, u.disabled_at AS u_disabled_at"
    };
}
pub(crate) use user_columns;

impl User {
    pub(crate) fn from_row(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.parsed("u_id")?,
            email: row.opt_text("u_email")?,
            phone: row.opt_text("u_phone")?,
            display_name: row.opt_text("u_display_name")?,
            avatar_url: row.opt_text("u_avatar_url")?,
            wallet_address: row.opt_text("u_wallet_address")?,
            email_verified: row.flag("u_email_verified")?,
            phone_verified: row.flag("u_phone_verified")?,
            created_at: row.time("u_created_at")?,
            updated_at: row.time("u_updated_at")?,
            last_login_at: row.opt_time("u_last_login_at")?,
            disabled_at: row.opt_time("u_disabled_at")?,
        })
    }
}

impl Store {
    /// The user with this id.
    pub async fn find_user(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        let row =
            sqlx::query(concat!("SELECT ", user_columns!(), " FROM users u WHERE u.id = $1 AND u.deleted_at IS NULL"))
                .bind(id.as_str())
                .fetch_optional(self.reader())
                .await?;
        row.as_ref().map(User::from_row).transpose()
    }
}

/// Makes this transaction wait for every other that holds the same user, and the others for this one, so that counting
/// and then inserting is exact on any number of instances. `None` when there is no such user, or none any more.
pub(crate) async fn lock(tx: &mut AnyConnection, id: &UserId) -> Result<Option<User>, StoreError> {
    if !is_taken(tx, id).await? {
        return Ok(None);
    }
    let row =
        sqlx::query(concat!("SELECT ", user_columns!(), " FROM users u WHERE u.id = $1 AND u.deleted_at IS NULL"))
            .bind(id.as_str())
            .fetch_optional(tx)
            .await?;
    row.as_ref().map(User::from_row).transpose()
}

/// Whether there is a row with this id, also of somebody who is being deleted; locks it.
pub(crate) async fn is_taken(tx: &mut AnyConnection, id: &UserId) -> Result<bool, StoreError> {
    let locked = sqlx::query("UPDATE users SET lock_version = lock_version + 1 WHERE id = $1")
        .bind(id.as_str())
        .execute(tx)
        .await?;
    Ok(locked.rows_affected() > 0)
}

/// Locks the row of somebody who is being deleted, so that of several who delete one goes on at a time; `false` when
/// nothing of them is left.
pub(crate) async fn lock_deleted(tx: &mut AnyConnection, id: &UserId) -> Result<bool, StoreError> {
    let locked =
        sqlx::query("UPDATE users SET lock_version = lock_version + 1 WHERE id = $1 AND deleted_at IS NOT NULL")
            .bind(id.as_str())
            .execute(tx)
            .await?;
    Ok(locked.rows_affected() > 0)
}
