//! Giving a token a new secret.

use std::time::Duration;

use domain::audit::EventType;
use domain::{Limit, Timestamp, TokenId, UserId};
use sqlx::AnyConnection;

use crate::audit::{NewEvent, record};
use crate::owed_marks::{MarkedCredential, owe};
use crate::shown::{Shown, Standing, standing};
use crate::tokens::{NewTokenSecret, Token, creation_reset, find, insert_secret};
use crate::transaction::transaction;
use crate::{Store, StoreError, users};

/// On what terms a user may give one of their tokens a new secret.
#[derive(Debug, Clone)]
pub struct RotationTerms {
    /// Creations and rotations in any window.
    pub creations: Limit,
    /// By what the caller came, if by something that ends. A secret must be the present one of its token: whoever has
    /// one that was replaced must not replace what its owner has now.
    pub shown: Option<Shown>,
}

/// What became of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RotationOutcome {
    /// The token has the new secret.
    Rotated(Box<Token>),
    /// The user has created or rotated as many as one may.
    CreationLimit {
        /// When the next is admitted.
        reset_at: Timestamp,
    },
    /// The secret by which the caller came has been replaced.
    Replaced,
    /// That by which the caller came has ended.
    Gone,
    /// The user has no such token, or is gone or disabled.
    NoToken,
}

impl Store {
    /// Gives the user's token a new secret, as an operator does. All earlier ones work until `grace` from now at the
    /// longest. Writes `token.rotated`; it is not one more active token.
    pub async fn rotate_token(
        &self,
        user_id: &UserId,
        id: &TokenId,
        secret: &NewTokenSecret,
        grace: Duration,
        event: &NewEvent,
    ) -> Result<Option<Token>, StoreError> {
        transaction!(self, |tx| {
            // Before the token, as all who rotate do: see `rotate_token_within`.
            users::lock(tx, user_id).await?;
            replace_secret(tx, user_id, id, secret, grace, event).await
        })
    }

    /// The same on a user's own behalf, if the terms allow it: exactly, also under parallel calls. It counts as a
    /// creation.
    pub async fn rotate_token_within(
        &self,
        user_id: &UserId,
        id: &TokenId,
        secret: &NewTokenSecret,
        grace: Duration,
        terms: &RotationTerms,
        event: &NewEvent,
    ) -> Result<RotationOutcome, StoreError> {
        transaction!(self, |tx| {
            // From here on nobody else creates or rotates a token of the user's, so what is asked below stays so: of
            // two who rotate by the same secret, the second finds that it has been replaced.
            match users::lock(tx, user_id).await? {
                Some(user) if user.disabled_at.is_none() => {}
                _ => return Ok(RotationOutcome::NoToken),
            }
            match standing(tx, terms.shown.as_ref(), user_id, event.at).await? {
                Standing::Good => {}
                Standing::Replaced => return Ok(RotationOutcome::Replaced),
                Standing::Gone => return Ok(RotationOutcome::Gone),
            }
            self.require_proof_for_tokens(tx, user_id, event).await?;
            if let Some(reset_at) = creation_reset(&mut *tx, user_id, terms.creations, event.at).await? {
                return Ok(RotationOutcome::CreationLimit { reset_at });
            }
            let rotated = replace_secret(tx, user_id, id, secret, grace, event).await?;
            Ok(rotated.map_or(RotationOutcome::NoToken, |token| RotationOutcome::Rotated(Box::new(token))))
        })
    }
}

/// Gives the token a new secret and writes `token.rotated`. The caller has the user's lock.
async fn replace_secret(
    tx: &mut AnyConnection,
    user_id: &UserId,
    id: &TokenId,
    secret: &NewTokenSecret,
    grace: Duration,
    event: &NewEvent,
) -> Result<Option<Token>, StoreError> {
    let now = event.at.as_millis();
    let updated = sqlx::query(
        "UPDATE personal_access_tokens SET version = version + 1, updated_at = $1 WHERE id = $2 AND user_id = $3",
    )
    .bind(now)
    .bind(id.as_str())
    .bind(user_id.as_str())
    .execute(&mut *tx)
    .await?;
    if updated.rows_affected() == 0 {
        return Ok(None);
    }
    sqlx::query(
        "UPDATE token_secrets SET valid_until = $1 WHERE token_id = $2 AND (valid_until IS NULL OR valid_until > $1)",
    )
    .bind(event.at.plus(grace).as_millis())
    .bind(id.as_str())
    .execute(&mut *tx)
    .await?;
    sqlx::query("DELETE FROM token_secrets WHERE token_id = $1 AND valid_until <= $2")
        .bind(id.as_str())
        .bind(now)
        .execute(&mut *tx)
        .await?;
    insert_secret(tx, id, secret, event.at).await?;
    let Some(token) = find(&mut *tx, user_id, id).await? else { return Ok(None) };
    let event = event.clone().with("tokenId", id.as_str()).with("name", token.name.as_str());
    record(tx, EventType::TokenRotated, Some(user_id), &event).await?;
    owe(tx, &MarkedCredential::Token(id.clone()), event.at).await?;
    Ok(Some(token))
}
