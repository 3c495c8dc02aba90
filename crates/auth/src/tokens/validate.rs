//! Is this credential good? The one place that answers, for the validate route, for the service's own bearer
//! extractor and for whatever comes later.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use domain::{ClientInfo, Clock, Digest, DigestKey, Limit, Moment, ScopePool, Timestamp, token};
use limiter::{CopyVerdict, Evidence, Limiter, Quota, Verdict};
use store::{FoundToken, Store, StoreError};

use super::cache::{Credential, CredentialCache, CredentialId};
use super::cache_key::CacheKey;
use super::description::{Described, describe};
use super::older::OlderTokens;
use super::recovery::Recovery;
use super::renew::Renewals;
use super::usage::UsageLog;
use crate::keys::{JwtError, KeyRing, NarrowedClaims};
use crate::metrics::{Asked, Look, Metrics};
use crate::trust::Trust;

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
    /// What copies may take in memory.
    pub(crate) cache_bytes: usize,
}

/// Validates credentials: access JWTs, personal access tokens, and JWTs that were narrowed from these.
pub(crate) struct Validator {
    pub(crate) store: Store,
    /// Windows and marks of credentials.
    pub(crate) limiter: Limiter,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) keys: KeyRing,
    /// Whether what is kept in memory counts.
    pub(crate) trust: Trust,
    pub(super) token_digests: DigestKey,
    older_token_digests: Vec<DigestKey>,
    pub(super) limit: Limit,
    pub(super) cache: CredentialCache,
    /// The scopes of copies.
    pub(super) scopes: ScopePool,
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
        let ValidatorParts { store, limiter, clock, keys, token_digests, older_token_digests, limit, .. } = parts;
        let ValidatorParts { metrics, cache_bytes, .. } = parts;
        Self {
            store,
            limiter,
            clock,
            keys,
            trust: Trust::default(),
            token_digests,
            older_token_digests,
            limit,
            recovery,
            older_tokens,
            metrics,
            cache: CredentialCache::new(process_secret, cache_bytes),
            scopes: ScopePool::default(),
            renewals: Renewals::default(),
            usage: UsageLog::default(),
        }
    }

    /// Whether `presented` is good for `audience` and within its limit; counts the request if so.
    ///
    /// A warm credential is answered from memory: the copy is trusted because this instance has looked a moment ago at
    /// what was taken away, and because the same operation of the limiter that counts the request also says whether the
    /// credential has been marked since. See `docs/decisions`.
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
        let at = self.clock.moment();
        let key = self.cache.key(presented);
        let copy = self.cache.get(&key);
        if let Some(copy) = copy.as_ref().filter(|copy| self.trust.holds(at.steady) && copy.is_fresh(at.steady)) {
            ensure_good_here(copy, audience, client, at.wall)?;
            if let CopyVerdict::Counted(verdict) = self.admit_copy(copy, at.steady).await {
                self.metrics.looked(Look::Hit);
                if copy.is_to_be_renewed(at.steady) {
                    self.renewals.ask_for(key, Arc::clone(copy));
                }
                return self.conclude(copy, verdict, client, at);
            }
        }
        if copy.is_none() && self.cache.is_unknown(&key, at.steady) && !self.recovery.is_needed() {
            self.metrics.looked(Look::Unknown);
            return Err(Rejection::Invalid);
        }

        self.metrics.looked(if copy.is_some() { Look::Stale } else { Look::Miss });
        let generation = self.cache.generation();
        // Boxed, so that a request that is answered from memory does not carry the database's state about.
        let loading = Box::pin(self.load(presented, &key, copy.as_deref(), client, at));
        let loaded = match self.metrics.time(Asked::Validation, loading).await {
            Ok(credential) => credential,
            Err(rejection) => {
                self.cache.forget(&key);
                return Err(rejection);
            }
        };
        ensure_good_here(&loaded, audience, client, at.wall)?;
        // What was just read needs no trust: whatever mark there is, it asks for exactly this reading.
        let before = copy.map(|copy| copy.evidence).unwrap_or_default();
        let (verdict, evidence) = self.limiter.admit_read(&loaded.window_key, before, self.limit, at.steady).await;
        let window = self.limiter.place_of(&loaded.window_key);
        let loaded = Arc::new(Credential { evidence, window, ..loaded });
        self.cache.put(&key, Arc::clone(&loaded), generation);
        self.conclude(&loaded, verdict, client, at)
    }

    /// Counts a request with a copy, if the copy can be trusted.
    async fn admit_copy(&self, copy: &Credential, now: Timestamp) -> CopyVerdict {
        let at_hand = copy.window.as_ref().and_then(|window| window.admit_copy(copy.version, self.limit, now));
        match at_hand {
            Some(verdict) => verdict,
            None => self.limiter.admit_copy(&copy.window_key, copy.version, copy.evidence, self.limit, now).await,
        }
    }

    /// What has been taken from the keys counts: while what is kept in memory cannot be trusted, they are read again.
    pub(crate) async fn ensure_keys_are_current(&self, at: Moment) -> Result<(), StoreError> {
        if self.trust.holds(at.steady) { Ok(()) } else { self.keys.reload_since(at.steady, &*self.clock).await }
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
        at: Moment,
    ) -> Result<Validated, Rejection> {
        match verdict.on_the_wall(at) {
            Verdict::Admitted(quota) => {
                self.usage.used(&credential.last_use, client, at.wall);
                Ok(Validated { credential: Arc::clone(credential), quota })
            }
            Verdict::Refused { quota, retry_at } => {
                self.usage.limited(&credential.last_use, &credential.user_id, client, at.wall);
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
        at: Moment,
    ) -> Result<Credential, Rejection> {
        if self.is_token(presented) {
            self.load_token(presented, key, client, at.steady).await
        } else {
            self.load_jwt(presented, copy, at).await
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
        let Some(found) = self.find_token(presented, client).await? else {
            if digests_tell {
                self.cache.put_unknown(key, now);
            }
            return Err(Rejection::Invalid);
        };
        self.token_credential(found, None, now)
    }

    /// The token that this well-formed text is a secret of, without a word about whether it is good.
    pub(crate) async fn find_token(
        &self,
        presented: &str,
        client: &ClientInfo,
    ) -> Result<Option<FoundToken>, Rejection> {
        let digest = self.token_digests.digest(&[presented]);
        let recovery_is_needed = self.recovery.is_needed();
        let mut found = self.store.find_token_by_digest(&digest).await?;
        if found.is_none() {
            found = self.find_under_older_digests(presented, &digest).await?;
        }
        if found.is_none() && recovery_is_needed {
            found = self.recovery.recover(self, presented, &digest, client).await?;
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

    /// What a token is good for, or a JWT with these claims that was narrowed from it, unless its owner may not come in.
    pub(super) fn token_credential(
        &self,
        found: FoundToken,
        narrowed: Option<&NarrowedClaims>,
        loaded_at: Timestamp,
    ) -> Result<Credential, Rejection> {
        let FoundToken { token, secret, owner } = found;
        if owner.disabled_at.is_some() {
            return Err(Rejection::Invalid);
        }
        let id = CredentialId::Pat(token.id);
        let scopes = self.scopes.share(narrowed.map_or(token.scopes, |claims| claims.scope.clone()));
        let ends = [token.expires_at, secret.valid_until, narrowed.map(NarrowedClaims::expires_at)];
        let expires_at = ends.into_iter().flatten().min();
        let description = describe(Described {
            kind: id.kind(),
            is_narrowed: narrowed.is_some(),
            user_id: &token.user_id,
            id: id.as_str(),
            name: Some(token.name.to_string()),
            scopes: &scopes,
            email: owner.email.clone(),
            display_name: owner.display_name,
            avatar_url: owner.avatar_url,
            expires_at,
        });
        let renewed_from = Credential::renewed_from(loaded_at, secret.digest.as_bytes()[0]);
        Ok(Credential {
            window_key: id.window_key(),
            last_use: self.usage.of(&id),
            id,
            version: token.version,
            user_id: token.user_id,
            scopes,
            allowed_ips: token.allowed_ips,
            secret_id: Some(secret.id),
            signed: None,
            issued_at: narrowed.map_or(token.created_at, NarrowedClaims::issued_at),
            email: owner.email,
            expires_at,
            loaded_at,
            renewed_from: narrowed.is_none().then_some(renewed_from),
            is_renewed: AtomicBool::new(false),
            evidence: Evidence::default(),
            window: None,
            description,
        })
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
