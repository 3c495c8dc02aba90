//! Refresh JWTs: HS256 with `JWT_REFRESH_SECRET`.

use domain::{Digest, DigestKey, SessionId, Timestamp, UserId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{ISSUER, SESSION_AUDIENCE};

const TYPE: &str = "refresh";

/// Signs and verifies refresh JWTs, and digests them for the database.
pub(crate) struct RefreshKey {
    signing: EncodingKey,
    verifying: DecodingKey,
    digest: DigestKey,
}

/// The claims of a refresh JWT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefreshClaims {
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
    /// Which pair of its session this is, counted from 0. Together with the signature it says everything about the
    /// token, so the pair can be made again for a client that lost the reply.
    #[serde(rename = "jti")]
    generation: String,
}

impl RefreshClaims {
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
            generation: generation.to_string(),
        }
    }

    pub(crate) fn generation(&self) -> Option<i64> {
        self.generation.parse().ok()
    }

    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        now.as_seconds() >= self.exp
    }
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

    pub(crate) fn sign(&self, claims: &RefreshClaims) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.signing)
            .expect("plain claims can always be signed")
    }

    /// The claims of a JWT that we signed; whether its time is over is the caller's question.
    pub(crate) fn verify(&self, jwt: &str) -> Option<RefreshClaims> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[SESSION_AUDIENCE]);
        let claims = jsonwebtoken::decode::<RefreshClaims>(jwt, &self.verifying, &validation).ok()?.claims;
        (claims.kind == TYPE).then_some(claims)
    }

    /// What the database keeps of a refresh JWT: a digest of what identifies it. The rest of its claims follow from its
    /// session's row.
    pub(crate) fn digest(&self, session_id: &SessionId, generation: i64) -> Digest {
        self.digest.digest(&[session_id.as_str(), &generation.to_string()])
    }
}
