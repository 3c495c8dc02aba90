//! Personal access tokens.

use std::net::IpAddr;
use std::time::Duration;

use domain::audit::EventType;
use domain::{AllowedIps, Digest, DigestKeyId, Limit, Scopes, Timestamp, TokenId, TokenName, TokenSecretId, UserId};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::audit::{NewEvent, record};
use crate::owed_marks::{MarkedCredential, owe};
use crate::rows::{Columns, app, millis};
use crate::shown::{Shown, Standing, standing};
use crate::transaction::transaction;
use crate::{Store, StoreError, users};

/// A personal access token, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id; rotation keeps it.
    pub id: TokenId,
    /// Whose it is.
    pub user_id: UserId,
    /// The name its owner gave it.
    pub name: TokenName,
    /// What it may do.
    pub scopes: Scopes,
    /// From where it may be used; `None` for anywhere.
    pub allowed_ips: Option<AllowedIps>,
    /// The first characters of its present secret.
    pub prefix: String,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, a few seconds behind.
    pub last_used_at: Option<Timestamp>,
    /// From where it was last used.
    pub last_used_ip: Option<IpAddr>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed; use is no change.
    pub updated_at: Timestamp,
    /// Counts the changes, from 1.
    pub version: i64,
}

/// A token that is about to be created.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Its id.
    pub id: TokenId,
    /// Whose it is.
    pub user_id: UserId,
    /// The name its owner gave it.
    pub name: TokenName,
    /// What it may do.
    pub scopes: Scopes,
    /// From where it may be used; `None` for anywhere.
    pub allowed_ips: Option<AllowedIps>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Its secret.
    pub secret: NewTokenSecret,
}

/// A secret as it is kept.
#[derive(Debug, Clone)]
pub struct NewTokenSecret {
    /// Its id.
    pub id: TokenSecretId,
    /// The bcrypt hash: the verifier of record.
    pub hash: String,
    /// The keyed digest by which it is found.
    pub digest: Digest,
    /// The key of the digest.
    pub seal_key: DigestKeyId,
    /// The first characters.
    pub prefix: String,
}

/// How many tokens one user may create and have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreationLimits {
    /// Creations in any window; deleting gives none back.
    pub creations: Limit,
    /// Tokens that have not expired.
    pub max_active: u32,
}

/// What became of a creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreationOutcome {
    /// It exists.
    Created(Box<Token>),
    /// The user has created as many as one may.
    CreationLimit {
        /// When the next creation is admitted.
        reset_at: Timestamp,
    },
    /// The user has as many active tokens as one may have.
    TooManyActive,
    /// There is no such user, or they are disabled.
    NoUser,
    /// That by which the caller came has ended.
    CallerGone,
    /// A rotation has replaced the secret by which the caller came.
    CallerReplaced,
}

/// Where a user stands with the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreationState {
    /// Creations and rotations in the window that ends now.
    pub used: u32,
    /// The oldest of them.
    pub oldest: Option<Timestamp>,
    /// Tokens that have not expired; of more than 10,000 that end, or that never do, so many of each.
    pub active: u32,
}

/// The columns of [`Token`], of `personal_access_tokens t` and of its present secret `c`.
macro_rules! token_columns {
    () => {
        "t.id, t.user_id, t.name, t.scopes, t.allowed_ips, c.prefix, t.expires_at, t.last_used_at, t.last_used_ip, \
         t.created_at, t.updated_at, t.version"
    };
}
macro_rules! tokens_with_present_secret {
    () => {
        " FROM personal_access_tokens t JOIN token_secrets c ON c.token_id = t.id AND c.valid_until IS NULL \
         JOIN users u ON u.id = t.user_id AND u.deleted_at IS NULL "
    };
}
pub(crate) use {token_columns, tokens_with_present_secret};

/// When user $1 got new secrets since $4: by $2, a creation, or $3, a rotation. Each makes a bcrypt hash, so they count
/// together. Two ranges of an index, where one with both types would be all that the user did.
macro_rules! new_secrets {
    () => {
        "(SELECT at FROM audit_events WHERE user_id = $1 AND type = $2 AND at > $4 UNION ALL \
         SELECT at FROM audit_events WHERE user_id = $1 AND type = $3 AND at > $4) AS new_secrets"
    };
}

impl Token {
    pub(crate) fn from_row(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.parsed("id")?,
            user_id: row.parsed("user_id")?,
            name: row.parsed("name")?,
            scopes: row.parsed("scopes")?,
            allowed_ips: row.opt_parsed("allowed_ips")?,
            prefix: row.text("prefix")?,
            expires_at: row.opt_time("expires_at")?,
            last_used_at: row.opt_time("last_used_at")?,
            last_used_ip: row.opt_parsed("last_used_ip")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
            version: row.int("version")?,
        })
    }
}

