//! What a browser has proved at a provider for somebody who is signed in, until their session comes for it.
//!
//! The browser that went there may be anybody's: whoever asked can have sent the address to somebody else. So nothing
//! changes when it comes back. It gets a code, and the code is worth something to the session that asked and to no other.

use domain::{AuthMethodId, Digest, SessionId, Timestamp, UserId};
use sqlx::AnyConnection;

use crate::audit::NewEvent;
use crate::methods::{self, LinkOutcome, NewLink};
use crate::rows::{Columns, app};
use crate::sign_in::{MethodType, WayIn};
use crate::transaction::transaction;
use crate::{Store, StoreError, users};

/// What a proof is good for; one for one purpose is worthless for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofPurpose {
    /// Adding the account at the provider to the ways in.
    Link,
    /// Showing once more who one is.
    Reauthenticate,
}

impl ProofPurpose {
    /// The purpose's name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Reauthenticate => "reauthenticate",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Link, Self::Reauthenticate].into_iter().find(|purpose| purpose.as_str() == name)
    }
}

/// Who asked for a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofFor {
    /// What it is to be good for.
    pub purpose: ProofPurpose,
    /// The user.
    pub user_id: UserId,
    /// Their session.
    pub session_id: SessionId,
}

/// A proof that is about to be kept.
#[derive(Debug, Clone)]
pub struct NewOAuthProof {
    /// The keyed digest of the code that the browser gets for it.
    pub digest: Digest,
    /// Who asked for it.
    pub asked_by: ProofFor,
    /// The provider.
    pub provider: String,
    /// Who the browser's owner is there.
    pub identifier: String,
    /// When it stops working.
    pub expires_at: Timestamp,
}

impl Store {
    /// Keeps what a provider vouched for, and removes the spent state, which is good for one proof. `false`, and nothing
    /// has happened, when there is no such state or the user is gone.
    pub async fn keep_oauth_proof(
        &self,
        state: &Digest,
        proof: &NewOAuthProof,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        transaction!(self, |tx| {
            let asked_by = &proof.asked_by;
            if users::lock(tx, &asked_by.user_id).await?.is_none() {
                return Ok(false);
            }
            let spent = sqlx::query(
                "DELETE FROM oauth_states WHERE digest = $1 AND app_id = $2 AND user_id = $3 AND session_id = $4 \
                 AND purpose = $5 AND consumed_at IS NOT NULL",
            )
            .bind(state.to_string())
            .bind(app())
            .bind(asked_by.user_id.as_str())
            .bind(asked_by.session_id.as_str())
            .bind(asked_by.purpose.as_str())
            .execute(&mut *tx)
            .await?
            .rows_affected();
            if spent == 0 {
                return Ok(false);
            }
            sqlx::query(
                "INSERT INTO oauth_proofs (digest, app_id, purpose, user_id, session_id, provider, identifier, \
                 created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            )
            .bind(proof.digest.to_string())
            .bind(app())
            .bind(asked_by.purpose.as_str())
            .bind(asked_by.user_id.as_str())
            .bind(asked_by.session_id.as_str())
            .bind(proof.provider.as_str())
            .bind(proof.identifier.as_str())
            .bind(at.as_millis())
            .bind(proof.expires_at.as_millis())
            .execute(&mut *tx)
            .await?;
            Ok(true)
        })
    }

    /// Spends a proof and adds what it proves to the ways in of whoever comes with it, if it is they who asked for it.
    /// `None` when it is not, or there is no such proof, or it is too old; then no way in was added, and the proof is
    /// spent all the same: it has been seen where it does not belong.
    pub async fn link_by_oauth_proof(
        &self,
        proof: &Digest,
        by: &ProofFor,
        method_id: &AuthMethodId,
        event: &NewEvent,
    ) -> Result<Option<LinkOutcome>, StoreError> {
        transaction!(self, |tx| {
            let Some(way_in) = spend(tx, proof, by, event.at).await? else { return Ok(None) };
            let link = NewLink { user_id: by.user_id.clone(), method_id: method_id.clone(), way_in };
            methods::link(self, tx, &link, event).await.map(Some)
        })
    }

    /// Deletes at most `limit` proofs that expired before `over_before`, and returns how many.
    pub async fn purge_oauth_proofs(&self, over_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.purge(
            "DELETE FROM oauth_proofs WHERE digest IN \
                 (SELECT digest FROM oauth_proofs WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
            over_before,
            limit,
        )
        .await
    }
}

/// Uses a proof up, whoever comes with it: of any number of parallel calls one gets it. What it proves, if it was asked
/// for by the very session that comes, for this purpose, and in time. The caller looks whether that session still stands.
pub(crate) async fn spend(
    tx: &mut AnyConnection,
    proof: &Digest,
    by: &ProofFor,
    at: Timestamp,
) -> Result<Option<WayIn>, StoreError> {
    let row = sqlx::query(
        "DELETE FROM oauth_proofs WHERE digest = $1 AND app_id = $2 \
         RETURNING purpose, user_id, session_id, provider, identifier, expires_at",
    )
    .bind(proof.to_string())
    .bind(app())
    .fetch_optional(tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let is_theirs = ProofPurpose::from_name(&row.text("purpose")?) == Some(by.purpose)
        && row.parsed::<UserId>("user_id")? == by.user_id
        && row.parsed::<SessionId>("session_id")? == by.session_id;
    if !is_theirs || row.time("expires_at")? <= at {
        return Ok(None);
    }
    let provider = Some(row.text("provider")?);
    Ok(Some(WayIn { method: MethodType::OAuth, provider, identifier: row.text("identifier")? }))
}
