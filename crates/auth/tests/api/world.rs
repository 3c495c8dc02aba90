//! A service with a database, a clock and an outbox of its own, and the people who use it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use auth::App;
use auth::{
    AllowedRedirects, AuthService, Config, LeakPolicy, Limits, Mailer, OAuth, Outbox, Parts, Reauth, Secrets,
    SmsSender, Templates,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use domain::{Clock as _, Limit, Timestamp};
use http::{HeaderValue, Method};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use store::Store;
use telemetry::Registry;
use tempfile::TempDir;
use testkit::{ServiceJwt, TestClock, seeded_chance};
use url::Url;
use web::TrustedProxies;

use crate::client::Call;

pub(crate) const JWT_SECRET: &str = "the shared secret of both services, in tests";
pub(crate) const REFRESH_SECRET: &str = "the secret of the refresh tokens, in tests";
/// The service's address as browsers see it.
pub(crate) const PUBLIC_URL: &str = "https://auth.example.com";
/// An origin whose pages may call.
pub(crate) const ORIGIN: &str = "https://app.example.com";

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_mins(1);
pub(crate) const DAY: Duration = Duration::from_hours(24);

/// What a test may want otherwise before the service starts.
pub(crate) struct Setup {
    pub(crate) config: Config,
    /// The outbox, unless a test sends elsewhere.
    pub(crate) mailer: Option<Arc<dyn Mailer>>,
    /// The outbox as well.
    pub(crate) sms: Option<Arc<dyn SmsSender>>,
    pub(crate) shows_outbox: bool,
    pub(crate) options: store::Options,
    pub(crate) redis: Option<limiter::Redis>,
    pub(crate) operations: web::Operations,
}

pub(crate) struct World {
    pub(crate) auth: Arc<AuthService>,
    pub(crate) clock: TestClock,
    pub(crate) outbox: Outbox,
    pub(crate) store: Store,
    app: App,
    folder: Arc<TempDir>,
    starts: u64,
}

/// Somebody who is signed in.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
}