impl Store {
    /// Creates a token if both limits allow it, exactly also under parallel calls, and writes `token.created`.
    pub async fn create_token(
        &self,
        new: &NewToken,
        limits: &CreationLimits,
        event: &NewEvent,
    ) -> Result<CreationOutcome, StoreError> {
        self.create_token_by(None, new, limits, event).await
    }

    /// The same, if that by which the caller came has not ended.
    pub async fn create_token_by(
        &self,
        shown: Option<&Shown>,
        new: &NewToken,
        limits: &CreationLimits,
        event: &NewEvent,
    ) -> Result<CreationOutcome, StoreError> {
        transaction!(self, |tx| {
            if let Some(refusal) = refusal(tx, &new.user_id, limits, event.at).await? {
                return Ok(refusal);
            }
            match standing(tx, shown, &new.user_id, event.at).await? {
                Standing::Good => {}
                // What it made would be a secret that nothing has replaced, and could rotate in its place.
                Standing::Replaced => return Ok(CreationOutcome::CallerReplaced),
                Standing::Gone => return Ok(CreationOutcome::CallerGone),
            }
            self.require_proof_for_tokens(tx, &new.user_id, event).await?;
            add(tx, new, event).await
        })
    }

    /// Where the user stands with the limits; reading consumes nothing.
    pub async fn creation_state(
        &self,
        user_id: &UserId,
        window: Duration,
        now: Timestamp,
    ) -> Result<CreationState, StoreError> {
        // One statement, so that both numbers are of one moment.
        let row = sqlx::query(concat!(
            "SELECT COUNT(*) AS used, MIN(at) AS oldest, \
             (SELECT COUNT(*) FROM (SELECT 1 FROM personal_access_tokens \
             WHERE user_id = $1 AND expires_at IS NULL LIMIT 10000) AS endless) + \
             (SELECT COUNT(*) FROM (SELECT 1 FROM personal_access_tokens \
             WHERE user_id = $1 AND expires_at > $5 LIMIT 10000) AS ending) AS active FROM ",
            new_secrets!()
        ))
        .bind(user_id.as_str())
        .bind(EventType::TokenCreated.as_str())
        .bind(EventType::TokenRotated.as_str())
        .bind(now.minus(window).as_millis())
        .bind(now.as_millis())
        .fetch_one(self.reader())
        .await?;
        Ok(CreationState { used: row.count("used")?, oldest: row.opt_time("oldest")?, active: row.count("active")? })
    }

    /// When the user's next creation or rotation is admitted, if it is not now; by what has been committed, for a
    /// friendly answer beforehand.
    pub async fn creation_reset(
        &self,
        user_id: &UserId,
        limit: Limit,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        creation_reset(self.reader(), user_id, limit, now).await
    }

    /// The user's tokens, newest first, expired ones included.
    pub async fn list_tokens(&self, user_id: &UserId) -> Result<Vec<Token>, StoreError> {
        let _turn = self.list_turn(user_id).await?;
        let rows = sqlx::query(concat!(
            "SELECT ",
            token_columns!(),
            tokens_with_present_secret!(),
            "WHERE t.user_id = $1 ORDER BY t.created_at DESC, t.id DESC"
        ))
        .bind(user_id.as_str())
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(Token::from_row).collect()
    }

    /// The user's token with this id.
    pub async fn find_token(&self, user_id: &UserId, id: &TokenId) -> Result<Option<Token>, StoreError> {
        find(self.reader(), user_id, id).await
    }

    /// Deletes the user's token with all its secrets, writes `token.deleted`, and returns what it was.
    pub async fn delete_token(
        &self,
        user_id: &UserId,
        id: &TokenId,
        event: &NewEvent,
    ) -> Result<Option<Token>, StoreError> {
        transaction!(self, |tx| {
            let Some(token) = find(&mut *tx, user_id, id).await? else { return Ok(None) };
            // Of two parallel deletions one finds the row gone.
            let deleted = sqlx::query("DELETE FROM personal_access_tokens WHERE id = $1 AND user_id = $2")
                .bind(id.as_str())
                .bind(user_id.as_str())
                .execute(&mut *tx)
                .await?;
            if deleted.rows_affected() == 0 {
                return Ok(None);
            }
            let event = event.clone().with("tokenId", id.as_str()).with("name", token.name.as_str());
            record(tx, EventType::TokenDeleted, Some(user_id), &event).await?;
            owe(tx, &MarkedCredential::Token(id.clone()), event.at).await?;
            Ok(Some(token))
        })
    }
}

