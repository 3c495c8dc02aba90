//! What a validation has learned, for the next one.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use auth_api::CredentialKind;
use domain::{AllowedIps, ClientInfo, Digest, DigestKey, Scopes, SessionId, Timestamp, TokenId, TokenSecretId, UserId};
use limiter::Evidence;
use quick_cache::sync::Cache;
use store::MarkedCredential;

use super::usage::Use;
use crate::keys::{Claims, NarrowedClaims, Signed};

/// A credential as the database described it at `loaded_at`.
pub(crate) struct Credential {
    pub(crate) id: CredentialId,
    /// The row's version: older copies are stale once the row has been marked.
    pub(crate) version: i64,
    pub(crate) user_id: UserId,
    /// A token's name; sessions have none.
    pub(crate) name: Option<String>,
    pub(crate) scopes: Scopes,
    /// From where it may be used; `None` for anywhere.
    pub(crate) allowed_ips: Option<AllowedIps>,
    /// The token's secret that was shown, or that a narrowed JWT was got with.
    pub(crate) secret_id: Option<TokenSecretId>,
    /// The claims, of a JWT.
    pub(crate) signed: Option<Arc<Signed>>,
    /// When it was made.
    pub(crate) issued_at: Timestamp,
    pub(crate) email: Option<String>,
    pub(crate) display_name: Option<String>,
    pub(crate) avatar_url: Option<String>,
    /// When this very secret stops working: the token's expiry, or the end of a rotation's grace if that is sooner.
    pub(crate) expires_at: Option<Timestamp>,
    /// The window's key in the limiter.
    pub(crate) window_key: String,
    pub(crate) loaded_at: Timestamp,
    /// What the limiter wants to see before it trusts this copy.
    pub(crate) evidence: Evidence,
    pub(crate) last_use: Use,
    /// What the validate route says of it, once it has been asked: JSON without the state of its window.
    pub(crate) description: OnceLock<Box<[u8]>>,
}

/// Which credential it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CredentialId {
    Pat(TokenId),
    Session(SessionId),
}

impl CredentialId {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Pat(id) => id.as_str(),
            Self::Session(id) => id.as_str(),
        }
    }

    pub(crate) const fn kind(&self) -> CredentialKind {
        match self {
            Self::Pat(_) => CredentialKind::Pat,
            Self::Session(_) => CredentialKind::Session,
        }
    }

    /// The key under which the limiter counts this credential's requests and keeps its mark.
    pub(crate) fn window_key(&self) -> String {
        self.marked().key()
    }

    /// The same, as the database knows it whose copies are not to be trusted.
    pub(crate) fn marked(&self) -> MarkedCredential {
        match self {
            Self::Pat(id) => MarkedCredential::Token(id.clone()),
            Self::Session(id) => MarkedCredential::Session(id.clone()),
        }
    }
}

/// For how long a copy is used without asking the database. The limiter's marks must outlive it.
const LIFETIME: Duration = Duration::from_secs(30);

/// For how long a mark tells holders of copies to read the database: a copy's lifetime, and as much again and more for
/// a commit that takes its time, since the mark is set before it.
pub(crate) const MARK_LIFETIME: Duration = Duration::from_mins(1);

/// Copies kept at most; beyond, those used least make room.
const CAPACITY: usize = 131_072;

impl Credential {
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        now.since(self.loaded_at) < LIFETIME
    }

    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether it may be used from there; a client whose address nobody knows is nowhere.
    pub(super) fn is_allowed_from(&self, client: &ClientInfo) -> bool {
        self.allowed_ips.as_ref().is_none_or(|allowed| client.ip.is_some_and(|ip| allowed.allow(ip)))
    }

    /// What a JWT that was got by token exchange says.
    pub(crate) fn narrowed(&self) -> Option<&NarrowedClaims> {
        match self.signed.as_deref() {
            Some(Signed { claims: Claims::Narrowed(claims), .. }) => Some(claims),
            _ => None,
        }
    }
}

/// Verified credentials, by a digest under a key that dies with the process: whoever reads its memory finds nothing
/// that helps anywhere else.
pub(super) struct CredentialCache {
    key: DigestKey,
    copies: Cache<[u8; 32], Arc<Credential>>,
}

/// Where the cache keeps a presented credential.
pub(super) struct CacheKey(Digest);

impl CredentialCache {
    pub(super) fn new(process_secret: &[u8; 32]) -> Self {
        Self { key: DigestKey::derive(process_secret, "credential cache"), copies: Cache::new(CAPACITY) }
    }

    pub(super) fn key(&self, presented: &str) -> CacheKey {
        CacheKey(self.key.digest(&[presented]))
    }

    pub(super) fn get(&self, key: &CacheKey) -> Option<Arc<Credential>> {
        self.copies.get(key.0.as_bytes())
    }

    pub(super) fn put(&self, key: &CacheKey, copy: Arc<Credential>) {
        self.copies.insert(*key.0.as_bytes(), copy);
    }

    pub(super) fn clear(&self) {
        self.copies.clear();
    }

    pub(super) fn forget(&self, key: &CacheKey) {
        self.copies.remove(key.0.as_bytes());
    }
}