/// A token and its secret.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl World {
    /// With limits that no test reaches by accident; a token has its 1,000 a minute.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self::open(folder, TestClock::default(), 1, change).await
    }

    /// The same installation after its process ended and another one started.
    pub(crate) async fn restart(self, change: impl FnOnce(&mut Setup)) -> Self {
        self.auth.save_windows().await.unwrap();
        self.auth.take_leave().await.unwrap();
        self.killed(change).await
    }

    /// The same after it was killed: whatever it has not written down is lost.
    pub(crate) async fn killed(self, change: impl FnOnce(&mut Setup)) -> Self {
        self.store.close().await;
        Self::open(self.folder, self.clock, self.starts + 1, change).await
    }

    /// Another instance of the same installation.
    pub(crate) async fn beside(&self, change: impl FnOnce(&mut Setup)) -> Self {
        Self::open(Arc::clone(&self.folder), self.clock.clone(), self.starts + 100, change).await
    }

    async fn open(folder: Arc<TempDir>, clock: TestClock, starts: u64, change: impl FnOnce(&mut Setup)) -> Self {
        let outbox = Outbox::new(Arc::new(clock.clone()), |_| {});
        let mut setup = Setup {
            config: config(),
            mailer: Some(Arc::new(outbox.clone())),
            sms: Some(Arc::new(outbox.clone())),
            shows_outbox: false,
            options: store::Options::default(),
            redis: None,
            operations: web::Operations::default(),
        };
        change(&mut setup);
        let store = Store::open(&database_url(&folder), &setup.options).await.unwrap();
        store.migrate().await.unwrap();
        let parts = Parts {
            store: store.clone(),
            redis: setup.redis,
            clock: Arc::new(clock.clone()),
            chance: seeded_chance(starts),
            mailer: setup.mailer,
            sms: setup.sms,
            templates: Templates::load(None, "Example".to_owned()).unwrap(),
            outbox: setup.shows_outbox.then(|| outbox.clone()),
            operations: setup.operations,
        };
        let auth = AuthService::start(setup.config, parts).await.unwrap();
        let app = auth::app(Arc::clone(&auth));
        Self { auth, clock, outbox, store, app, folder, starts }
    }

    /// What the service shows of itself by this name.
    pub(crate) async fn gauge(&self, name: &str) -> usize {
        let mut registry = Registry::default();
        self.auth.register_metrics(&mut registry);
        self.auth.look_at_itself().await;
        let shown = registry.render();
        let line = shown.lines().find_map(|line| line.strip_prefix(&format!("afd_{name} "))).unwrap();
        line.parse().unwrap()
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        Call::new(self.app.clone(), method, path)
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    pub(crate) fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }

    /// What an instance does all the time beside its requests, without which it trusts no copy for long.
    pub(crate) async fn look(&self) {
        self.auth.look().await.unwrap();
    }

    /// So much later, in an instance that has looked all the time.
    pub(crate) async fn later(&self, by: Duration) {
        self.clock.advance(by);
        self.look().await;
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn request_code(&self, email: &str) -> Call {
        self.post("/auth/email/request").json(&json!({ "email": email }))
    }

    pub(crate) fn verify_code(&self, email: &str, code: &str) -> Call {
        self.post("/auth/email/verify").json(&json!({ "email": email, "code": code }))
    }

    pub(crate) fn refresh(&self, refresh: &str) -> Call {
        self.post("/auth/refresh").json(&json!({ "refreshToken": refresh }))
    }

    /// Asks for a code; the id of the flow that begins.
    pub(crate) async fn begin_flow(&self, email: &str, from: &str) -> String {
        let reply = self.request_code(email).from(from).await.ok(200);
        reply["flowId"].as_str().unwrap().to_owned()
    }

    pub(crate) fn verify_in(&self, flow: &str, email: &str, code: &str) -> Call {
        self.post("/auth/email/verify").json(&json!({ "email": email, "code": code, "flowId": flow }))
    }

    /// The code of ten characters of the last mail to this address.
    pub(crate) fn mailed_long_code(&self, email: &str) -> String {
        let mail = self.outbox.mails().into_iter().find(|mail| mail.to == email).unwrap();
        let code = mail.text.lines().map(str::trim).find(|line| line.len() == 11 && line.as_bytes()[5] == b'-');
        code.unwrap().to_owned()
    }

    /// The code of the last mail to this address, which must be normalised.
    pub(crate) fn mailed_code(&self, email: &str) -> String {
        let mail = self.outbox.mails().into_iter().find(|mail| mail.to == email).unwrap();
        let code = mail.text.lines().map(str::trim).find(|line| line.len() == 6 && line.parse::<u32>().is_ok());
        code.unwrap().to_owned()
    }

    pub(crate) async fn sign_in(&self, email: &str) -> Person {
        self.request_code(email).await.ok(200);
        person(&self.verify_code(email, &self.mailed_code(email)).await.ok(200))
    }

    pub(crate) async fn ann(&self) -> Person {
        self.sign_in("ann@example.com").await
    }

    pub(crate) async fn bob(&self) -> Person {
        self.sign_in("bob@example.com").await
    }

    /// A token with all scopes that does not expire.
    pub(crate) async fn token(&self, owner: &Person) -> Token {
        self.token_with(owner, json!({})).await
    }

    /// A token; `fields` are those of the request besides the name.
    pub(crate) async fn token_with(&self, owner: &Person, mut fields: Value) -> Token {
        fields["name"] = "a token".into();
        token(&self.post("/tokens").by(&owner.access).json(&fields).await.ok(201))
    }

    /// A token that may do this and nothing else.
    pub(crate) async fn scoped(&self, owner: &Person, scopes: &[&str]) -> Token {
        self.token_with(owner, json!({ "scopes": scopes })).await
    }

    /// The backend's service JWT.
    pub(crate) fn service_jwt(&self) -> ServiceJwt {
        testkit::service_jwt(JWT_SECRET, self.now())
    }

    pub(crate) fn validate(&self, token: &str) -> Call {
        self.post("/tokens/validate").by(&self.service_jwt().sign()).json(&json!({ "token": token }))
    }

    /// Whether the credential validates; whatever else is answered fails the test.
    pub(crate) async fn is_valid(&self, token: &str) -> bool {
        let reply = self.validate(token).await;
        if reply.status == 401 {
            assert_eq!(reply.json["valid"], false, "{}", reply.text);
            reply.fails(401, "INVALID_TOKEN");
            return false;
        }
        assert_eq!(reply.ok(200)["valid"], true);
        true
    }

    /// The ids of a person's tokens, newest first.
    pub(crate) async fn token_ids(&self, owner: &Person) -> Vec<String> {
        let listed = self.get("/tokens").by(&owner.access).await.ok(200);
        listed["tokens"].as_array().unwrap().iter().map(|token| token["id"].as_str().unwrap().to_owned()).collect()
    }

    /// A person's audit events, newest first.
    pub(crate) async fn events(&self, owner: &Person) -> Vec<Value> {
        let jwt = self.service_jwt().user(&owner.id).sign();
        let page = self.get("/audit?limit=100").by(&jwt).await.ok(200);
        page["events"].as_array().unwrap().clone()
    }

    /// How many audit events of this type a person has.
    pub(crate) async fn count_events(&self, owner: &Person, kind: &str) -> usize {
        self.events(owner).await.iter().filter(|event| event["type"] == kind).count()
    }

    /// Does to the database what an operator's command in another process does; returns how many rows it changed.
    pub(crate) async fn by_hand(&self, sql: &str) -> u64 {
        let mut connection = self.connect().await;
        let done = sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        done.rows_affected()
    }

    /// The number that the query answers with.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        let mut connection = self.connect().await;
        let count = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        count
    }

    /// Another process's connection to the database.
    pub(crate) async fn connect(&self) -> SqliteConnection {
        SqliteConnection::connect(&database_url(&self.folder)).await.unwrap()
    }

    /// Everything in the data folder, byte by byte.
    pub(crate) fn kept_bytes(&self) -> Vec<u8> {
        let files = fs::read_dir(self.folder.path()).unwrap();
        files.flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
    }
}