/// Why the user may not create a token now, if so. Until the transaction ends nobody else creates one for them.
pub(crate) async fn refusal(
    tx: &mut AnyConnection,
    user_id: &UserId,
    limits: &CreationLimits,
    now: Timestamp,
) -> Result<Option<CreationOutcome>, StoreError> {
    match users::lock(tx, user_id).await? {
        Some(user) if user.disabled_at.is_none() => {}
        _ => return Ok(Some(CreationOutcome::NoUser)),
    }
    if let Some(reset_at) = creation_reset(&mut *tx, user_id, limits.creations, now).await? {
        return Ok(Some(CreationOutcome::CreationLimit { reset_at }));
    }
    let active = count_active(tx, user_id, limits.max_active, now).await?;
    Ok((active >= limits.max_active).then_some(CreationOutcome::TooManyActive))
}

/// Creates the token and writes `token.created`. The caller has asked for a [`refusal`] in this very transaction.
pub(crate) async fn add(
    tx: &mut AnyConnection,
    new: &NewToken,
    event: &NewEvent,
) -> Result<CreationOutcome, StoreError> {
    insert(tx, new, event.at).await?;
    let event = event.clone().with("tokenId", new.id.as_str()).with("name", new.name.as_str());
    record(tx, EventType::TokenCreated, Some(&new.user_id), &event).await?;
    Ok(find(&mut *tx, &new.user_id, &new.id)
        .await?
        .map_or(CreationOutcome::NoUser, |token| CreationOutcome::Created(Box::new(token))))
}

/// When the next creation or rotation is admitted, if it is not now: when the `count`-th newest leaves the window.
pub(crate) async fn creation_reset(
    executor: impl sqlx::AnyExecutor<'_>,
    user_id: &UserId,
    limit: Limit,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let row = sqlx::query(concat!("SELECT at FROM ", new_secrets!(), " ORDER BY at DESC LIMIT 1 OFFSET $5"))
        .bind(user_id.as_str())
        .bind(EventType::TokenCreated.as_str())
        .bind(EventType::TokenRotated.as_str())
        .bind(now.minus(limit.window).as_millis())
        .bind(i64::from(limit.count.saturating_sub(1)))
        .fetch_optional(executor)
        .await?;
    row.map(|row| Ok(row.time("at")?.plus(limit.window))).transpose()
}

/// How many active tokens the user has, or `limit` if there are more: an import may have brought very many, and every
/// creation counts them while the one writer waits.
async fn count_active(tx: &mut AnyConnection, user_id: &UserId, limit: u32, now: Timestamp) -> Result<u32, StoreError> {
    // Two stretches of one index; with an `OR` those that have ended would be read as well.
    let active = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM personal_access_tokens \
         WHERE user_id = $1 AND expires_at IS NULL LIMIT $3) AS endless) + (SELECT COUNT(*) FROM (SELECT 1 FROM \
         personal_access_tokens WHERE user_id = $1 AND expires_at > $2 LIMIT $3) AS ending) AS active",
    )
    .bind(user_id.as_str())
    .bind(now.as_millis())
    .bind(i64::from(limit))
    .fetch_one(tx)
    .await?
    .count("active")?;
    Ok(active.min(limit))
}

pub(crate) async fn find(
    executor: impl sqlx::AnyExecutor<'_>,
    user_id: &UserId,
    id: &TokenId,
) -> Result<Option<Token>, StoreError> {
    let row = sqlx::query(concat!(
        "SELECT ",
        token_columns!(),
        tokens_with_present_secret!(),
        "WHERE t.id = $1 AND t.user_id = $2"
    ))
    .bind(id.as_str())
    .bind(user_id.as_str())
    .fetch_optional(executor)
    .await?;
    row.as_ref().map(Token::from_row).transpose()
}

async fn insert(tx: &mut AnyConnection, new: &NewToken, at: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO personal_access_tokens (id, app_id, user_id, name, scopes, allowed_ips, expires_at, created_at, \
         updated_at, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, 1)",
    )
    .bind(new.id.as_str())
    .bind(app())
    .bind(new.user_id.as_str())
    .bind(new.name.as_str())
    .bind(new.scopes.to_string())
    .bind(new.allowed_ips.as_ref().map(ToString::to_string))
    .bind(millis(new.expires_at))
    .bind(at.as_millis())
    .execute(&mut *tx)
    .await?;
    insert_secret(tx, &new.id, &new.secret, at).await
}

/// Adds a secret to the token.
pub(crate) async fn insert_secret(
    tx: &mut AnyConnection,
    token_id: &TokenId,
    secret: &NewTokenSecret,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO token_secrets (id, token_id, hash, digest, seal_key, prefix, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(secret.id.as_str())
    .bind(token_id.as_str())
    .bind(secret.hash.as_str())
    .bind(secret.digest.to_string())
    .bind(secret.seal_key.as_str())
    .bind(secret.prefix.as_str())
    .bind(at.as_millis())
    .execute(tx)
    .await?;
    Ok(())
}
