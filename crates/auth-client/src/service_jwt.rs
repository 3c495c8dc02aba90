//! How we prove to the auth service who is calling, and for whom (contract §4).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use auth_api::{
    AUTH_SERVICE, BACKEND_SERVICE, MAX_SERVICE_JWT_SECONDS, SERVICE_TO_SERVICE, ServiceClaims, ServiceMeta,
};
use domain::{Chance, ClientInfo, EventId, Timestamp};
use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};

use crate::{Credential, EndUser};

/// A JWT is not used any more when it has less than this left: the call has to arrive, and clocks differ.
const SPARE: Duration = Duration::from_mins(1);

/// Makes service JWTs, and keeps the one for validation until shortly before its end.
pub(crate) struct ServiceJwts {
    key: EncodingKey,
    chance: Chance,
    for_validation: Mutex<Option<(Timestamp, HeaderValue)>>,
}

impl ServiceJwts {
    pub(crate) fn new(secret: &SecretString, chance: Chance) -> Self {
        let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
        Self { key, chance, for_validation: Mutex::new(None) }
    }

    /// The `Authorization` header of a validation: in nobody's name, the same for all of them.
    pub(crate) fn for_validation(&self, now: Timestamp) -> HeaderValue {
        let mut kept = self.for_validation.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, header)) = &*kept {
            let life = Duration::from_secs(MAX_SERVICE_JWT_SECONDS.unsigned_abs());
            // A clock that was set back must not make one live on.
            if *made <= now && now < made.plus(life.saturating_sub(SPARE)) {
                return header.clone();
            }
        }
        let header = self.sign(None, now);
        *kept = Some((now, header.clone()));
        header
    }

    /// The `Authorization` header of one call on behalf of `user`.
    pub(crate) fn on_behalf_of(&self, user: &EndUser, now: Timestamp) -> HeaderValue {
        self.sign(Some(user), now)
    }

    fn sign(&self, user: Option<&EndUser>, now: Timestamp) -> HeaderValue {
        let iat = now.as_seconds();
        let (token_id, scopes, session_id) = match user.map(|user| &user.credential) {
            Some(Credential::Token(id)) => (Some(id.clone()), None, None),
            Some(Credential::Narrowed { parent, scopes }) => (Some(parent.clone()), Some(scopes.clone()), None),
            Some(Credential::Session(id)) => (None, None, Some(id.clone())),
            None => (None, None, None),
        };
        let claims = ServiceClaims {
            kind: SERVICE_TO_SERVICE.to_owned(),
            service: BACKEND_SERVICE.to_owned(),
            iat,
            exp: iat.saturating_add(MAX_SERVICE_JWT_SECONDS),
            nbf: None,
            user_id: user.map(|user| user.id.clone()),
            token_id,
            secret_id: user.and_then(|user| user.bounds.secret_id.clone()),
            scopes,
            audience: user.and_then(|user| user.bounds.audience.clone()),
            expires_at: user.and_then(|user| user.expires_at),
            session_id,
            iss: Some(BACKEND_SERVICE.to_owned()),
            aud: Some(AUTH_SERVICE.to_owned()),
            jti: Some(self.chance.with(|rng| EventId::generate(rng)).to_string()),
            meta: user.map(|user| meta(&user.client)),
        };
        let jwt = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key);
        let jwt = jwt.expect("claims of strings and numbers are JSON, and HMAC takes keys of any length");
        let mut header = HeaderValue::try_from(format!("Bearer {jwt}")).expect("a JWT is base64url and dots");
        header.set_sensitive(true);
        header
    }
}

