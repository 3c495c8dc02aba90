//! Tokens whose digest was made under a key that is no longer in force.
//!
//! The bcrypt hash is the verifier of record: it outlives every server key. While rows sealed under another key exist,
//! a token that no digest matches is checked against the few rows that begin alike, and sealed anew if one of them is
//! its own. That is slow by design, so nobody gets to make us do it often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::{ClientInfo, Digest, DigestKey, Limit};
use limiter::{Quota, Verdict};
use store::{FoundToken, Store, StoreError};
use tokio::sync::Mutex;

use super::older::trace;
use super::validate::{Rejection, Validator};
use crate::address_key;
use crate::hashing::Hasher;

/// Failed recoveries that one address is granted; somebody whose tokens were all sealed anew never comes here again.
const FAILURES: Limit = Limit { count: 20, window: Duration::from_mins(1) };

/// Rows that begin alike and are checked; four random characters make more than one or two improbable.
const MAX_CANDIDATES: u32 = 8;

/// Checks tokens by bcrypt while there are rows sealed under another key.
pub(crate) struct Recovery {
    hasher: Arc<Hasher>,
    needed: AtomicBool,
    /// One recovery at a time: of many requests with the same token the first does the work and the others, when their
    /// turn comes, find the digest it left.
    turn: Mutex<()>,
}

impl Recovery {
    pub(crate) async fn new(store: &Store, key: &DigestKey, hasher: Arc<Hasher>) -> Result<Self, StoreError> {
        let needed = store.has_foreign_seals(key.id()).await?;
        if needed {
            tracing::warn!(
                "tokens sealed under another key exist; each is checked by bcrypt once, when it is next used"
            );
        }
        Ok(Self { hasher, needed: AtomicBool::new(needed), turn: Mutex::new(()) })
    }

    /// Whether there are such rows. To be asked before a token is looked for by its digest: once there are none, every
    /// token is found by it.
    pub(super) fn is_needed(&self) -> bool {
        self.needed.load(Ordering::Acquire)
    }

    /// Looks again whether there are such rows: another process has written some.
    pub(super) async fn reconsider(&self, store: &Store, key: &DigestKey) -> Result<(), StoreError> {
        self.needed.store(store.has_foreign_seals(key.id()).await?, Ordering::Release);
        Ok(())
    }

    /// The token that `presented` is the secret of, sealed anew under the key in force.
    pub(super) async fn recover(
        &self,
        validator: &Validator,
        presented: &str,
        digest: &Digest,
        client: &ClientInfo,
    ) -> Result<Option<FoundToken>, Rejection> {
        let key = validator.token_digests.id();
        let candidates = validator.store.find_token_candidates(&trace(presented), key, MAX_CANDIDATES).await?;
        let failures = format!("recovery:{}", address_key(client.ip));
        let has_failed_too_often =
            async || validator.limiter.peek(&failures, FAILURES, validator.clock.steady()).await.remaining == 0;
        if candidates.is_empty() || has_failed_too_often().await {
            // Another request with the same token may have sealed it anew since its digest was looked for.
            return Ok(validator.store.find_token_by_digest(digest).await?);
        }

        let _turn = self.turn.lock().await;
        if let Some(found) = validator.store.find_token_by_digest(digest).await? {
            return Ok(Some(found));
        }
        // Again: of many that came at once and all passed above, those before us in the queue have failed meanwhile.
        if has_failed_too_often().await {
            return Ok(None);
        }
        for candidate in candidates {
            let is_it = self.hasher.verify(presented, candidate.secret.hash).await.unwrap_or_else(|error| {
                tracing::error!(%error, secret_id = %candidate.secret.id, "a stored hash cannot be checked");
                false
            });
            if is_it {
                validator.store.reseal_token_secret(&candidate.secret.id, digest, key).await?;
                self.needed.store(validator.store.has_foreign_seals(key).await?, Ordering::Release);
                return Ok(validator.store.find_token_by_digest(digest).await?);
            }
        }
        let now = validator.clock.steady();
        if let Verdict::Admitted(Quota { remaining: 0, .. }) = validator.limiter.admit(&failures, FAILURES, now).await {
            tracing::warn!(ip = ?client.ip, "too many unknown tokens that begin like existing ones");
        }
        Ok(None)
    }
}
