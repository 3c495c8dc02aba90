//! Is this credential good? The one place that answers, for the validate route, for the service's own bearer
//! extractor and for whatever comes later.

use std::sync::{Arc, OnceLock};

use domain::{Chance, ClientInfo, Clock, Digest, DigestKey, Limit, Scopes, Timestamp, UserId, token};
use limiter::{CopyVerdict, Evidence, Limiter, Quota, Verdict};
use store::{FoundToken, Store, StoreError};

use super::cache::{Credential, CredentialCache, CredentialId};
use super::older::OlderTokens;
use super::recovery::Recovery;
use super::usage::{UsageLog, Use};
use crate::keys::{AccessKeys, ExpiredOrInvalid};
use crate::metrics::{Asked, Look, Metrics};

/// Longer texts are no credential of ours and are not looked at.
const MAX_PRESENTED_BYTES: usize = 4096;

/// A good credential, and what its window has left after this request.
pub(crate) struct Validated {
    pub(crate) credential: Arc<Credential>,
    pub(crate) quota: Quota,
}

/// Why a credential is not good, or not now.
#[derive(Debug)]
pub(crate) enum Rejection {
    /// Malformed, unknown, deleted, forged, or its owner may not come in.
    Invalid,
    /// Its time is over.
    Expired,
    /// Its session was ended.
    SessionEnded,
    /// It is good, and over its limit.
    Limited { quota: Quota, retry_at: Timestamp },
    /// Nobody can say: the database does not answer.
    Unavailable(StoreError),
}

impl From<ExpiredOrInvalid> for Rejection {
    fn from(error: ExpiredOrInvalid) -> Self {
        match error {
            ExpiredOrInvalid::Expired => Self::Expired,
            ExpiredOrInvalid::Invalid => Self::Invalid,
        }
    }
}

impl From<StoreError> for Rejection {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error)
    }
}

/// What a validator stands on.
pub(crate) struct ValidatorParts {
    pub(crate) store: Store,
    pub(crate) limiter: Limiter,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) access_keys: AccessKeys,
    pub(crate) token_digests: DigestKey,
    /// Those of a rotation's other secrets.
    pub(crate) older_token_digests: Vec<DigestKey>,
    pub(crate) limit: Limit,
    pub(crate) metrics: Arc<Metrics>,
}

/// Validates credentials: access JWTs and personal access tokens.
pub(crate) struct Validator {
    pub(crate) store: Store,
    /// Windows and marks of credentials.
    pub(crate) limiter: Limiter,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) access_keys: AccessKeys,
    pub(super) token_digests: DigestKey,
    older_token_digests: Vec<DigestKey>,
    pub(super) limit: Limit,
    pub(super) cache: CredentialCache,
    pub(super) usage: UsageLog,
    pub(super) recovery: Recovery,
    older_tokens: OlderTokens,
    metrics: Arc<Metrics>,
}

impl Validator {
    /// A validator with nothing learned yet; the copies it will make die with `process_secret`.
    pub(crate) fn new(
        parts: ValidatorParts,
        recovery: Recovery,
        older_tokens: OlderTokens,
        process_secret: &[u8; 32],
    ) -> Self {
        let ValidatorParts { store, limiter, clock, access_keys, token_digests, older_token_digests, limit, metrics } =
            parts;
        Self {
            store,
            limiter,
            clock,
            access_keys,
            token_digests,
            older_token_digests,
            limit,
            recovery,
            older_tokens,
            metrics,
            cache: CredentialCache::new(process_secret),
            usage: UsageLog::default(),
        }
    }

    /// Whether `presented` is good and within its limit; counts the request if so.
    ///
    /// A warm credential is answered from memory: the copy is trusted because the same operation of the limiter that
    /// counts the request also says whether the credential has been marked since. See `docs/decisions`.
    pub(crate) async fn validate(&self, presented: &str, client: &ClientInfo) -> Result<Validated, Rejection> {
        let outcome = self.decide(presented, client).await;
        self.metrics.validated(&outcome);
        outcome
    }

    async fn decide(&self, presented: &str, client: &ClientInfo) -> Result<Validated, Rejection> {
        if presented.len() > MAX_PRESENTED_BYTES || (token::looks_like_token(presented) && !self.is_token(presented)) {
            return Err(Rejection::Invalid);
        }
        let now = self.clock.now();
        let key = self.cache.key(presented);
        let copy = self.cache.get(&key);
        if let Some(copy) = copy.as_ref().filter(|copy| copy.is_fresh(now)) {
            if copy.is_expired(now) {
                return Err(Rejection::Expired);
            }
            let (version, evidence) = (copy.version, copy.evidence);
            let verdict = self.limiter.admit_copy(&copy.window_key, version, evidence, self.limit, now).await;
            if let CopyVerdict::Counted(verdict) = verdict {
                self.metrics.looked(Look::Hit);
                return self.conclude(copy, verdict, client, now);
            }
        }

        self.metrics.looked(if copy.is_some() { Look::Stale } else { Look::Miss });
        let loading = self.load(presented, copy.as_deref(), client, now);
        let loaded = match self.metrics.time(Asked::Validation, loading).await {
            Ok(credential) => credential,
            Err(rejection) => {
                self.cache.forget(&key);
                return Err(rejection);
            }
        };
        if loaded.is_expired(now) {
            return Err(Rejection::Expired);
        }
        // What was just read needs no trust: whatever mark there is, it asks for exactly this reading.
        let before = copy.map(|copy| copy.evidence).unwrap_or_default();
        let (verdict, evidence) = self.limiter.admit_read(&loaded.window_key, before, self.limit, now).await;
        let loaded = Arc::new(Credential { evidence, ..loaded });
        self.cache.put(&key, Arc::clone(&loaded));
        self.conclude(&loaded, verdict, client, now)
    }

