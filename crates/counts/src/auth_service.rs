//! The questions that the auth service is asked all the time, from the request to the response.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use auth::{
    AllowedRedirects, App, AuthService, Config, LeakPolicy, Limits, OAuth, Operator, Parts, Reauth, Secrets, Templates,
};
use domain::token::{Kind, TokenSecret};
use domain::{Chance, Clock as _, DigestKey, EmailAddress, Limit, Scopes, TokenId, TokenSecretId, UserId};
use http::{Request, StatusCode, header};
use http_body_util::Full;
use serde_json::json;
use store::{CreationLimits, CreationOutcome, NewToken, NewTokenSecret, NewUserOutcome, Store};
use tempfile::TempDir;
use testkit::{TestClock, seeded_chance, service_jwt};
use url::Url;

use crate::counted::{CALLS, Counter, WholeRequest};

pub(crate) const JWT_SECRET: &str = "the shared secret of both services, for counting";

pub(crate) fn count(counter: &Counter) -> Result<()> {
    let generous = counter.runtime.block_on(Service::start(Limit::per_minute(1_000_000), CALLS))?;
    let app = &mut generous.app.clone();
    let valid = (StatusCode::OK, r#""valid":true"#);
    let invalid = (StatusCode::UNAUTHORIZED, r#""code":"INVALID_TOKEN""#);

    let token = &generous.tokens[0];
    counter.count_requests("auth: validate", app, |_| generous.validate(token), valid)?;
    let in_turn = |call: usize| generous.validate(&generous.tokens[call % CALLS]);
    counter.count_requests("auth: validate, 1,000 tokens in turn", app, in_turn, valid)?;
    let garbage = |_| generous.validate("af_live_0123456789012345678901234567890123456x");
    counter.count_requests("auth: validate, garbage", app, garbage, invalid)?;
    let unknown = generous.new_secrets(2 * CALLS);
    let never_seen = |call: usize| generous.validate(unknown[call].expose());
    counter.count_requests("auth: validate, unknown", app, never_seen, invalid)?;
    let seen = |_| generous.validate(unknown[0].expose());
    counter.count_requests("auth: validate, unknown and asked before", app, seen, invalid)?;
    let may_pass = |_| forward_auth(token);
    counter.count_requests("auth: forward-auth", app, may_pass, (StatusCode::OK, ""))?;

    let strict = counter.runtime.block_on(Service::start(Limit::per_minute(1), 1))?;
    let token = &strict.tokens[0];
    let app = &mut strict.app.clone();
    // The only one that is admitted.
    let Ok(first) = counter.runtime.block_on(tower::Service::call(app, strict.validate(token)?));
    ensure!(first.status() == StatusCode::OK, "the first request of a window was answered {}", first.status());
    let refused = (StatusCode::TOO_MANY_REQUESTS, r#""code":"RATE_LIMIT_EXCEEDED""#);
    counter.count_requests("auth: validate, over its limit", app, |_| strict.validate(token), refused)
}

/// An auth service on a SQLite file of its own, and somebody's tokens.
struct Service {
    app: App,
    chance: Chance,
    clock: TestClock,
    tokens: Vec<String>,
    _folder: TempDir,
}

impl Service {
    async fn start(limit: Limit, tokens: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let url = format!("sqlite://{}", folder.path().join("auth.db").display());
        let store = Store::open(&url, &store::Options::default()).await?;
        store.migrate().await?;
        let (chance, clock) = (seeded_chance(1), TestClock::default());
        let parts = Parts {
            store: store.clone(),
            redis: None,
            clock: Arc::new(clock.clone()),
            chance: chance.clone(),
            mailer: None,
            sms: None,
            templates: Templates::load(None, "Example".to_owned())?,
            outbox: None,
            operations: web::Operations::default(),
        };
        let auth = AuthService::start(config(limit)?, parts).await?;
        let mut service = Self { app: auth::app(auth), chance, clock, tokens: Vec::new(), _folder: folder };
        service.create_tokens(store, tokens).await?;
        Ok(service)
    }

    /// Straight into the database: through the service, each would cost a bcrypt.
    async fn create_tokens(&mut self, store: Store, count: usize) -> Result<()> {
        let operator = Operator::new(store, Arc::new(self.clock.clone()), self.chance.clone(), None);
        let email: EmailAddress = "ann@example.com".parse()?;
        let user = operator.new_user(None, Some("Ann".to_owned()), Some(&email), None);
        let created = operator.store().create_user(&user, &operator.event()).await?;
        ensure!(matches!(created, NewUserOutcome::Created(_)), "nobody to own tokens");
        let digests = DigestKey::derive(JWT_SECRET.as_bytes(), "tokens");
        for secret in self.new_secrets(count) {
            let new = self.new_token(user.id.clone(), &secret, &digests)?;
            let limits = CreationLimits { creations: Limit::per_minute(u32::MAX), max_active: u32::MAX };
            let created = operator.store().create_token(&new, &limits, &operator.event()).await?;
            ensure!(matches!(created, CreationOutcome::Created(_)), "no token: {created:?}");
            self.tokens.push(secret.expose().to_owned());
        }
        Ok(())
    }

    fn new_token(&self, user_id: UserId, secret: &TokenSecret, digests: &DigestKey) -> Result<NewToken> {
        let (id, secret_id) = self.chance.with(|rng| (TokenId::generate(rng), TokenSecretId::generate(rng)));
        Ok(NewToken {
            id,
            user_id,
            name: "a token".parse()?,
            scopes: Scopes::all(),
            allowed_ips: None,
            expires_at: None,
            secret: NewTokenSecret {
                id: secret_id,
                hash: "never looked at while the digest is found".to_owned(),
                digest: digests.digest(&[secret.expose()]),
                seal_key: digests.id().clone(),
                prefix: secret.prefix().to_owned(),
            },
        })
    }

    fn new_secrets(&self, count: usize) -> Vec<TokenSecret> {
        let new = || self.chance.with(|rng| TokenSecret::generate(Kind::Live, rng));
        (0..count).map(|_| new()).collect()
    }

    /// As the backend asks.
    fn validate(&self, token: &str) -> Result<WholeRequest> {
        let jwt = service_jwt(JWT_SECRET, self.clock.now()).sign();
        let body = json!({ "token": token }).to_string();
        let request = Request::post("/tokens/validate")
            .header(header::AUTHORIZATION, format!("Bearer {jwt}"))
            .header(header::CONTENT_TYPE, "application/json");
        Ok(from_a_connection(request.body(body.into())?))
    }
}

/// As a proxy asks.
fn forward_auth(token: &str) -> Result<WholeRequest> {
    let request = Request::get("/forward-auth").header(header::AUTHORIZATION, format!("Bearer {token}"));
    Ok(from_a_connection(request.body(Full::default())?))
}

/// A request with what the server notes about its connection, and the headers that any client sends.
pub(crate) fn from_a_connection(mut request: WholeRequest) -> WholeRequest {
    request.extensions_mut().insert(web::Peer(SocketAddr::from((Ipv4Addr::new(198, 51, 100, 1), 40_000))));
    let headers = request.headers_mut();
    headers.insert(header::HOST, header::HeaderValue::from_static("auth.example.com"));
    headers.insert(header::USER_AGENT, header::HeaderValue::from_static("counts/1.0"));
    request
}

fn config(limit: Limit) -> Result<Config> {
    let origin: Url = "https://app.example.com".parse()?;
    let minute = Duration::from_mins(1);
    Ok(Config {
        secrets: Secrets {
            service_jwt: vec![JWT_SECRET.into()],
            refresh_jwt: "the secret of the refresh tokens, for counting".into(),
            seal: Vec::new(),
        },
        access_lifetime: 15 * minute,
        refresh_lifetime: 60 * minute,
        session_max_lifetime: 60 * minute,
        reauth: Reauth::default(),
        limits: Limits { token: limit, ..Limits::default() },
        bcrypt_cost: 4,
        cache_memory: Config::CACHE_MEMORY,
        trusted_proxies: web::TrustedProxies::default(),
        leak_policy: LeakPolicy::Revoke,
        security_mails: true,
        cors_origins: Vec::new(),
        oauth: OAuth {
            providers: Vec::new(),
            public_url: origin.clone(),
            redirects: AllowedRedirects::new(origin.clone(), &[]),
            timeout: OAuth::TIMEOUT,
        },
        public_url: origin.clone(),
        app_url: None,
        audit_retention: None,
        validate_allow_anonymous: false,
        sign_in_domain: "app.example.com".to_owned(),
        sign_in_uri: origin.to_string(),
        ethereum: None,
    })
}
