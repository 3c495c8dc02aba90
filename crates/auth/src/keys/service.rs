//! Service JWTs (contract §4): HS256 with `JWT_SECRET`, at most five minutes long.

use auth_api::{AUTH_SERVICE, BACKEND_SERVICE, MAX_SERVICE_JWT_SECONDS, SERVICE_TO_SERVICE, ServiceClaims};
use domain::{ClientInfo, Scopes, SessionId, Timestamp, TokenId, TokenSecretId, UserId};
use jsonwebtoken::{Algorithm, DecodingKey};
use quick_cache::sync::Cache;
use secrecy::{ExposeSecret, SecretString};

use super::jws;

/// The clocks of two machines may differ by this much before a fresh JWT looks as if it came from the future.
const CLOCK_SKEW_SECONDS: i64 = 30;

/// The secrets under which a service JWT is accepted.
pub(crate) struct ServiceKeys {
    keys: Vec<DecodingKey>,
    /// JWTs for no user, whose signature and claims were good, and when they end: a service shows the same one with
    /// every validation for minutes. They are found by a hash under random keys, so how long a look takes tells
    /// nothing about a JWT that is not there.
    known: Cache<Box<[u8]>, i64>,
}

/// JWTs that are remembered at most; each instance of a backend shows one at a time.
const KNOWN: usize = 1_024;

/// A call by a trusted service.
#[derive(Debug, Clone)]
pub(crate) struct ServiceCall {
    pub(crate) service: String,
    /// On whose behalf; a call without one may only validate.
    pub(crate) user_id: Option<UserId>,
    /// The credential by which that user called the service.
    pub(crate) token_id: Option<TokenId>,
    /// That token's secret which was shown, or by which the narrowed JWT was got.
    pub(crate) secret_id: Option<TokenSecretId>,
    /// What a JWT has of that token's scopes, where the user called by one that was narrowed.
    pub(crate) scopes: Option<Scopes>,
    /// Whether that JWT is good for some audience only.
    pub(crate) is_for_an_audience: bool,
    pub(crate) session_id: Option<SessionId>,
    /// When that credential ends, as the service was told.
    pub(crate) expires_at: Option<Timestamp>,
    /// The end user's call, for the audit log; what the service did not say is unknown, not the service's own.
    pub(crate) client: Option<ClientInfo>,
    /// Whether it says from where the user called, with an address or with something that is none.
    pub(crate) names_address: bool,
}

impl ServiceKeys {
    pub(crate) fn new(secrets: &[SecretString]) -> Self {
        let keys = secrets.iter().map(|secret| DecodingKey::from_secret(secret.expose_secret().as_bytes())).collect();
        Self { keys, known: Cache::new(KNOWN) }
    }

    /// Whether [`verify`](Self::verify) accepts the JWT, where on whose behalf does not matter.
    pub(crate) fn vouches(&self, presented: &[u8], now: Timestamp) -> bool {
        if let Some(end) = self.known.get(presented) {
            return now.as_seconds() < end;
        }
        let jwt = str::from_utf8(presented).unwrap_or_default();
        let Some((call, end)) = self.examine(jwt, now) else { return false };
        // One for a user is for that one call.
        if call.user_id.is_none() {
            self.known.insert(presented.into(), end);
        }
        true
    }

    /// The call that the JWT vouches for. `None` for everything else, without saying why: whoever forges one learns
    /// nothing from the answer.
    pub(crate) fn verify(&self, jwt: &str, now: Timestamp) -> Option<ServiceCall> {
        self.examine(jwt, now).map(|(call, _)| call)
    }

