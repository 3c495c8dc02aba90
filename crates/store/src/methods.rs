//! The ways in of an account.

use domain::audit::EventType;
use domain::{AuthMethodId, Timestamp, UserId};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::audit::{NewEvent, record};
use crate::rows::{Columns, app};
use crate::shown::{Shown, Standing, standing};
use crate::sign_in::{MethodType, WayIn, find_user_id};
use crate::{Store, StoreError, users};

/// One way in of a user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthMethod {
    /// Its id.
    pub id: AuthMethodId,
    /// `email`, `sms`, `wallet` or `oauth`.
    pub kind: String,
    /// Who vouches for it, or the wallet's chain.
    pub provider: Option<String>,
    /// The address, number or account.
    pub identifier: String,
    /// Whether the user has proved that it is theirs.
    pub verified: bool,
    /// Whether it is the one that is shown first.
    pub is_primary: bool,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last used to sign in.
    pub last_used_at: Option<Timestamp>,
}

/// A way in that is about to be added to an account.
#[derive(Debug, Clone)]
pub struct NewLink {
    /// The account.
    pub user_id: UserId,
    /// The way in's id.
    pub method_id: AuthMethodId,
    /// What has been proved.
    pub way_in: WayIn,
}

/// What became of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkOutcome {
    /// It is the account's now.
    Linked,
    /// It was the account's already.
    AlreadyLinked,
    /// It is another account's; nothing has changed.
    Taken,
    /// The account is gone or shut, or the session that asked has ended; nothing has changed.
    NoAccount,
    /// The account has as many ways in as one may have; nothing has changed.
    TooMany,
}

/// How many ways in an account can have. What deals with all of them at once, its deletion above all, rests on it.
const MAX_METHODS: u32 = 20;

impl AuthMethod {
    fn from_row(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.parsed("id")?,
            kind: row.text("type")?,
            provider: row.opt_text("provider")?.filter(|provider| !provider.is_empty()),
            identifier: row.text("identifier")?,
            verified: row.flag("verified")?,
            is_primary: row.flag("is_primary")?,
            created_at: row.time("created_at")?,
            last_used_at: row.opt_time("last_used_at")?,
        })
    }
}

impl Store {
    /// The user's ways in, oldest first.
    pub async fn list_methods(&self, user_id: &UserId) -> Result<Vec<AuthMethod>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, type, provider, identifier, verified, is_primary, created_at, last_used_at \
             FROM auth_methods WHERE user_id = $1 ORDER BY created_at, id",
        )
        .bind(user_id.as_str())
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(AuthMethod::from_row).collect()
    }
}

/// Adds a proved way in to an account, fills in what the user's row lacks, and writes `method.linked`. The caller has
/// checked the proof and spent it in this very transaction.
pub(crate) async fn link(
    store: &Store,
    tx: &mut AnyConnection,
    new: &NewLink,
    event: &NewEvent,
) -> Result<LinkOutcome, StoreError> {
    if users::lock(tx, &new.user_id).await?.is_none_or(|user| user.disabled_at.is_some()) {
        return Ok(LinkOutcome::NoAccount);
    }
    // Whoever stole a session must not keep the account by a way in that was being proved when its owner ended it: a
    // wallet that is a contract takes as long to answer as it likes.
    let shown = event.actor.session_id.clone().map(Shown::Session);
    if standing(tx, shown.as_ref(), &new.user_id, event.at).await? == Standing::Gone {
        return Ok(LinkOutcome::NoAccount);
    }
    store.require_proof(tx, &new.user_id, event).await?;
    match find_user_id(tx, &new.way_in).await? {
        Some(owner) if owner == new.user_id => return Ok(LinkOutcome::AlreadyLinked),
        Some(_) => return Ok(LinkOutcome::Taken),
        None => {}
    }
    if !has_room(tx, &new.user_id).await? {
        return Ok(LinkOutcome::TooMany);
    }
    insert(tx, &new.method_id, &new.user_id, &new.way_in, event.at).await?;
    let fill_in = match new.way_in.method {
        MethodType::Email => {
            Some("UPDATE users SET email = $1, email_verified = 1, updated_at = $2 WHERE id = $3 AND email IS NULL")
        }
        MethodType::Sms => {
            Some("UPDATE users SET phone = $1, phone_verified = 1, updated_at = $2 WHERE id = $3 AND phone IS NULL")
        }
        MethodType::Wallet => {
            Some("UPDATE users SET wallet_address = $1, updated_at = $2 WHERE id = $3 AND wallet_address IS NULL")
        }
        MethodType::OAuth => None,
    };
    if let Some(statement) = fill_in {
        sqlx::query(statement)
            .bind(new.way_in.identifier.as_str())
            .bind(event.at.as_millis())
            .bind(new.user_id.as_str())
            .execute(&mut *tx)
            .await?;
    }
    let event = event.clone().with("method", new.way_in.method.as_str()).with("methodId", new.method_id.as_str());
    record(tx, EventType::MethodLinked, Some(&new.user_id), &event).await?;
    Ok(LinkOutcome::Linked)
}

/// Whether an account whose user is locked may have one more way in.
pub(crate) async fn has_room(tx: &mut AnyConnection, user_id: &UserId) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT COUNT(*) AS methods FROM auth_methods WHERE user_id = $1")
        .bind(user_id.as_str())
        .fetch_one(tx)
        .await?;
    Ok(row.count("methods")? < MAX_METHODS)
}

/// Adds a way in; the first of an account is its primary one.
pub(crate) async fn insert(
    tx: &mut AnyConnection,
    id: &AuthMethodId,
    user_id: &UserId,
    way_in: &WayIn,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO auth_methods (id, app_id, user_id, type, provider, identifier, verified, is_primary, created_at) \
         SELECT $1, $2, $3, $4, $5, $6, 1, \
         CASE WHEN EXISTS (SELECT 1 FROM auth_methods WHERE user_id = $3) THEN 0 ELSE 1 END, $7",
    )
    .bind(id.as_str())
    .bind(app())
    .bind(user_id.as_str())
    .bind(way_in.method.as_str())
    .bind(way_in.provider.as_deref().unwrap_or_default())
    .bind(way_in.identifier.as_str())
    .bind(at.as_millis())
    .execute(tx)
    .await?;
    Ok(())
}

/// Notes that the way in was used, and returns its id; `None` where it is no account's.
pub(crate) async fn touch(
    tx: &mut AnyConnection,
    way_in: &WayIn,
    at: Timestamp,
) -> Result<Option<AuthMethodId>, StoreError> {
    let row = sqlx::query(
        "UPDATE auth_methods SET last_used_at = $1 \
         WHERE app_id = $2 AND type = $3 AND provider = $4 AND identifier = $5 RETURNING id",
    )
    .bind(at.as_millis())
    .bind(app())
    .bind(way_in.method.as_str())
    .bind(way_in.provider.as_deref().unwrap_or_default())
    .bind(way_in.identifier.as_str())
    .fetch_optional(tx)
    .await?;
    row.map(|row| row.parsed("id")).transpose()
}

/// Whether the account still has this way in.
pub(crate) async fn is_there(tx: &mut AnyConnection, user_id: &UserId, id: &AuthMethodId) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT id FROM auth_methods WHERE id = $1 AND user_id = $2")
        .bind(id.as_str())
        .bind(user_id.as_str())
        .fetch_optional(tx)
        .await?;
    Ok(row.is_some())
}
