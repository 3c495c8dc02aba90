//! Service JWTs, right and wrong ones.

use std::time::Duration;

use auth_api::{AUTH_SERVICE, BACKEND_SERVICE, SERVICE_TO_SERVICE};
use domain::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};

/// A service JWT in the making. It begins as the backend's own and becomes as wrong as a test wants it.
#[derive(Debug, Clone)]
pub struct ServiceJwt {
    secret: String,
    algorithm: Algorithm,
    claims: Map<String, Value>,
}

/// What the backend sends to validate: issued now, one minute long, for no user.
#[must_use]
pub fn service_jwt(secret: &str, now: Timestamp) -> ServiceJwt {
    let claims = json!({
        "type": SERVICE_TO_SERVICE,
        "service": BACKEND_SERVICE,
        "iss": BACKEND_SERVICE,
        "aud": AUTH_SERVICE,
        "iat": now.as_seconds(),
        "exp": now.plus(Duration::from_mins(1)).as_seconds(),
        "jti": "testkit",
    });
    let Value::Object(claims) = claims else { unreachable!("the claims are an object") };
    ServiceJwt { secret: secret.to_owned(), algorithm: Algorithm::HS256, claims }
}

impl ServiceJwt {
    /// On behalf of this user.
    #[must_use]
    pub fn user(self, user_id: &str) -> Self {
        self.claim("userId", user_id)
    }

    /// Any claim with any value, in the place of what is there.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a claim out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Signs with another algorithm of the HMAC family.
    #[must_use]
    pub fn algorithm(self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self }
    }

    /// The JWT.
    #[must_use]
    pub fn sign(&self) -> String {
        let key = EncodingKey::from_secret(self.secret.as_bytes());
        jsonwebtoken::encode(&Header::new(self.algorithm), &self.claims, &key).expect("HMAC signs any claims")
    }
}
