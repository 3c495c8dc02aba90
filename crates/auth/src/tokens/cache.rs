//! What a validation has learned, for the next one.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use auth_api::CredentialKind;
use domain::{AllowedIps, ClientInfo, DigestKey, Scopes, SessionId, Timestamp, TokenId, TokenSecretId, UserId};
use limiter::{Evidence, WindowPlace};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, UnitWeighter, Weighter};
use store::MarkedCredential;

use super::cache_key::{AsItIs, CacheKey};
use super::usage::Use;
use super::weight::Bytes;
use crate::keys::{Claims, NarrowedClaims, Signed};

/// A credential as the database described it at `loaded_at`. Its ages are by the steady clock.
pub(crate) struct Credential {
    pub(crate) id: CredentialId,
    /// The row's version: older copies are stale once the row has been marked.
    pub(crate) version: i64,
    pub(crate) user_id: UserId,
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
    /// What the validate route says of it: JSON without the state of its window.
    pub(crate) description: Box<[u8]>,
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

/// Where copies share a lock: about so many bytes of them. Few enough that nobody waits long while those are removed
/// that are over.
const SHARD_BYTES: usize = 512 * 1024;

/// A copy of a token with one scope, to begin with.
const TYPICAL_BYTES: usize = 1_536;

/// In so many steps all copies have been looked at for being over.
const SWEEPS: usize = 64;

/// For how long a text that no database row belongs to is unknown without asking again: as long as an imported token
/// may take to be accepted.
const UNKNOWN_LIFETIME: Duration = Duration::from_millis(500);

/// Unknown texts remembered at most, apart from the copies: whoever floods us with them makes nobody's copy leave.
const UNKNOWN_CAPACITY: usize = 8_192;

impl Credential {
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        now.since(self.loaded_at) < LIFETIME
    }

    /// Whether it may still be of use: as long again as it is fresh, whoever comes back with a JWT is spared the check of
    /// its signature.
    fn is_kept(&self, now: Timestamp) -> bool {
        now.since(self.loaded_at) < 2 * LIFETIME
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
    /// Each with a lock of its own.
    shards: Box<[ByDigest<Arc<Credential>, Bytes>]>,
    /// Which of them is looked at next for copies that are over.
    next_swept: AtomicUsize,
    /// When each was looked for.
    unknown: ByDigest<Timestamp, UnitWeighter>,
    /// How often everything has been forgotten.
    generation: AtomicU64,
}

type ByDigest<V, W> = Cache<CacheKey, V, W, BuildHasherDefault<AsItIs>, DefaultLifecycle<CacheKey, V>>;

/// A cache under one lock, of this weight at most; the heaviest makes room that is used least.
fn by_digest<V: Clone, W: Weighter<CacheKey, V> + Clone>(items: usize, weight: usize, weighter: W) -> ByDigest<V, W> {
    let options =
        OptionsBuilder::new().shards(1).estimated_items_capacity(items).weight_capacity(weight as u64).build();
    let options = options.expect("all that has no default is given");
    Cache::with_options(options, weighter, BuildHasherDefault::default(), DefaultLifecycle::default())
}

impl CredentialCache {
    /// For copies of so many bytes all together.
    pub(super) fn new(process_secret: &[u8; 32], bytes: usize) -> Self {
        let shards = (bytes / SHARD_BYTES).next_power_of_two().clamp(16, 1_024);
        let of_shard = bytes / shards;
        let shard = |_| by_digest(of_shard / TYPICAL_BYTES, of_shard, Bytes);
        Self {
            key: DigestKey::derive(process_secret, "credential cache"),
            shards: (0..shards).map(shard).collect(),
            next_swept: AtomicUsize::new(0),
            unknown: by_digest(UNKNOWN_CAPACITY, UNKNOWN_CAPACITY, UnitWeighter),
            generation: AtomicU64::new(0),
        }
    }

    pub(super) fn key(&self, presented: &str) -> CacheKey {
        CacheKey::of(&self.key.digest(&[presented]))
    }

    fn shard(&self, key: &CacheKey) -> &ByDigest<Arc<Credential>, Bytes> {
        &self.shards[key.shard(self.shards.len())]
    }

    pub(super) fn get(&self, key: &CacheKey) -> Option<Arc<Credential>> {
        self.shard(key).get(key)
    }

    /// To be asked before the database is: what was read before everything was forgotten must not be kept after it.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Keeps a copy that was read in this generation.
    pub(super) fn put(&self, key: &CacheKey, copy: Arc<Credential>, generation: u64) {
        self.shard(key).insert(*key, copy);
        // If everything is forgotten between these two, the copy is as well.
        if self.generation() != generation {
            self.forget(key);
        }
    }

    pub(super) fn forget(&self, key: &CacheKey) {
        self.shard(key).remove(key);
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
        self.shards.iter().for_each(|shard| shard.retain(|_, copy| !owners.contains(&copy.user_id)));
    }

    pub(super) fn clear(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.shards.iter().for_each(Cache::clear);
        self.clear_unknown();
    }

    /// Removes copies that are over and nobody has come back with: a part of them with each call, all with
    /// sixty-four at most.
    pub(super) fn sweep_some(&self, now: Timestamp) {
        for _ in 0..self.shards.len().div_ceil(SWEEPS) {
            let next = self.next_swept.fetch_add(1, Ordering::Relaxed) & (self.shards.len() - 1);
            self.shards[next].retain(|_, copy| copy.is_kept(now));
        }
    }