fn meta(client: &ClientInfo) -> ServiceMeta {
    ServiceMeta {
        request_id: client.request_id.clone(),
        ip: client.ip.map(|ip| ip.to_string()),
        user_agent: client.user_agent.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use auth_api::Bounds;
    use jsonwebtoken::{DecodingKey, Validation};
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    const SECRET: &str = "an example secret of at least 32 bytes";
    const T0: Timestamp = Timestamp::from_seconds(1_762_603_200);

    fn jwts() -> ServiceJwts {
        ServiceJwts::new(&SECRET.into(), Chance::new(ChaCha20Rng::seed_from_u64(1)))
    }

    fn claims(header: &HeaderValue) -> ServiceClaims {
        assert!(header.is_sensitive());
        let jwt = header.to_str().unwrap().strip_prefix("Bearer ").unwrap();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.set_audience(&[AUTH_SERVICE]);
        jsonwebtoken::decode(jwt, &DecodingKey::from_secret(SECRET.as_bytes()), &validation).unwrap().claims
    }

    #[test]
    fn a_validation_is_in_nobodys_name() {
        let claims = claims(&jwts().for_validation(T0));
        assert_eq!((claims.user_id, claims.token_id, claims.session_id, claims.meta), (None, None, None, None));
        assert_eq!((claims.kind.as_str(), claims.service.as_str()), (SERVICE_TO_SERVICE, BACKEND_SERVICE));
        assert_eq!(claims.exp - claims.iat, 300);
        assert_eq!(claims.iss.as_deref(), Some(BACKEND_SERVICE));
        assert_eq!(claims.jti.unwrap().len(), 21);
    }

    #[test]
    fn the_one_for_validation_is_reused_until_sixty_seconds_before_its_end() {
        let jwts = jwts();
        let first = jwts.for_validation(T0);
        let at = |seconds| jwts.for_validation(T0.plus(Duration::from_secs(seconds)));
        assert_eq!(at(239), first);
        let second = at(240);
        assert_ne!(second, first);
        assert_eq!(claims(&second).iat, T0.as_seconds() + 240);
        assert_ne!(at(0), second, "a clock set back makes a new one");
    }

    #[test]
    fn a_call_for_a_user_names_the_user_the_credential_and_the_call() {
        let client = ClientInfo {
            ip: Some("203.0.113.9".parse().unwrap()),
            user_agent: Some("curl/8".to_owned()),
            request_id: Some("r1".to_owned()),
        };
        let credential = Credential::Token("t1".parse().unwrap());
        let bounds = Bounds { secret_id: Some("k1".parse().unwrap()), audience: Some(vec!["them".to_owned()]) };
        let expires_at = Some(T0.plus(Duration::from_millis(1)));
        let mut user = EndUser { id: "u1".parse().unwrap(), credential, bounds, expires_at, client };
        let jwts = jwts();
        let first = claims(&jwts.on_behalf_of(&user, T0));
        assert_eq!(first.user_id.unwrap().as_str(), "u1");
        assert_eq!(first.token_id.unwrap().as_str(), "t1");
        assert_eq!(first.session_id, None);
        assert_eq!((first.secret_id, first.audience), (user.bounds.secret_id.clone(), user.bounds.audience.clone()));
        assert_eq!(first.expires_at, expires_at, "to the millisecond");
        let meta = first.meta.unwrap();
        assert_eq!(meta.ip.as_deref(), Some("203.0.113.9"));
        assert_eq!(meta.user_agent.as_deref(), Some("curl/8"));
        assert_eq!(meta.request_id.as_deref(), Some("r1"));

        let scopes: domain::Scopes = "a:b".parse().unwrap();
        user.credential = Credential::Narrowed { parent: "t1".parse().unwrap(), scopes: scopes.clone() };
        let narrowed = claims(&jwts.on_behalf_of(&user, T0));
        assert_eq!((narrowed.token_id.unwrap().as_str(), narrowed.scopes), ("t1", Some(scopes)));

        user.credential = Credential::Session("s1".parse().unwrap());
        user.bounds = Bounds::default();
        let second = claims(&jwts.on_behalf_of(&user, T0));
        assert_eq!(second.session_id.unwrap().as_str(), "s1");
        assert_eq!((second.token_id, second.secret_id, second.audience), (None, None, None));
        assert_ne!(second.jti, first.jti);
    }
}
