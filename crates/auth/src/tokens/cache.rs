//! What a validation has learned, for the next one.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use auth_api::CredentialKind;
use domain::{AllowedIps, ClientInfo, DigestKey, Scopes, SessionId, Timestamp, TokenId, TokenSecretId, UserId};
use limiter::{Evidence, WindowPlace};
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use store::MarkedCredential;

use super::usage::Use;
use crate::keys::{Claims, NarrowedClaims, Signed};

/// A credential as the database described it at `loaded_at`. Its ages are by the steady clock.
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
    /// From when on, if it is in use, it is read again before its time; `None` for JWTs, which are read when it is over.
    pub(crate) renewed_from: Option<Timestamp>,
    /// It waits for that, or has been.
    pub(crate) is_renewed: AtomicBool,
    /// What the limiter wants to see before it trusts this copy.
    pub(crate) evidence: Evidence,
    /// The window itself, where it is within reach.
    pub(crate) window: Option<WindowPlace>,
    pub(crate) last_use: Arc<Use>,
    /// What the validate route says of it, once it has been asked: JSON without the state of its window.
    pub(crate) description: OnceLock<Box<[u8]>>,
}

/// Which credential it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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

/// For how long a text that no database row belongs to is unknown without asking again: as long as an imported token
/// may take to be accepted.
const UNKNOWN_LIFETIME: Duration = Duration::from_millis(500);

/// Unknown texts remembered at most, apart from the copies: whoever floods us with them makes nobody's copy leave.
const UNKNOWN_CAPACITY: usize = 8_192;

impl Credential {
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        now.since(self.loaded_at) < LIFETIME
    }

    /// From when on a copy made at `loaded_at` is read again: after half of its life, and not all of those that were made
    /// at one moment in one moment again. `spread` is anything that differs between them.
    pub(super) fn renewed_from(loaded_at: Timestamp, spread: u8) -> Timestamp {
        loaded_at.plus(LIFETIME / 2 + LIFETIME * u32::from(spread) / 640)
    }

    /// Whether it is time to read it again, which is told once.
    pub(super) fn is_to_be_renewed(&self, now: Timestamp) -> bool {
        self.renewed_from.is_some_and(|from| from <= now) && !self.is_renewed.swap(true, Ordering::Relaxed)
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
/// that helps anywhere else. And texts that were looked for in vain, for a moment.
pub(super) struct CredentialCache {
    key: DigestKey,
    copies: ByDigest<Arc<Credential>>,
    /// When each was looked for.
    unknown: ByDigest<Timestamp>,
    /// How often everything has been forgotten.
    generation: AtomicU64,
}

type ByDigest<V> = Cache<CacheKey, V, UnitWeighter, BuildHasherDefault<AsItIs>, DefaultLifecycle<CacheKey, V>>;

/// Where the cache keeps a presented credential.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct CacheKey([u8; 32]);

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (first, _) = self.0.split_first_chunk().expect("a digest has 32 bytes");
        state.write_u64(u64::from_ne_bytes(*first));
    }
}

/// Eight bytes of a digest under a secret key are a hash that nobody can choose.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, _: &[u8]) {
        unreachable!("a key is hashed as one number");
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn by_digest<V: Clone>(capacity: usize) -> ByDigest<V> {
    let weight = u64::try_from(capacity).unwrap_or(u64::MAX);
    Cache::with(capacity, weight, UnitWeighter, BuildHasherDefault::default(), DefaultLifecycle::default())
}

impl CredentialCache {
    pub(super) fn new(process_secret: &[u8; 32]) -> Self {
        Self {
            key: DigestKey::derive(process_secret, "credential cache"),
            copies: by_digest(CAPACITY),
            unknown: by_digest(UNKNOWN_CAPACITY),
            generation: AtomicU64::new(0),
        }
    }

    pub(super) fn key(&self, presented: &str) -> CacheKey {
        CacheKey(*self.key.digest(&[presented]).as_bytes())
    }

    pub(super) fn get(&self, key: &CacheKey) -> Option<Arc<Credential>> {
        self.copies.get(key)
    }

    /// To be asked before the database is: what was read before everything was forgotten must not be kept after it.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Keeps a copy that was read in this generation.
    pub(super) fn put(&self, key: &CacheKey, copy: Arc<Credential>, generation: u64) {
        self.copies.insert(*key, copy);
        // If everything is forgotten between these two, the copy is as well.
        if self.generation() != generation {
            self.forget(key);
        }
    }

    pub(super) fn forget(&self, key: &CacheKey) {
        self.copies.remove(key);
    }