/// An address that nobody has asked a code for, another one each time: guesses without a flow have three for each.
pub(crate) fn nobody() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("nobody{}@example.com", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn database_url(folder: &TempDir) -> String {
    format!("sqlite://{}", folder.path().join("auth.db").display())
}

fn config() -> Config {
    let generous = Limit::per_minute(1_000_000);
    Config {
        secrets: Secrets { service_jwt: vec![JWT_SECRET.into()], refresh_jwt: REFRESH_SECRET.into(), seal: vec![] },
        access_lifetime: 15 * MINUTE,
        refresh_lifetime: 7 * DAY,
        session_max_lifetime: 30 * DAY,
        reauth: Reauth::default(),
        limits: Limits {
            creations_per_day: 10_000,
            max_active_tokens: 10_000,
            sign_in: generous,
            strict: generous,
            standard: generous,
            relaxed: generous,
            ..Limits::default()
        },
        bcrypt_cost: 4,
        cache_memory: Config::CACHE_MEMORY,
        trusted_proxies: TrustedProxies::default(),
        leak_policy: LeakPolicy::Revoke,
        security_mails: true,
        cors_origins: vec![HeaderValue::from_static(ORIGIN)],
        oauth: OAuth {
            providers: Vec::new(),
            public_url: Url::parse("http://localhost:3001").unwrap(),
            redirects: AllowedRedirects::new(Url::parse(ORIGIN).unwrap(), &[]),
            timeout: OAuth::TIMEOUT,
        },
        public_url: PUBLIC_URL.parse().unwrap(),
        app_url: None,
        audit_retention: None,
        validate_allow_anonymous: false,
        sign_in_domain: "app.example.com".to_owned(),
        sign_in_uri: "https://app.example.com/".to_owned(),
        ethereum: None,
    }
}

/// Who signed in, from the reply to it.
pub(crate) fn person(reply: &Value) -> Person {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    assert_eq!(reply["success"], true);
    Person {
        id: text(&reply["user"]["id"]),
        access: text(&reply["accessToken"]),
        refresh: text(&reply["refreshToken"]),
    }
}

/// The token of a reply to creation or rotation.
pub(crate) fn token(reply: &Value) -> Token {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    assert_eq!(reply["success"], true);
    Token { id: text(&reply["token"]["id"]), secret: text(&reply["token"]["token"]) }
}

/// A JWT's header and claims, unverified.
pub(crate) fn decode_jwt(jwt: &str) -> (Value, Value) {
    let mut parts = jwt.split('.').map(|part| BASE64URL.decode(part).unwrap_or_default());
    let mut next = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
    (next(), next())
}