    /// How many copies there are, and how many bytes they take.
    pub(super) fn size(&self) -> (usize, u64) {
        self.shards.iter().fold((0, 0), |(len, bytes), shard| (len + shard.len(), bytes + shard.weight()))
    }

    pub(super) fn clear_unknown(&self) {
        self.unknown.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::usage::UsageLog;
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn credential() -> Credential {
        let (id, user_id) = (CredentialId::Pat("token".parse().unwrap()), "ann".parse().unwrap());
        let now = Timestamp::from_seconds(0);
        Credential {
            window_key: id.window_key(),
            last_use: UsageLog::default().of(&id),
            id,
            version: 1,
            user_id,
            scopes: Scopes::all(),
            allowed_ips: None,
            secret_id: None,
            signed: None,
            issued_at: now,
            email: None,
            expires_at: None,
            loaded_at: now,
            renewed_from: None,
            is_renewed: AtomicBool::new(false),
            evidence: Evidence::default(),
            window: None,
            description: Box::default(),
        }
    }

    fn cache(bytes: usize) -> CredentialCache {
        CredentialCache::new(&[7; 32], bytes)
    }

    /// Many copies of what weighs much: each has its own scopes, and a description as long.
    #[test]
    fn copies_take_no_more_than_they_may_whatever_they_weigh() {
        for bytes in [MIB, 7 * MIB] {
            let cache = cache(bytes);
            for number in 0..5_000 {
                let scopes: Vec<_> = (0..32).map(|scope| format!("s{number}-{scope}{}", "x".repeat(100))).collect();
                let scopes: Scopes = scopes.join(" ").parse().unwrap();
                let description = scopes.to_string().into_bytes().into();
                let copy = Credential { scopes, description, ..credential() };
                cache.put(&cache.key(&number.to_string()), Arc::new(copy), cache.generation());
            }
            let (len, weight) = cache.size();
            assert!(weight <= bytes as u64 && weight > bytes as u64 / 2, "{weight} of {bytes}");
            assert!(weight / len as u64 > 7_500, "{weight} for {len}");
        }
    }

    /// As the JWTs are that take the longest time to write; nothing is kept that would take more than its shard has.
    #[test]
    fn the_smallest_cache_keeps_the_largest_copy() {
        let cache = cache(7 * MIB);
        let description = vec![b'x'; 16 * 1024].into();
        let scopes: Vec<_> = (0..32).map(|number| format!("{}{number}", "x".repeat(254))).collect();
        let scopes = scopes.join(" ").parse().unwrap();
        let key = cache.key("a token");
        cache.put(&key, Arc::new(Credential { scopes, description, ..credential() }), cache.generation());
        assert!(cache.get(&key).is_some());
    }

    #[test]
    fn a_load_of_ever_new_credentials_levels_off() {
        let cache = cache(16 * MIB);
        let mut most = 0;
        for second in 0..300 {
            let now = Timestamp::from_seconds(second);
            for number in 0..20 {
                let copy = Credential { loaded_at: now, ..credential() };
                cache.put(&cache.key(&format!("{second} {number}")), Arc::new(copy), cache.generation());
            }
            // As often as the service does.
            (0..5).for_each(|_| cache.sweep_some(now));
            most = most.max(cache.size().0);
        }
        assert!(most <= 20 * 75, "a minute, and how long all take to be looked at: {most}");
        let later = Timestamp::from_seconds(360);
        (0..SWEEPS).for_each(|_| cache.sweep_some(later));
        assert_eq!(cache.size(), (0, 0));
    }

    #[test]
    fn what_was_read_before_all_was_forgotten_is_not_kept() {
        let cache = cache(16 * MIB);
        let (key, other) = (cache.key("one"), cache.key("two"));
        let before = cache.generation();
        cache.put(&key, Arc::new(credential()), before);
        assert!(cache.get(&key).is_some() && cache.get(&other).is_none());
        cache.clear();
        assert!(cache.get(&key).is_none());
        cache.put(&key, Arc::new(credential()), before);
        assert!(cache.get(&key).is_none());
        cache.put(&key, Arc::new(credential()), cache.generation());
        assert!(cache.get(&key).is_some());
    }

    #[test]
    fn the_copies_of_one_user_are_forgotten_and_what_is_being_read() {
        let cache = cache(MIB);
        let (anns, bobs, later) = (cache.key("ann's"), cache.key("bob's"), cache.key("later"));
        let before = cache.generation();
        cache.put(&anns, Arc::new(credential()), before);
        let bob = Credential { user_id: "bob".parse().unwrap(), ..credential() };
        cache.put(&bobs, Arc::new(bob), before);
        cache.forget_owned_by(&HashSet::from(["ann".parse().unwrap()]));
        assert!(cache.get(&anns).is_none() && cache.get(&bobs).is_some());
        cache.put(&later, Arc::new(credential()), before);
        assert!(cache.get(&later).is_none());
    }

    #[test]
    fn unknown_texts_are_unknown_for_a_moment_and_take_nobodys_place() {
        let cache = cache(16 * MIB);
        let copy = cache.key("a token");
        cache.put(&copy, Arc::new(credential()), cache.generation());
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
