//! Sign-ins at OAuth providers, from the moment a browser is sent there until it comes back.

use domain::{CodeChallenge, Digest, PairingId, Timestamp};
use sqlx::any::AnyRow;

use crate::oauth_proofs::{ProofFor, ProofPurpose};
use crate::rows::{Columns, app};
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// A browser that is about to be sent to a provider.
#[derive(Debug, Clone)]
pub struct NewOAuthState {
    /// The keyed digest of the `state` that comes back with the browser (RFC 6749 §10.12).
    pub digest: Digest,
    /// To whom it is sent; the state is worthless at any other.
    pub provider: String,
    /// The keyed digest of what the browser's cookie holds.
    pub browser: Digest,
    /// The PKCE verifier (RFC 7636), sealed.
    pub sealed_verifier: String,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// For what somebody goes to a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OAuthErrand {
    /// To sign in to an app, which may have bound what follows to itself.
    SignIn {
        /// By what.
        challenge: Option<CodeChallenge>,
    },
    /// To sign in to the page of a program that waits to be let in.
    Pairing(PairingId),
    /// To prove something for somebody who is signed in already.
    Proof(ProofFor),
}

/// A proof, for a link or another purpose, that its account's owner has asked for; the browser is yet to come with the
/// reference.
#[derive(Debug, Clone)]
pub struct NewOAuthLink {
    /// The keyed digest of the reference.
    pub digest: Digest,
    /// Whose account there is to be proved.
    pub provider: String,
    /// Who asked, and for what.
    pub asked_by: ProofFor,
    /// Where the browser goes in the end.
    pub redirect_url: String,
    /// When the reference stops working.
    pub expires_at: Timestamp,
}

/// What a browser that came back had been sent away with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthState {
    /// The PKCE verifier, sealed.
    pub sealed_verifier: String,
    /// Where the browser goes now.
    pub redirect_url: String,
    /// For what it went.
    pub errand: OAuthErrand,
}

/// The name in the database of what is no proof and no sign-in to an app.
const PAIRING: &str = "pairing";

impl Store {
    /// Keeps the state of a sign-in to an app.
    pub async fn put_oauth_state(
        &self,
        state: &NewOAuthState,
        redirect_url: &str,
        challenge: Option<&CodeChallenge>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.put_state(state, redirect_url, challenge, None, at).await
    }

    /// Keeps the state of a sign-in to the page of a program that waits.
    pub async fn put_oauth_state_of_pairing(
        &self,
        state: &NewOAuthState,
        page: &str,
        pairing: &PairingId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.put_state(state, page, None, Some(pairing), at).await
    }