    /// The call, and when the JWT ends, in seconds since the epoch.
    fn examine(&self, jwt: &str, now: Timestamp) -> Option<(ServiceCall, i64)> {
        let read = |key| jws::read::<ServiceClaims>(jwt, Algorithm::HS256, key).ok();
        let claims = self.keys.iter().find_map(read)?;

        let now = now.as_seconds();
        let lives = claims.exp.checked_sub(claims.iat)?;
        let begins = claims.nbf.map_or(claims.iat, |begins| begins.max(claims.iat));
        let is_current = begins <= now + CLOCK_SKEW_SECONDS && now < claims.exp;
        let is_short = (1..=MAX_SERVICE_JWT_SECONDS).contains(&lives);
        let is_ours = claims.kind == SERVICE_TO_SERVICE
            && claims.service == BACKEND_SERVICE
            && claims.iss.is_none_or(|issuer| issuer == BACKEND_SERVICE)
            && claims.aud.is_none_or(|audience| audience == AUTH_SERVICE);
        if !(is_current && is_short && is_ours) {
            return None;
        }
        let names_address = claims.meta.as_ref().is_some_and(|meta| meta.ip.is_some());
        let client = claims.meta.map(|meta| ClientInfo {
            ip: meta.ip.and_then(|ip| ip.parse().ok()),
            user_agent: meta.user_agent.as_deref().and_then(ClientInfo::clean_user_agent),
            request_id: meta.request_id.filter(|id| ClientInfo::is_sane_request_id(id)),
        });
        let call = ServiceCall {
            service: claims.service,
            user_id: claims.user_id,
            token_id: claims.token_id,
            secret_id: claims.secret_id,
            scopes: claims.scopes,
            is_for_an_audience: claims.audience.is_some(),
            session_id: claims.session_id,
            expires_at: claims.expires_at,
            client,
            names_address,
        };
        Some((call, claims.exp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::{Value, json};

    const SECRET: &str = "an example secret of at least 32 bytes";
    const NOW: i64 = 1_762_603_200;

    fn keys() -> ServiceKeys {
        ServiceKeys::new(&["the next example secret, 32 bytes long".into(), SECRET.into()])
    }

    fn claims() -> Value {
        json!({"type": "service-to-service", "service": "alternatefutures-backend", "iat": NOW, "exp": NOW + 300,
               "userId": "u1", "jti": "j", "meta": {"requestId": "r1", "ip": "203.0.113.9", "userAgent": "ua"}})
    }

    fn sign(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn verify(claims: &Value) -> Option<ServiceCall> {
        keys().verify(&sign(Algorithm::HS256, SECRET, claims), Timestamp::from_seconds(NOW))
    }

    #[test]
    fn a_proper_one_is_accepted_under_every_secret_of_the_rotation() {
        let call = verify(&claims()).unwrap();
        assert_eq!(call.user_id.unwrap().as_str(), "u1");
        assert_eq!(call.client.unwrap().ip.unwrap().to_string(), "203.0.113.9");

        let next = sign(Algorithm::HS256, "the next example secret, 32 bytes long", &claims());
        assert!(keys().verify(&next, Timestamp::from_seconds(NOW)).is_some());
    }

    #[test]
    fn what_is_remembered_ends_on_time_and_is_what_was_verified() {
        let keys = keys();
        let at = |seconds| Timestamp::from_seconds(NOW + seconds);
        let mut for_nobody = claims();
        for_nobody.as_object_mut().unwrap().remove("userId");
        let good = sign(Algorithm::HS256, SECRET, &for_nobody);
        for _ in 0..3 {
            assert!(keys.vouches(good.as_bytes(), at(0)) && keys.vouches(good.as_bytes(), at(299)));
            assert!(!keys.vouches(good.as_bytes(), at(300)));
            for wrong in [&good[..good.len() - 1], &format!("{good}A"), ""] {
                assert!(!keys.vouches(wrong.as_bytes(), at(0)), "{wrong}");
            }
            assert!(!keys.vouches(b"\xff", at(0)));
        }
        assert_eq!(keys.known.len(), 1, "what was refused is not remembered");

        let for_a_user = sign(Algorithm::HS256, SECRET, &claims());
        let for_a_user = for_a_user.as_bytes();
        assert!(keys.vouches(for_a_user, at(0)) && !keys.vouches(for_a_user, at(300)));
        assert_eq!(keys.known.len(), 1, "nor what is for one call");
    }

    /// RFC 7515 §4.1.11, RFC 7797 §6: whoever says so means a JWT that we would misread.
    #[test]
    fn what_a_header_calls_critical_is_refused() {
        let crit = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        for names in [&["b64"][..], &["exp"], &["http://example.com/UNDEFINED"], &[]] {
            let header = Header { crit: crit(names), ..Header::new(Algorithm::HS256) };
            let jwt = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
            assert!(keys().verify(&jwt, Timestamp::from_seconds(NOW)).is_none(), "{names:?}");
        }
    }

    #[test]
    fn minimal_claims_suffice() {
        let minimal =
            json!({"type": "service-to-service", "service": "alternatefutures-backend", "iat": NOW, "exp": NOW + 60});
        assert!(verify(&minimal).unwrap().user_id.is_none());
    }

    #[test]
    fn other_claims_are_refused() {
        for (claim, value) in [
            ("type", json!("access")),
            ("type", json!("refresh")),
            ("type", Value::Null),
            ("service", json!("somebody-else")),
            ("service", Value::Null),
            ("iss", json!("somebody-else")),
            ("aud", json!("somebody-else")),
            ("exp", json!(NOW + 301)),
            ("exp", json!(NOW)),
            ("exp", json!((NOW + 60).to_string())),
            ("exp", json!(u64::MAX)),
            ("exp", json!(i64::MAX)),
            ("exp", json!(1e300)),
            ("exp", Value::Null),
            ("nbf", json!(NOW + 31)),
            ("nbf", json!((NOW).to_string())),
            ("iat", json!(NOW + 31)),
            ("iat", json!(i64::MIN)),
            ("iat", json!(NOW - 1)),
            ("iat", Value::Null),
            ("userId", json!(7)),
            ("userId", json!("../u2")),
        ] {
            let mut claims = claims();
            claims[claim] = value.clone();
            assert!(verify(&claims).is_none(), "{claim}: {value}");
        }
        for claim in ["type", "service", "iat", "exp"] {
            let mut claims = claims();
            claims.as_object_mut().unwrap().remove(claim);
            assert!(verify(&claims).is_none(), "without {claim}");
        }
    }

    #[test]
    fn other_signatures_are_refused() {
        let now = Timestamp::from_seconds(NOW);
        let good = sign(Algorithm::HS256, SECRET, &claims());
        let (head, signature) = good.rsplit_once('.').unwrap();
        let body = head.split_once('.').unwrap().1;
        // {"alg":"none","typ":"JWT"}
        let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";

        for forged in [
            sign(Algorithm::HS256, "not the secret, though long enough", &claims()),
            sign(Algorithm::HS384, SECRET, &claims()),
            sign(Algorithm::HS512, SECRET, &claims()),
            format!("{none}.{body}."),
            format!("{none}.{body}.{signature}"),
            format!("{head}."),
            head.to_owned(),
            format!("{good}.{signature}"),
            String::new(),
            "...".to_owned(),
            "ä.ö.ü".to_owned(),
        ] {
            assert!(keys().verify(&forged, now).is_none(), "{forged}");
        }
        assert!(keys().verify(&good, now).is_some());
    }
}
