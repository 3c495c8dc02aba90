//! The key pairs of this installation: EdDSA (RFC 8037), so that holding `JWT_SECRET` forges nothing. They are kept in
//! the database, sealed; every instance reads them again every minute and whenever it meets one that it does not know.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use domain::audit::Actor;
use domain::{Chance, ClientInfo, Clock, EventId, KeyId, Moment, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretSlice};
use serde::Serialize;
use store::{NewEvent, SigningKey, Store, StoreError};

use super::{Claims, Seal, jws};

/// A key signs for so long; then the next one is made.
const ROTATE_AFTER: Duration = Duration::from_hours(30 * 24);
/// A superseded key verifies for so long: two overlap. Far longer than any JWT lives.
pub(super) const OVERLAP: Duration = Duration::from_hours(30 * 24);
/// A new key signs nothing before every instance that meets its signature would find it: a little longer than
/// [`LOOK_AGAIN_AFTER`].
const LEAD: Duration = Duration::from_secs(2);
/// A key that is not known makes an instance look into the database, but not more often than this: whoever invents key
/// ids costs a query a second, in all.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Signs with the newest key and verifies with all that have not ended.
pub(crate) struct KeyRing {
    store: Store,
    /// The first seals, all open.
    seals: Vec<Seal>,
    chance: Chance,
    latest: RwLock<Reading>,
    /// How many readings have begun.
    begun: AtomicU64,
    /// When the database was last asked for a key that is not known, by the steady clock.
    looked_at: Mutex<Option<Timestamp>>,
}

/// A reading of the keys. Of two, the one that began later holds, whichever came back first: otherwise the earlier could
/// bring an ended key back.
struct Reading {
    keys: Arc<Keys>,
    number: u64,
    /// By the steady clock.
    began_at: Option<Timestamp>,
}

/// What the database said, newest first.
struct Keys {
    newest: Option<(KeyId, Timestamp)>,
    signing: Vec<Arc<Signing>>,
    verifying: HashMap<KeyId, Verifying>,
    public: Vec<(KeyId, String)>,
}

struct Signing {
    id: KeyId,
    signs_from: Timestamp,
    header: Header,
    key: EncodingKey,
}

struct Verifying {
    retires_at: Option<Timestamp>,
    key: DecodingKey,
}

/// A JWT whose signature and common claims are right, and whose time has not come.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) kid: KeyId,
    pub(crate) claims: Claims,
}

impl Signed {
    /// Bytes that it takes in memory, without the scopes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.kid.as_str().len() + self.claims.bytes()
    }
}

/// Why a JWT is not accepted.
#[derive(Debug)]
pub(crate) enum JwtError {
    /// Ours, but its time is over; its holder should get another.
    Expired,
    /// Not ours, or not of a kind that opens anything here, or of a key that has ended.
    Invalid,
    /// Nobody can say: the database does not answer.
    Unavailable(StoreError),
}

/// A public key in the form of RFC 7517 and RFC 8037 §2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct Jwk {
    kty: &'static str,
    crv: &'static str,
    alg: &'static str,
    #[serde(rename = "use")]
    purpose: &'static str,
    #[schema(value_type = String)]
    kid: KeyId,
    x: String,
}

/// The public keys (RFC 7517 §5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct JwkSet {
    keys: Vec<Jwk>,
}

impl Jwk {
    fn of(kid: &KeyId, x: &str) -> Self {
        Self { kty: "OKP", crv: "Ed25519", alg: "EdDSA", purpose: "sig", kid: kid.clone(), x: x.to_owned() }
    }
}

impl JwkSet {
    /// Names this very set (RFC 9110 §8.8.3). A key id stands for one key for ever.
    pub(crate) fn etag(&self) -> String {
        let ids: Vec<&str> = self.keys.iter().map(|key| key.kid.as_str()).collect();
        format!("\"{}\"", ids.join("."))
    }
}