    async fn put_state(
        &self,
        state: &NewOAuthState,
        redirect_url: &str,
        challenge: Option<&CodeChallenge>,
        pairing: Option<&PairingId>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        transaction!(self, |tx| {
            sqlx::query(
                "INSERT INTO oauth_states (digest, app_id, provider, redirect_url, browser_digest, sealed_verifier, \
                 created_at, expires_at, code_challenge, purpose, pairing_id) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            )
            .bind(state.digest.to_string())
            .bind(app())
            .bind(state.provider.as_str())
            .bind(redirect_url)
            .bind(state.browser.to_string())
            .bind(state.sealed_verifier.as_str())
            .bind(at.as_millis())
            .bind(state.expires_at.as_millis())
            .bind(challenge.map(ToString::to_string))
            .bind(pairing.map(|_| PAIRING))
            .bind(pairing.map(PairingId::as_str))
            .execute(&mut *tx)
            .await?;
            Ok(())
        })
    }

    /// Keeps the reference of a link, or of another proof.
    pub async fn put_oauth_link(&self, link: &NewOAuthLink, at: Timestamp) -> Result<(), StoreError> {
        transaction!(self, |tx| {
            sqlx::query(
                "INSERT INTO oauth_states (digest, app_id, provider, user_id, redirect_url, created_at, expires_at, \
                 purpose, session_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            )
            .bind(link.digest.to_string())
            .bind(app())
            .bind(link.provider.as_str())
            .bind(link.asked_by.user_id.as_str())
            .bind(link.redirect_url.as_str())
            .bind(at.as_millis())
            .bind(link.expires_at.as_millis())
            .bind(link.asked_by.purpose.as_str())
            .bind(link.asked_by.session_id.as_str())
            .execute(&mut *tx)
            .await?;
            Ok(())
        })
    }

    /// Spends the reference of a link: its row goes on as the state of the browser that came with it. Whether there
    /// was such a reference.
    pub async fn begin_oauth_link(
        &self,
        reference: &Digest,
        state: &NewOAuthState,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        transaction!(self, |tx| {
            let begun = sqlx::query(
                "UPDATE oauth_states SET digest = $1, browser_digest = $2, sealed_verifier = $3, expires_at = $4 \
                 WHERE digest = $5 AND app_id = $6 AND provider = $7 AND browser_digest IS NULL AND expires_at > $8",
            )
            .bind(state.digest.to_string())
            .bind(state.browser.to_string())
            .bind(state.sealed_verifier.as_str())
            .bind(state.expires_at.as_millis())
            .bind(reference.to_string())
            .bind(app())
            .bind(state.provider.as_str())
            .bind(at.as_millis())
            .execute(&mut *tx)
            .await?
            .rows_affected();
            Ok(begun > 0)
        })
    }

    /// Spends the state: of any number of parallel calls one gets it. `None` when there is none such for this provider
    /// and browser, or it is over, or was spent; then nothing changes. Neither is anything told of a link that a program
    /// of an older version has begun, which no session can finish; that one is spent.
    pub async fn spend_oauth_state(
        &self,
        state: &Digest,
        provider: &str,
        browser: &Digest,
        at: Timestamp,
    ) -> Result<Option<OAuthState>, StoreError> {
        transaction!(self, |tx| {
            let row = sqlx::query(
                "UPDATE oauth_states SET consumed_at = $1 \
                 WHERE digest = $2 AND app_id = $3 AND provider = $4 AND browser_digest = $5 \
                 AND consumed_at IS NULL AND expires_at > $1 \
                 RETURNING sealed_verifier, redirect_url, user_id, session_id, purpose, pairing_id, code_challenge",
            )
            .bind(at.as_millis())
            .bind(state.to_string())
            .bind(app())
            .bind(provider)
            .bind(browser.to_string())
            .fetch_optional(&mut *tx)
            .await?;
            let Some(row) = row else { return Ok(None) };
            let Some(errand) = errand(&row)? else { return Ok(None) };
            Ok(Some(OAuthState {
                sealed_verifier: row.text("sealed_verifier")?,
                redirect_url: row.text("redirect_url")?,
                errand,
            }))
        })
    }

    /// Deletes at most `limit` states and references that expired before `over_before`, and returns how many.
    pub async fn purge_oauth_states(&self, over_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.purge(
            "DELETE FROM oauth_states WHERE digest IN \
                 (SELECT digest FROM oauth_states WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
            over_before,
            limit,
        )
        .await
    }
}

fn errand(row: &AnyRow) -> Result<Option<OAuthErrand>, StoreError> {
    let Some(purpose) = row.opt_text("purpose")? else {
        let is_sign_in = row.opt_text("user_id")?.is_none();
        let challenge = row.opt_parsed("code_challenge")?;
        return Ok(is_sign_in.then_some(OAuthErrand::SignIn { challenge }));
    };
    if purpose == PAIRING {
        return row.parsed("pairing_id").map(OAuthErrand::Pairing).map(Some);
    }
    let purpose = ProofPurpose::from_name(&purpose).ok_or(StoreError::Malformed { column: "purpose" })?;
    let asked_by = ProofFor { purpose, user_id: row.parsed("user_id")?, session_id: row.parsed("session_id")? };
    Ok(Some(OAuthErrand::Proof(asked_by)))
}
