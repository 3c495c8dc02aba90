//! Is this credential good? The one place that answers, for the validate route, for the service's own bearer
//! extractor and for whatever comes later.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use domain::{Chance, ClientInfo, Clock, Digest, DigestKey, Limit, Timestamp, UserId, token};
use limiter::{CopyVerdict, Evidence, Limiter, Quota, Verdict};
use store::{FoundToken, Store, StoreError};

use super::cache::{CacheKey, Credential, CredentialCache, CredentialId};
use super::older::OlderTokens;
use super::recovery::Recovery;
use super::renew::Renewals;
use super::usage::UsageLog;
use crate::keys::{JwtError, KeyRing, NarrowedClaims};
use crate::metrics::{Asked, Look, Metrics};

/// Longer texts are no credential of ours and are not looked at.
pub(super) const MAX_PRESENTED_BYTES: usize = 4096;

/// A good credential, and what its window has left after this request.
pub(crate) struct Validated {
    pub(crate) credential: Arc<Credential>,
    pub(crate) quota: Quota,
}

/// For whom a credential is to be good. One that was narrowed to an audience is good for no other.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Audience<'a> {
    /// For whoever names none.
    General,
    /// For this one.
    Named(&'a str),
    /// For any: whoever asks is told the audience, and decides.
    Told,
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
    /// It may not be used from there. Nothing was counted: whoever has somebody's token and the wrong address must not
    /// use up its window.
    IpNotAllowed,
    /// It is good, and over its limit.
    Limited { quota: Quota, retry_at: Timestamp },
    /// Nobody can say: the database does not answer.
    Unavailable(StoreError),
}

impl From<JwtError> for Rejection {
    fn from(error: JwtError) -> Self {
        match error {
            JwtError::Expired => Self::Expired,
            JwtError::Invalid => Self::Invalid,
            JwtError::Unavailable(error) => Self::Unavailable(error),
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
    pub(crate) keys: KeyRing,
    pub(crate) token_digests: DigestKey,
    /// Those of a rotation's other secrets.
    pub(crate) older_token_digests: Vec<DigestKey>,
    pub(crate) limit: Limit,
    pub(crate) metrics: Arc<Metrics>,
}

/// Validates credentials: access JWTs, personal access tokens, and JWTs that were narrowed from these.
pub(crate) struct Validator {
    pub(crate) store: Store,
    /// Windows and marks of credentials.
    pub(crate) limiter: Limiter,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) keys: KeyRing,
    pub(super) token_digests: DigestKey,
    older_token_digests: Vec<DigestKey>,
    pub(super) limit: Limit,
    pub(super) cache: CredentialCache,
    pub(super) renewals: Renewals,
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
        let ValidatorParts { store, limiter, clock, keys, token_digests, older_token_digests, limit, metrics } = parts;
        Self {
            store,
            limiter,
            clock,
            keys,
            token_digests,
            older_token_digests,
            limit,
            recovery,
            older_tokens,
            metrics,
            cache: CredentialCache::new(process_secret),
            renewals: Renewals::default(),
            usage: UsageLog::default(),
        }
    }

    /// Whether `presented` is good for `audience` and within its limit; counts the request if so.
    ///
    /// A warm credential is answered from memory: the copy is trusted because the same operation of the limiter that
    /// counts the request also says whether the credential has been marked since. See `docs/decisions`.
    pub(crate) async fn validate(
        &self,
        presented: &str,
        audience: Audience<'_>,
        client: &ClientInfo,
    ) -> Result<Validated, Rejection> {
        let outcome = self.decide(presented, audience, client).await;
        self.metrics.validated(&outcome);
        outcome
    }

    async fn decide(
        &self,
        presented: &str,
        audience: Audience<'_>,
        client: &ClientInfo,
    ) -> Result<Validated, Rejection> {
        if presented.len() > MAX_PRESENTED_BYTES || (token::looks_like_token(presented) && !self.is_token(presented)) {
            return Err(Rejection::Invalid);
        }
        let now = self.clock.now();
        let key = self.cache.key(presented);
        let copy = self.cache.get(&key);
        if let Some(copy) = copy.as_ref().filter(|copy| copy.is_fresh(now)) {
            ensure_good_here(copy, audience, client, now)?;
            if let CopyVerdict::Counted(verdict) = self.admit_copy(copy, now).await {
                self.metrics.looked(Look::Hit);
                if copy.is_to_be_renewed(now) {
                    self.renewals.ask_for(key, Arc::clone(copy));
                }
                return self.conclude(copy, verdict, client, now);
            }
        }
        if copy.is_none() && self.cache.is_unknown(&key, now) && !self.recovery.is_needed() {
            self.metrics.looked(Look::Unknown);
            return Err(Rejection::Invalid);
        }

        self.metrics.looked(if copy.is_some() { Look::Stale } else { Look::Miss });
        let generation = self.cache.generation();
        // Boxed, so that a request that is answered from memory does not carry the database's state about.
        let loading = Box::pin(self.load(presented, &key, copy.as_deref(), client, now));
        let loaded = match self.metrics.time(Asked::Validation, loading).await {
            Ok(credential) => credential,
            Err(rejection) => {
                self.cache.forget(&key);
                return Err(rejection);
            }
        };
        ensure_good_here(&loaded, audience, client, now)?;
        // What was just read needs no trust: whatever mark there is, it asks for exactly this reading.
        let before = copy.map(|copy| copy.evidence).unwrap_or_default();
        let (verdict, evidence) = self.limiter.admit_read(&loaded.window_key, before, self.limit, now).await;
        let window = self.limiter.place_of(&loaded.window_key);
        let loaded = Arc::new(Credential { evidence, window, ..loaded });
        self.cache.put(&key, Arc::clone(&loaded), generation);
        self.conclude(&loaded, verdict, client, now)
    }