impl KeyRing {
    /// Reads the key pairs from the database and makes the first one where there is none that `seals` open. The first
    /// seal is the one in force; the others are those of a rotation that has not ended.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub(crate) async fn load(
        store: Store,
        seals: Vec<Seal>,
        chance: Chance,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let known = store.list_signing_keys().await?;
        let keys = Arc::new(Keys::of(&known, &seals, &[]));
        let latest = RwLock::new(Reading { keys, number: 0, began_at: None });
        let ring = Self { store, seals, chance, latest, begun: AtomicU64::new(0), looked_at: Mutex::default() };
        if ring.keys().signing.is_empty() {
            if let Some(newest) = known.first() {
                tracing::warn!(kid = %newest.id, "the signing key was sealed under a secret that is gone; making a new one");
            }
            // Another instance may be quicker; then its key is in the list and opens like ours.
            ring.add(known.first().map(|key| &key.id), now.plus(OVERLAP), now).await?;
        }
        if ring.keys().signing.is_empty() {
            return Err(StoreError::Malformed { column: "sealed_private_key" });
        }
        Ok(ring)
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.latest.read().unwrap_or_else(PoisonError::into_inner).keys)
    }

    /// To be called before the database is asked, for what it will say.
    fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn set(&self, known: &[SigningKey], number: u64, began_at: Option<Timestamp>) {
        let keys = Arc::new(Keys::of(known, &self.seals, &self.keys().signing));
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        if number > latest.number {
            *latest = Reading { keys, number, began_at };
        }
    }

    /// Reads the keys again.
    pub(crate) async fn reload(&self, clock: &dyn Clock) -> Result<(), StoreError> {
        let (number, began_at) = (self.begin(), clock.steady());
        let known = self.store.list_signing_keys().await?;
        self.set(&known, number, Some(began_at));
        Ok(())
    }

    /// Reads the keys again, unless that has been begun after `since`, by the steady clock.
    pub(crate) async fn reload_since(&self, since: Timestamp, clock: &dyn Clock) -> Result<(), StoreError> {
        let began_at = self.latest.read().unwrap_or_else(PoisonError::into_inner).began_at;
        if began_at.is_some_and(|began_at| began_at > since) { Ok(()) } else { self.reload(clock).await }
    }

    /// Makes the next key when the newest has signed for long enough.
    pub(crate) async fn rotate_if_due(&self, now: Timestamp) -> Result<(), StoreError> {
        match &self.keys().newest {
            Some((newest, made)) if made.plus(ROTATE_AFTER) <= now => {
                self.add(Some(newest), now.plus(OVERLAP), now).await?;
                tracing::info!("a new key signs from now on; the one before it verifies for another 30 days");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Makes the next key now; those before it verify until `others_until`. Returns its id.
    pub(super) async fn rotate(&self, others_until: Timestamp, now: Timestamp) -> Result<KeyId, StoreError> {
        loop {
            let before = self.keys().newest.as_ref().map(|(id, _)| id.clone());
            // Unless an instance that made one at the same time was quicker: then it is among those that are to end.
            if let Some(added) = self.add(before.as_ref(), others_until, now).await? {
                return Ok(added);
            }
        }
    }

    /// Makes a key after `newest`, if that is still the newest, and returns its id if so. Whoever was quicker, its key is
    /// known from now on.
    async fn add(
        &self,
        newest: Option<&KeyId>,
        others_until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<KeyId>, StoreError> {
        let number = self.begin();
        let key = generate(&self.seals[0], &self.chance, now);
        let event = NewEvent {
            id: self.chance.with(|rng| EventId::generate(rng)),
            at: now,
            actor: Actor { service: Some(auth_api::AUTH_SERVICE.to_owned()), ..Actor::default() },
            client: ClientInfo::default(),
            metadata: BTreeMap::new(),
        };
        let known = self.store.add_signing_key(&key, newest, others_until, &event).await?;
        self.set(&known, number, None);
        Ok(known.iter().any(|known| known.id == key.id).then_some(key.id))
    }

    /// Signs. The same claims under the same key give the same JWT.
    pub(crate) fn sign(&self, claims: &Claims, now: Timestamp) -> String {
        let keys = self.keys();
        let is_good = |key: &&Arc<Signing>| keys.verifying.get(&key.id).is_some_and(|known| known.is_good(now));
        let mut good = keys.signing.iter().filter(is_good);
        let fallback = good.clone().next().or(keys.signing.first());
        let signing = good.find(|key| key.signs_from <= now).or(fallback).expect("a ring has a key that signs");
        jsonwebtoken::encode(&signing.header, claims, &signing.key).expect("plain claims can always be signed")
    }

    /// Whether a signature that was right under this key still counts.
    pub(crate) fn accepts(&self, kid: &KeyId, now: Timestamp) -> bool {
        self.keys().verifying.get(kid).is_some_and(|known| known.is_good(now))
    }

    /// A current JWT of ours. Costs about 50 µs for the signature; callers remember the outcome.
    pub(crate) async fn verify(&self, jwt: &str, clock: &dyn Clock, at: Moment) -> Result<Signed, JwtError> {
        let now = at.wall;
        let kid = jsonwebtoken::decode_header(jwt).ok().and_then(|header| header.kid);
        let kid: KeyId = kid.and_then(|kid| kid.try_into().ok()).ok_or(JwtError::Invalid)?;
        if !self.keys().verifying.contains_key(&kid) && self.may_look_again(at.steady) {
            self.reload(clock).await.map_err(JwtError::Unavailable)?;
        }
        let keys = self.keys();
        let known = keys.verifying.get(&kid).filter(|known| known.is_good(now)).ok_or(JwtError::Invalid)?;

        let claims: Claims = jws::read(jwt, Algorithm::EdDSA, &known.key).map_err(|_| JwtError::Invalid)?;
        if !claims.are_in_order() {
            return Err(JwtError::Invalid);
        }
        if now >= claims.expires_at() {
            return Err(JwtError::Expired);
        }
        Ok(Signed { kid, claims })
    }

    fn may_look_again(&self, now: Timestamp) -> bool {
        let mut looked_at = self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = looked_at.is_none_or(|before| now.since(before) >= LOOK_AGAIN_AFTER);
        if is_due {
            *looked_at = Some(now);
        }
        is_due
    }

    /// The public keys that verify now, newest first.
    pub(crate) fn public_keys(&self, now: Timestamp) -> JwkSet {
        let keys = self.keys();
        let is_good = |id: &KeyId| keys.verifying.get(id).is_some_and(|known| known.is_good(now));
        JwkSet { keys: keys.public.iter().filter(|(id, _)| is_good(id)).map(|(id, x)| Jwk::of(id, x)).collect() }
    }
}

impl Verifying {
    fn is_good(&self, now: Timestamp) -> bool {
        self.retires_at.is_none_or(|end| now < end)
    }
}

impl Keys {
    /// `opened` are those that an earlier reading could open: during a change of the seal key another instance may have
    /// sealed them anew, under a key that this one does not have yet.
    fn of(known: &[SigningKey], seals: &[Seal], opened: &[Arc<Signing>]) -> Self {
        let oldest = known.last().map(|key| key.created_at);
        let signing = |key: &SigningKey| {
            let name = key.id.as_str();
            let pkcs8 = seals.iter().find_map(|seal| seal.open(name, &key.sealed_private_key));
            let Some(pkcs8) = pkcs8 else { return opened.iter().find(|opened| opened.id == key.id).cloned() };
            let mut header = Header::new(Algorithm::EdDSA);
            header.kid = Some(key.id.to_string());
            // The first one has nobody to wait for.
            let lead = if Some(key.created_at) == oldest { Duration::ZERO } else { LEAD };
            let signs_from = key.created_at.plus(lead);
            Some(Arc::new(Signing {
                id: key.id.clone(),
                signs_from,
                header,
                key: EncodingKey::from_ed_der(pkcs8.expose_secret()),
            }))
        };
        let verifying = |key: &SigningKey| {
            let decoding = DecodingKey::from_ed_components(&key.public_key).ok()?;
            Some((key.id.clone(), Verifying { retires_at: key.retires_at, key: decoding }))
        };
        let mut signing: Vec<Arc<Signing>> = known.iter().filter_map(signing).collect();
        if signing.is_empty() {
            signing = opened.to_vec();
        }
        Self {
            newest: known.first().map(|key| (key.id.clone(), key.created_at)),
            signing,
            verifying: known.iter().filter_map(verifying).collect(),
            public: known.iter().map(|key| (key.id.clone(), key.public_key.clone())).collect(),
        }
    }
}

fn generate(seal: &Seal, chance: &Chance, now: Timestamp) -> SigningKey {
    let kid = chance.with(|rng| KeyId::generate(rng));
    let mut seed = [0u8; 32];
    chance.with(|rng| rng.fill_bytes(&mut seed));
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("any 32 bytes are an Ed25519 seed");
    let pkcs8 = pair.to_pkcs8v1().expect("a key pair has a PKCS #8 form");
    let sealed: SecretSlice<u8> = pkcs8.as_ref().to_vec().into();
    SigningKey {
        public_key: BASE64URL.encode(pair.public_key()),
        sealed_private_key: seal.seal(kid.as_str(), &sealed),
        seal_key: seal.id().clone(),
        created_at: now,
        retires_at: None,
        id: kid,
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::{self, ThumbprintHash};

    use super::*;

    /// RFC 8037, appendix A: the private key of A.1 signs what A.4 has, the public key of A.2 is published so that
    /// others find the thumbprint of A.3 in it.
    #[test]
    fn the_keys_and_signatures_are_those_of_rfc_8037() {
        let seed = BASE64URL.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let x = BASE64URL.encode(pair.public_key());
        assert_eq!(x, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");

        let signed = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let key = EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref());
        assert_eq!(jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::EdDSA).unwrap(), signature);
        let key = DecodingKey::from_ed_components(&x).unwrap();
        assert!(jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key, Algorithm::EdDSA).unwrap());

        let published = serde_json::to_value(Jwk::of(&"key-1".to_owned().try_into().unwrap(), &x)).unwrap();
        let read: jwk::Jwk = serde_json::from_value(published).unwrap();
        let thumbprint = read.thumbprint(ThumbprintHash::SHA256).unwrap();
        assert_eq!(thumbprint, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
