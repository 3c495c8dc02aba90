//! Refresh JWTs: HS256 with `JWT_REFRESH_SECRET`.

use domain::{Digest, DigestKey, SessionId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{SessionClaims, jws};

/// Signs and verifies refresh JWTs, and digests them for the database.
pub(crate) struct RefreshKey {
    signing: EncodingKey,
    verifying: DecodingKey,
    digest: DigestKey,
}

/// What a refresh JWT says: its kind, so that nothing else is taken for one, and whose it is.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Claims {
    Refresh(SessionClaims),
}

impl RefreshKey {
    pub(crate) fn new(secret: &SecretString) -> Self {
        let bytes = secret.expose_secret().as_bytes();
        Self {
            signing: EncodingKey::from_secret(bytes),
            verifying: DecodingKey::from_secret(bytes),
            digest: DigestKey::derive(bytes, "refresh"),
        }
    }

    pub(crate) fn sign(&self, claims: SessionClaims) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &Claims::Refresh(claims), &self.signing)
            .expect("plain claims can always be signed")
    }

    /// The claims of a JWT that we signed; whether its time is over is the caller's question.
    pub(crate) fn verify(&self, jwt: &str) -> Option<SessionClaims> {
        let Claims::Refresh(claims) = jws::read(jwt, Algorithm::HS256, &self.verifying).ok()?;
        claims.are_in_order().then_some(claims)
    }

    /// What the database keeps of a refresh JWT: a digest of what identifies it. The rest of its claims follow from its
    /// session's row.
    pub(crate) fn digest(&self, session_id: &SessionId, generation: i64) -> Digest {
        self.digest.digest(&[session_id.as_str(), &generation.to_string()])
    }
}
