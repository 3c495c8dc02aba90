//! Access JWTs: EdDSA (RFC 8037), so that holding `JWT_SECRET` forges no session.

use std::collections::HashMap;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use domain::{Chance, KeyId, SessionId, Timestamp, UserId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretSlice};
use serde::{Deserialize, Serialize};
use store::{SigningKey, Store, StoreError};

use super::{ISSUER, SESSION_AUDIENCE, Seal};

const TYPE: &str = "access";

/// The claims of an access JWT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccessClaims {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "userId")]
    pub(crate) user_id: UserId,
    pub(crate) email: Option<String>,
    #[serde(rename = "sessionId")]
    pub(crate) session_id: SessionId,
    iss: String,
    aud: String,
    iat: i64,
    exp: i64,
    jti: String,
}

impl AccessClaims {
    pub(crate) fn new(
        session_id: SessionId,
        user_id: UserId,
        email: Option<String>,
        generation: i64,
        issued_at: Timestamp,
        expires_at: Timestamp,
    ) -> Self {
        Self {
            kind: TYPE.to_owned(),
            user_id,
            email,
            session_id,
            iss: ISSUER.to_owned(),
            aud: SESSION_AUDIENCE.to_owned(),
            iat: issued_at.as_seconds(),
            exp: expires_at.as_seconds(),
            jti: generation.to_string(),
        }
    }

    pub(crate) fn expires_at(&self) -> Timestamp {
        Timestamp::from_seconds(self.exp)
    }
}

/// The key pairs of this installation: the newest signs, all verify.
pub(crate) struct AccessKeys {
    signing: EncodingKey,
    header: Header,
    verifying: HashMap<String, DecodingKey>,
}

/// Why a JWT is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExpiredOrInvalid {
    /// Ours, but its time is over; its holder should refresh.
    Expired,
    /// Not ours, or not an access JWT.
    Invalid,
}

impl AccessKeys {
    /// Reads the key pairs from the database and makes the first one where there is none that `seals` open. The first
    /// seal is the one in force; the others are those of a rotation that has not ended.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub(crate) async fn load(
        store: &Store,
        seals: &[Seal],
        chance: &Chance,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut known = store.list_signing_keys().await?;
        let mut signing = known.iter().find_map(|key| open(key, seals));
        if signing.is_none() {
            if let Some(newest) = known.first() {
                tracing::warn!(kid = %newest.id, "the signing key was sealed under a secret that is gone; making a new one");
            }
            let fresh = generate(&seals[0], chance, now);
            known = store.add_first_signing_key(&fresh).await?;
            signing = known.iter().find_map(|key| open(key, seals));
        }
        // Another instance may have been quicker; then its key is now in the list and opens like ours.
        let (kid, pkcs8) = signing.ok_or(StoreError::Malformed { column: "sealed_private_key" })?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(kid);
        Ok(Self { signing: EncodingKey::from_ed_der(pkcs8.expose_secret()), header, verifying: verifying(&known) })
    }

    pub(crate) fn sign(&self, claims: &AccessClaims) -> String {
        jsonwebtoken::encode(&self.header, claims, &self.signing).expect("plain claims can always be signed")
    }

    /// The claims of a current access JWT of ours. Costs about 50 µs for the signature; callers remember the outcome.
    pub(crate) fn verify(&self, jwt: &str, now: Timestamp) -> Result<AccessClaims, ExpiredOrInvalid> {
        let kid =
            jsonwebtoken::decode_header(jwt).ok().and_then(|header| header.kid).ok_or(ExpiredOrInvalid::Invalid)?;
        let key = self.verifying.get(&kid).ok_or(ExpiredOrInvalid::Invalid)?;

        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.validate_exp = false;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[SESSION_AUDIENCE]);
        let claims =
            jsonwebtoken::decode::<AccessClaims>(jwt, key, &validation).map_err(|_| ExpiredOrInvalid::Invalid)?.claims;
        if claims.kind != TYPE {
            return Err(ExpiredOrInvalid::Invalid);
        }
        if now >= claims.expires_at() {
            return Err(ExpiredOrInvalid::Expired);
        }
        Ok(claims)
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
        id: kid,
    }
}

fn open(key: &SigningKey, seals: &[Seal]) -> Option<(String, SecretSlice<u8>)> {
    let pkcs8 = seals.iter().find_map(|seal| seal.open(key.id.as_str(), &key.sealed_private_key))?;
    Some((key.id.to_string(), pkcs8))
}

fn verifying(keys: &[SigningKey]) -> HashMap<String, DecodingKey> {
    keys.iter()
        .filter_map(|key| {
            let verifying = DecodingKey::from_ed_components(&key.public_key).ok()?;
            Some((key.id.to_string(), verifying))
        })
        .collect()
}