    /// Counts a request with a copy, if the copy can be trusted.
    async fn admit_copy(&self, copy: &Credential, now: Timestamp) -> CopyVerdict {
        let at_hand = copy.window.as_ref().and_then(|window| window.admit_copy(copy.version, self.limit, now));
        match at_hand {
            Some(verdict) => verdict,
            None => self.limiter.admit_copy(&copy.window_key, copy.version, copy.evidence, self.limit, now).await,
        }
    }

    /// Whether the text could be a token: one of ours, or one that was imported. Asks nobody.
    pub(super) fn is_token(&self, presented: &str) -> bool {
        token::is_well_formed(presented) || self.older_tokens.may_hold(presented, &self.token_digests)
    }

    /// Learns of tokens that were imported since the last time.
    pub(crate) async fn look_for_imports(&self) -> Result<(), StoreError> {
        if self.older_tokens.refresh(&self.store, &self.token_digests).await? {
            self.cache.clear_unknown();
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
                self.usage.used(&credential.last_use, client, now);
                Ok(Validated { credential: Arc::clone(credential), quota })
            }
            Verdict::Refused { quota, retry_at } => {
                self.usage.limited(&credential.last_use, &credential.user_id, client, now);
                Err(Rejection::Limited { quota, retry_at })
            }
            Verdict::Unsaved => Err(Rejection::Unavailable(StoreError::WindowNotSaved)),
        }
    }

    async fn load(
        &self,
        presented: &str,
        key: &CacheKey,
        copy: Option<&Credential>,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<Credential, Rejection> {
        if self.is_token(presented) {
            self.load_token(presented, key, client, now).await
        } else {
            self.load_jwt(presented, copy, now).await
        }
    }

    async fn load_token(
        &self,
        presented: &str,
        key: &CacheKey,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<Credential, Rejection> {
        // Before the database is asked. While it is needed, a text that no digest matches may be a token all the same.
        let digests_tell = !self.recovery.is_needed();
        let Some(found) = self.find_token(presented, client, now).await? else {
            if digests_tell {
                self.cache.put_unknown(key, now);
            }
            return Err(Rejection::Invalid);
        };
        self.token_credential(found, now)
    }

    /// The token that this well-formed text is a secret of, without a word about whether it is good.
    pub(crate) async fn find_token(
        &self,
        presented: &str,
        client: &ClientInfo,
        now: Timestamp,
    ) -> Result<Option<FoundToken>, Rejection> {
        let digest = self.token_digests.digest(&[presented]);
        let recovery_is_needed = self.recovery.is_needed();
        let mut found = self.store.find_token_by_digest(&digest).await?;
        if found.is_none() {
            found = self.find_under_older_digests(presented, &digest).await?;
        }
        if found.is_none() && recovery_is_needed {
            found = self.recovery.recover(self, presented, &digest, client, now).await?;
        }
        Ok(found)
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

    /// What a token is good for, unless its owner may not come in.
    pub(super) fn token_credential(&self, found: FoundToken, loaded_at: Timestamp) -> Result<Credential, Rejection> {
        if found.owner.disabled_at.is_some() {
            return Err(Rejection::Invalid);
        }
        let id = CredentialId::Pat(found.token.id);
        let user_id: UserId = found.token.user_id;
        let ends = [found.token.expires_at, found.secret.valid_until];
        Ok(Credential {
            window_key: id.window_key(),
            last_use: self.usage.of(&id),
            id,
            version: found.token.version,
            user_id,
            name: Some(found.token.name.to_string()),
            scopes: found.token.scopes,
            allowed_ips: found.token.allowed_ips,
            secret_id: Some(found.secret.id),
            signed: None,
            issued_at: found.token.created_at,
            email: found.owner.email,
            display_name: found.owner.display_name,
            avatar_url: found.owner.avatar_url,
            expires_at: ends.into_iter().flatten().min(),
            loaded_at,
            renewed_from: Some(Credential::renewed_from(loaded_at, found.secret.digest.as_bytes()[0])),
            is_renewed: AtomicBool::new(false),
            evidence: Evidence::default(),
            window: None,
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

/// Whether a credential that is in order is so now, for this audience, and from there.
fn ensure_good_here(
    credential: &Credential,
    audience: Audience<'_>,
    client: &ClientInfo,
    now: Timestamp,
) -> Result<(), Rejection> {
    if credential.is_expired(now) {
        return Err(Rejection::Expired);
    }
    let is_for = match (credential.narrowed().and_then(NarrowedClaims::audience), audience) {
        (None, _) | (Some(_), Audience::Told) => true,
        (Some(bound), Audience::Named(asker)) => bound.iter().any(|audience| audience == asker),
        (Some(_), Audience::General) => false,
    };
    if !is_for {
        return Err(Rejection::Invalid);
    }
    if credential.is_allowed_from(client) { Ok(()) } else { Err(Rejection::IpNotAllowed) }
}
