//! From a proven way in to a session: the part that all kinds of sign-in share, within their transaction.

use domain::audit::{Actor, EventType};
use domain::{AuthMethodId, ClientInfo, EventId, Timestamp, UserId};
use sqlx::AnyConnection;

use crate::StoreError;
use crate::audit::{NewEvent, record};
use crate::rows::{Columns, app};
use crate::sessions::{self, NewSession, Session};
use crate::users::{self, User};

/// How somebody can prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodType {
    /// A code or link sent by e-mail.
    Email,
}

impl MethodType {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
        }
    }
}

/// What leads to one account, whoever presents it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayIn {
    /// The kind of proof.
    pub method: MethodType,
    /// Who vouches for it, with OAuth.
    pub provider: Option<String>,
    /// The address, number or account, normalised.
    pub identifier: String,
}

/// A sign-in that succeeds if the proof does.
#[derive(Debug, Clone)]
pub struct NewSignIn {
    /// The present moment.
    pub at: Timestamp,
    /// What is being proved.
    pub way_in: WayIn,
    /// From where.
    pub client: ClientInfo,
    /// The session to begin.
    pub session: NewSession,
    /// The user's id, if the account does not exist yet.
    pub user_id: UserId,
    /// The way in's id, if the account does not exist yet.
    pub method_id: AuthMethodId,
    /// The id of `user.created`, if the account does not exist yet.
    pub user_created: EventId,
    /// The id of `sign_in.succeeded` or `sign_in.failed`.
    pub signed_in: EventId,
}

/// Somebody is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// Who.
    pub user: User,
    /// The session that began.
    pub session: Session,
    /// Whether the account came into being just now.
    pub user_created: bool,
}

/// The id of the user that the way in leads to.
pub(crate) async fn find_user_id(tx: &mut AnyConnection, way_in: &WayIn) -> Result<Option<UserId>, StoreError> {
    let row = sqlx::query(
        "SELECT user_id FROM auth_methods WHERE app_id = $1 AND type = $2 AND provider = $3 AND identifier = $4",
    )
    .bind(app())
    .bind(way_in.method.as_str())
    .bind(way_in.provider.as_deref().unwrap_or_default())
    .bind(way_in.identifier.as_str())
    .fetch_optional(tx)
    .await?;
    row.map(|row| row.parsed("user_id")).transpose()
}

/// Finds or creates the user and begins the session; `None` when the user is disabled. The caller has checked the proof
/// and spent it in this very transaction.
pub(crate) async fn complete(tx: &mut AnyConnection, sign_in: &NewSignIn) -> Result<Option<SignedIn>, StoreError> {
    let known = find_user_id(tx, &sign_in.way_in).await?;
    let user_created = known.is_none();
    let user_id = match known {
        Some(id) => id,
        None => create_user(tx, sign_in).await?,
    };
    let user = users::lock(tx, &user_id).await?.ok_or(StoreError::Malformed { column: "auth_methods.user_id" })?;
    if user.disabled_at.is_some() {
        record_failure(tx, sign_in, &user_id, "disabled").await?;
        return Ok(None);
    }

    sqlx::query("UPDATE users SET last_login_at = $1 WHERE id = $2")
        .bind(sign_in.at.as_millis())
        .bind(user_id.as_str())
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "UPDATE auth_methods SET last_used_at = $1 \
         WHERE app_id = $2 AND type = $3 AND provider = $4 AND identifier = $5",
    )
    .bind(sign_in.at.as_millis())
    .bind(app())
    .bind(sign_in.way_in.method.as_str())
    .bind(sign_in.way_in.provider.as_deref().unwrap_or_default())
    .bind(sign_in.way_in.identifier.as_str())
    .execute(&mut *tx)
    .await?;
    let session = sessions::insert(tx, &sign_in.session, &user_id, sign_in.at, &sign_in.client).await?;
    let event = event(sign_in, &sign_in.signed_in).with("method", sign_in.way_in.method.as_str());
    record(tx, EventType::SignInSucceeded, Some(&user_id), &event).await?;
    Ok(Some(SignedIn { user: User { last_login_at: Some(sign_in.at), ..user }, session, user_created }))
}

/// Writes down that a sign-in of this user failed, and why.
pub(crate) async fn record_failure(
    tx: &mut AnyConnection,
    sign_in: &NewSignIn,
    user_id: &UserId,
    reason: &str,
) -> Result<(), StoreError> {
    let mut event =
        event(sign_in, &sign_in.signed_in).with("method", sign_in.way_in.method.as_str()).with("reason", reason);
    // The session never began.
    event.actor = Actor::default();
    record(tx, EventType::SignInFailed, Some(user_id), &event).await
}

async fn create_user(tx: &mut AnyConnection, sign_in: &NewSignIn) -> Result<UserId, StoreError> {
    let NewSignIn { way_in, user_id, at, .. } = sign_in;
    let email = match way_in.method {
        MethodType::Email => Some(way_in.identifier.as_str()),
    };
    sqlx::query(
        "INSERT INTO users (id, app_id, email, email_verified, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)",
    )
    .bind(user_id.as_str())
    .bind(app())
    .bind(email)
    .bind(i64::from(email.is_some()))
    .bind(at.as_millis())
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO auth_methods (id, app_id, user_id, type, provider, identifier, verified, is_primary, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, 1, 1, $7)",
    )
    .bind(sign_in.method_id.as_str())
    .bind(app())
    .bind(user_id.as_str())
    .bind(way_in.method.as_str())
    .bind(way_in.provider.as_deref().unwrap_or_default())
    .bind(way_in.identifier.as_str())
    .bind(at.as_millis())
    .execute(&mut *tx)
    .await?;
    let event = event(sign_in, &sign_in.user_created).with("method", way_in.method.as_str());
    record(tx, EventType::UserCreated, Some(user_id), &event).await?;
    Ok(user_id.clone())
}

fn event(sign_in: &NewSignIn, id: &EventId) -> NewEvent {
    NewEvent {
        id: id.clone(),
        at: sign_in.at,
        actor: Actor { session_id: Some(sign_in.session.id.clone()), ..Actor::default() },
        client: sign_in.client.clone(),
        metadata: std::collections::BTreeMap::new(),
    }
}
