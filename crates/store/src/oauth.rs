//! Sign-ins at OAuth providers, from the moment a browser is sent there until it comes back.

use domain::{Digest, Timestamp, UserId};

use crate::audit::NewEvent;
use crate::methods::{self, LinkOutcome, NewLink};
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

/// A link that its account's owner has asked for; the browser is yet to come with the reference.
#[derive(Debug, Clone)]
pub struct NewOAuthLink {
    /// The keyed digest of the reference.
    pub digest: Digest,
    /// Whose account there is to be linked.
    pub provider: String,
    /// The account that gets the way in.
    pub user_id: UserId,
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
    /// The account that gets the way in; `None` when somebody signs in.
    pub link_to: Option<UserId>,
}

impl Store {
    /// Keeps the state of a sign-in.
    pub async fn put_oauth_state(
        &self,
        state: &NewOAuthState,
        redirect_url: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        transaction!(self, |tx| {
            sqlx::query(
                "INSERT INTO oauth_states (digest, app_id, provider, redirect_url, browser_digest, sealed_verifier, \
                 created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(state.digest.to_string())
            .bind(app())
            .bind(state.provider.as_str())
            .bind(redirect_url)
            .bind(state.browser.to_string())
            .bind(state.sealed_verifier.as_str())
            .bind(at.as_millis())
            .bind(state.expires_at.as_millis())
            .execute(&mut *tx)
            .await?;
            Ok(())
        })
    }

    /// Keeps the reference of a link.
    pub async fn put_oauth_link(&self, link: &NewOAuthLink, at: Timestamp) -> Result<(), StoreError> {
        transaction!(self, |tx| {
            sqlx::query(
                "INSERT INTO oauth_states (digest, app_id, provider, user_id, redirect_url, created_at, expires_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(link.digest.to_string())
            .bind(app())
            .bind(link.provider.as_str())
            .bind(link.user_id.as_str())
            .bind(link.redirect_url.as_str())
            .bind(at.as_millis())
            .bind(link.expires_at.as_millis())
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
    /// and browser, or it is over, or was spent; then nothing changes.
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
                 AND consumed_at IS NULL AND expires_at > $1 RETURNING sealed_verifier, redirect_url, user_id",
            )
            .bind(at.as_millis())
            .bind(state.to_string())
            .bind(app())
            .bind(provider)
            .bind(browser.to_string())
            .fetch_optional(&mut *tx)
            .await?;
            let Some(row) = row else { return Ok(None) };
            Ok(Some(OAuthState {
                sealed_verifier: row.text("sealed_verifier")?,
                redirect_url: row.text("redirect_url")?,
                link_to: row.opt_parsed("user_id")?,
            }))
        })
    }

    /// Adds what the provider vouched for to the account that asked for it, and removes the spent state, which is good
    /// for one link. `None` when there is no such state.
    pub async fn finish_oauth_link(
        &self,
        state: &Digest,
        link: &NewLink,
        event: &NewEvent,
    ) -> Result<Option<LinkOutcome>, StoreError> {
        transaction!(self, |tx| {
            let spent = sqlx::query(
                "DELETE FROM oauth_states WHERE digest = $1 AND app_id = $2 AND user_id = $3 \
                 AND consumed_at IS NOT NULL",
            )
            .bind(state.to_string())
            .bind(app())
            .bind(link.user_id.as_str())
            .execute(&mut *tx)
            .await?
            .rows_affected();
            if spent == 0 {
                return Ok(None);
            }
            methods::link(self, tx, link, event).await.map(Some)
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