    /// Whether the text could be a token: one of ours, or one that was imported. Asks nobody.
    fn is_token(&self, presented: &str) -> bool {
        token::is_well_formed(presented) || self.older_tokens.may_hold(presented, &self.token_digests)
    }

    /// Learns of tokens that were imported since the last time.
    pub(crate) async fn look_for_imports(&self) -> Result<(), StoreError> {
        if self.older_tokens.refresh(&self.store, &self.token_digests).await? {
            self.recovery.reconsider(&self.store, &self.token_digests).await?;
        }
        Ok(())
    }

    fn conclude(
        &self,
        credential: &Arc<Credential>,
        verdict: Verdict,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<Validated, Rejection> {
        match verdict {
            Verdict::Admitted(quota) => {
                self.usage.used(credential, client, now);
                Ok(Validated { credential: Arc::clone(credential), quota })
            }
            Verdict::Refused { quota, retry_at } => {
                self.usage.limited(credential, client, now);
                Err(Rejection::Limited { quota, retry_at })
            }
        }
    }

    async fn load(
        &self,
        presented: &str,
        copy: Option<&Credential>,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<Credential, Rejection> {
        if self.is_token(presented) {
            self.load_token(presented, client, now).await
        } else {
            self.load_session(presented, copy, now).await
        }
    }

    async fn load_token(&self, presented: &str, client: &ClientInfo, now: Timestamp) -> Result<Credential, Rejection> {
        let digest = self.token_digests.digest(&[presented]);
        let recovery_is_needed = self.recovery.is_needed();
        let mut found = self.store.find_token_by_digest(&digest).await?;
        if found.is_none() {
            found = self.find_under_older_digests(presented, &digest).await?;
        }
        if found.is_none() && recovery_is_needed {
            found = self.recovery.recover(self, presented, &digest, client, now).await?;
        }
        let found = found.ok_or(Rejection::Invalid)?;
        if found.owner.disabled_at.is_some() {
            return Err(Rejection::Invalid);
        }
        Ok(token_credential(found, now))
    }

    /// A token that was sealed under another secret of a rotation, sealed anew.
    async fn find_under_older_digests(
        &self,
        presented: &str,
        digest: &Digest,
    ) -> Result<Option<FoundToken>, Rejection> {
        for key in &self.older_token_digests {
            if let Some(found) = self.store.find_token_by_digest(&key.digest(&[presented])).await? {
                self.store.reseal_token_secret(&found.secret.id, digest, self.token_digests.id()).await?;
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// `copy` is what an earlier validation of this very text learned, if it did: the signature was checked then, and
    /// stays right.
    async fn load_session(
        &self,
        jwt: &str,
        copy: Option<&Credential>,
        now: Timestamp,
    ) -> Result<Credential, Rejection> {
        let known = copy.and_then(|copy| match &copy.id {
            CredentialId::Session(id) => Some((id.clone(), copy.user_id.clone(), copy.expires_at?)),
            CredentialId::Pat(_) => None,
        });
        let (session_id, user_id, expires_at) = if let Some(known) = known {
            known
        } else {
            let claims = self.access_keys.verify(jwt, now)?;
            let expires_at = claims.expires_at();
            (claims.session_id, claims.user_id, expires_at)
        };
        let (session, user) = self.store.find_session(&session_id).await?.ok_or(Rejection::SessionEnded)?;
        if user.id != user_id || user.disabled_at.is_some() {
            return Err(Rejection::Invalid);
        }
        if session.absolute_expires_at <= now {
            return Err(Rejection::Expired);
        }
        let id = CredentialId::Session(session_id);
        Ok(Credential {
            window_key: id.window_key(),
            id,
            version: 0,
            user_id: user.id,
            name: None,
            scopes: Scopes::all(),
            email: user.email,
            display_name: user.display_name,
            avatar_url: user.avatar_url,
            expires_at: Some(expires_at),
            loaded_at: now,
            evidence: Evidence::default(),
            last_use: Use::default(),
            description: OnceLock::new(),
        })
    }

    /// Forgets every copy: something changed the database behind this process's back.
    pub(crate) fn forget_all(&self) {
        self.cache.clear();
    }

    /// Writes down when and from where those credentials were used that have waited longest for it.
    pub(crate) async fn flush_some_usage(&self, chance: &Chance) -> Result<(), StoreError> {
        self.usage.flush(&self.store, chance).await
    }

    /// The same for all of them.
    pub(crate) async fn flush_usage(&self, chance: &Chance) -> Result<(), StoreError> {
        while !self.usage.is_empty() {
            self.flush_some_usage(chance).await?;
        }
        Ok(())
    }
}

fn token_credential(found: FoundToken, loaded_at: Timestamp) -> Credential {
    let id = CredentialId::Pat(found.token.id);
    let user_id: UserId = found.token.user_id;
    let ends = [found.token.expires_at, found.secret.valid_until];
    Credential {
        window_key: id.window_key(),
        id,
        version: found.token.version,
        user_id,
        name: Some(found.token.name.to_string()),
        scopes: found.token.scopes,
        email: found.owner.email,
        display_name: found.owner.display_name,
        avatar_url: found.owner.avatar_url,
        expires_at: ends.into_iter().flatten().min(),
        loaded_at,
        evidence: Evidence::default(),
        last_use: Use::default(),
        description: OnceLock::new(),
    }
}