    /// Remembers that the database, asked after `asked_at`, had nothing for this.
    pub(super) fn put_unknown(&self, key: &CacheKey, asked_at: Timestamp) {
        self.unknown.insert(*key, asked_at);
    }

    /// Whether the database had nothing for this a moment ago.
    pub(super) fn is_unknown(&self, key: &CacheKey, now: Timestamp) -> bool {
        self.unknown.get(key).is_some_and(|asked_at| now < asked_at.plus(UNKNOWN_LIFETIME))
    }

    /// Forgets every copy of these users'. What is being read meanwhile is not kept either, whosever it is: nobody knows
    /// yet.
    pub(super) fn forget_owned_by(&self, owners: &HashSet<UserId>) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.copies.retain(|_, copy| !owners.contains(&copy.user_id));
    }

    pub(super) fn clear(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.copies.clear();
        self.clear_unknown();
    }

    pub(super) fn clear_unknown(&self) {
        self.unknown.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::usage::UsageLog;
    use super::*;

    fn credential() -> Arc<Credential> {
        let (id, user_id) = (CredentialId::Pat("token".parse().unwrap()), "ann".parse().unwrap());
        let now = Timestamp::from_seconds(0);
        Arc::new(Credential {
            window_key: id.window_key(),
            last_use: UsageLog::default().of(&id),
            id,
            version: 1,
            user_id,
            name: None,
            scopes: Scopes::all(),
            allowed_ips: None,
            secret_id: None,
            signed: None,
            issued_at: now,
            email: None,
            display_name: None,
            avatar_url: None,
            expires_at: None,
            loaded_at: now,
            renewed_from: None,
            is_renewed: AtomicBool::new(false),
            evidence: Evidence::default(),
            window: None,
            description: OnceLock::new(),
        })
    }

    #[test]
    fn what_was_read_before_all_was_forgotten_is_not_kept() {
        let cache = CredentialCache::new(&[7; 32]);
        let (key, other) = (cache.key("one"), cache.key("two"));
        let before = cache.generation();
        cache.put(&key, credential(), before);
        assert!(cache.get(&key).is_some() && cache.get(&other).is_none());
        cache.clear();
        assert!(cache.get(&key).is_none());
        cache.put(&key, credential(), before);
        assert!(cache.get(&key).is_none());
        cache.put(&key, credential(), cache.generation());
        assert!(cache.get(&key).is_some());
    }

    #[test]
    fn the_copies_of_one_user_are_forgotten_and_what_is_being_read() {
        let cache = CredentialCache::new(&[7; 32]);
        let (anns, bobs, later) = (cache.key("ann's"), cache.key("bob's"), cache.key("later"));
        let before = cache.generation();
        cache.put(&anns, credential(), before);
        let bob = Credential { user_id: "bob".parse().unwrap(), ..Arc::into_inner(credential()).unwrap() };
        cache.put(&bobs, Arc::new(bob), before);
        cache.forget_owned_by(&HashSet::from(["ann".parse().unwrap()]));
        assert!(cache.get(&anns).is_none() && cache.get(&bobs).is_some());
        cache.put(&later, credential(), before);
        assert!(cache.get(&later).is_none());
    }

    #[test]
    fn unknown_texts_are_unknown_for_a_moment_and_take_nobodys_place() {
        let cache = CredentialCache::new(&[7; 32]);
        let copy = cache.key("a token");
        cache.put(&copy, credential(), cache.generation());
        let at = |millis: i64| Timestamp::from_millis(60_000 + millis);
        for number in 0..2 * UNKNOWN_CAPACITY {
            cache.put_unknown(&cache.key(&number.to_string()), at(0));
        }
        let remembered =
            |now| (0..2 * UNKNOWN_CAPACITY).filter(|n| cache.is_unknown(&cache.key(&n.to_string()), now)).count();
        assert!((1..=UNKNOWN_CAPACITY).contains(&remembered(at(0))));
        assert_eq!(remembered(at(499)), remembered(at(0)));
        assert_eq!(remembered(at(500)), 0, "too old");
        assert!(cache.get(&copy).is_some());
    }

    #[test]
    fn copies_of_one_moment_are_renewed_one_after_the_other_and_in_time() {
        let loaded_at = Timestamp::from_seconds(100);
        let from: Vec<_> = (0..=u8::MAX).map(|spread| Credential::renewed_from(loaded_at, spread)).collect();
        assert!(from.is_sorted_by(|a, b| a < b));
        assert_eq!(from[0], loaded_at.plus(LIFETIME / 2));
        assert!(loaded_at.plus(LIFETIME).since(from[255]) >= Duration::from_secs(3));
    }
}
