//! A fresh database for one case, and what the cases do with it again and again.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::audit::{Actor, EventType};
use domain::{
    AuthMethodId, Chance, ClientInfo, CodeId, CodeShape, Digest, DigestKey, EventId, Limit, SessionId, Timestamp,
    TokenId, TokenSecretId, UserId,
};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use sqlx::any::AnyConnectOptions;
use sqlx::{AnyPool, ConnectOptions as _, Row as _};
use store::{
    Allowance, Channel, CodeOutcome, CodePurpose, CreationLimits, CreationOutcome, Event, Flow, LinkGuess, MethodType,
    NewCode, NewEvent, NewMfaChallenge, NewSession, NewSignIn, NewToken, NewTokenSecret, Options, Profile, Redemption,
    Session, SignInOutcome, SignedIn, Store, Token, User, WayIn,
};
use tempfile::TempDir;

/// The present moment, unless a case says otherwise.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_762_603_200_000);
pub(crate) const MINUTE: Duration = Duration::from_mins(1);
pub(crate) const DAY: Duration = Duration::from_hours(24);
pub(crate) const LIMITS: CreationLimits = CreationLimits { creations: Limit::per_day(50), max_active: 500 };

pub(crate) struct Database {
    pub(crate) store: Store,
    /// Another instance on the same database.
    pub(crate) other: Store,
    raw: AnyPool,
    chance: Chance,
    _folder: Option<TempDir>,
}

impl Database {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("auth.db").display());
        Self { _folder: Some(folder), ..Self::at(&url).await }
    }

    pub(crate) async fn postgres() -> Self {
        Self::at(&testkit::Postgres::shared().database()).await
    }

    pub(crate) async fn at(url: &str) -> Self {
        let store = Store::open(url, &Options::default()).await.unwrap();
        store.migrate().await.unwrap();
        let other = Store::open(url, &Options::default()).await.unwrap();
        // What is done by hand is no statement of the store's.
        let by_hand = url.parse::<AnyConnectOptions>().unwrap().disable_statement_logging();
        let raw = AnyPool::connect_with(by_hand).await.unwrap();
        let chance = Chance::new(ChaCha20Rng::seed_from_u64(1));
        Self { store, other, raw, chance, _folder: None }
    }

    /// Does by hand what the store has no method for; returns how many rows it changed.
    pub(crate) async fn by_hand(&self, sql: &'static str) -> u64 {
        sqlx::query(sql).execute(&self.raw).await.unwrap().rows_affected()
    }

    /// The same database, for a task.
    pub(crate) fn share(&self) -> Self {
        let Self { store, other, raw, chance, _folder } = self;
        let (store, other, raw, chance) = (store.clone(), other.clone(), raw.clone(), chance.clone());
        Self { store, other, raw, chance, _folder: None }
    }

    /// Every column that can hold text, as the database itself names them.
    pub(crate) async fn text_columns(&self) -> Vec<(String, String)> {
        let is_postgres = sqlx::query("SELECT 1 FROM pg_class LIMIT 1").fetch_optional(&self.raw).await.is_ok();
        let sql = if is_postgres {
            "SELECT table_name::text, column_name::text FROM information_schema.columns \
             WHERE table_schema = 'public' AND data_type = 'text' AND table_name <> '_sqlx_migrations'"
        } else {
            "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c \
             WHERE m.type = 'table' AND c.type = 'TEXT' AND m.name <> '_sqlx_migrations'"
        };
        let rows = sqlx::query(sql).fetch_all(&self.raw).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// The number that the query answers with.
    pub(crate) async fn count_of(&self, sql: &str) -> i64 {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        sqlx::query_scalar(sql).fetch_one(&self.raw).await.unwrap()
    }

    /// Does by hand what has to be put together first.
    pub(crate) async fn execute(&self, sql: &str) {
        sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).execute(&self.raw).await.unwrap();
    }

    /// Several statements by hand, as a migration does them.
    pub(crate) async fn script_by_hand(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&self.raw).await.unwrap();
    }

    /// Connections that know nothing of the store.
    pub(crate) fn raw(&self) -> &AnyPool {
        &self.raw
    }

    /// A transaction of somebody else's.
    pub(crate) async fn begin_by_hand(&self) -> sqlx::Transaction<'static, sqlx::Any> {
        self.raw.begin().await.unwrap()
    }

    /// How many rows the table has.
    pub(crate) async fn count_rows(&self, table: &str) -> i64 {
        let sql = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
        sqlx::query_scalar(sql).fetch_one(&self.raw).await.unwrap()
    }

    /// The number that the query answers with.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.raw).await.unwrap()
    }

    pub(crate) const fn chance(&self) -> &Chance {
        &self.chance
    }

    /// `store` for even numbers, `other` for odd ones.
    pub(crate) fn instance(&self, number: usize) -> Store {
        if number.is_multiple_of(2) { self.store.clone() } else { self.other.clone() }
    }

    pub(crate) fn event(&self, at: Timestamp) -> NewEvent {
        NewEvent {
            id: self.chance.with(|rng| EventId::generate(rng)),
            at,
            actor: Actor::default(),
            client: client("192.0.2.1"),
            metadata: BTreeMap::new(),
        }
    }

    pub(crate) fn new_code(&self, email: &str, code: &str, expires_at: Timestamp) -> NewCode {
        NewCode {
            id: self.chance.with(|rng| CodeId::generate(rng)),
            purpose: CodePurpose::SignInByEmail,
            subject: email.to_owned(),
            subject_digest: digest(&["subject", email]),
            flow: self.chance.with(|rng| digest(&["flow", CodeId::generate(rng).as_str()])),
            digits: digest(&[email, code]),
            characters: digest(&[email, &long(code)]),
            link_digest: Some(digest(&["link", email, code])),
            expires_at,
            has_room: true,
            is_guarded: false,
            is_alias: false,
        }
    }

    /// As an older client asks: the flow is not of interest.
    pub(crate) async fn put_code(&self, email: &str, code: &str, at: Timestamp) -> Option<UserId> {
        let code = self.new_code(email, code, at.plus(10 * MINUTE));
        self.store.put_code(&code, &self.event(at), &plenty(at)).await.unwrap().user_id
    }

    /// A flow of its own, and the shape of the code that is sent for it.
    pub(crate) async fn begin_flow(&self, email: &str, code: &str, at: Timestamp) -> (Flow, Option<CodeShape>) {
        let code = self.new_code(email, code, at.plus(10 * MINUTE));
        let kept = self.store.put_code(&code, &self.event(at), &plenty(at)).await.unwrap();
        (Flow::Named(code.flow), kept.shape)
    }

    /// The same when the mailbox has had its share of mails.
    pub(crate) async fn begin_flow_without_room(
        &self,
        email: &str,
        code: &str,
        at: Timestamp,
    ) -> (Flow, Option<CodeShape>) {
        let code = NewCode { has_room: false, ..self.new_code(email, code, at.plus(10 * MINUTE)) };
        let kept = self.store.put_code(&code, &self.event(at), &plenty(at)).await.unwrap();
        (Flow::Named(code.flow), kept.shape)
    }

    pub(crate) fn redemption(&self, email: &str, code: &str, at: Timestamp) -> Redemption {
        let session_id = self.chance.with(|rng| SessionId::generate(rng));
        Redemption {
            purpose: CodePurpose::SignInByEmail,
            digest: digest(&[email, code]),
            shape: if code.len() == 10 { CodeShape::TenCharacters } else { CodeShape::SixDigits },
            subject_digest: digest(&["subject", email]),
            flow: Flow::Shared(digest(&["shared", email])),
            is_noted: true,
            sign_in: NewSignIn {
                profile: Profile::default(),
                mfa: NewMfaChallenge { digest: digest(&[session_id.as_str()]), expires_at: at.plus(5 * MINUTE) },
                at,
                way_in: WayIn { method: MethodType::Email, provider: None, identifier: email.to_owned() },
                client: client("192.0.2.1"),
                device: digest(&["a device"]),
                session: NewSession {
                    refresh_digest: refresh_digest(session_id.as_str(), 0, at),
                    id: session_id,
                    expires_at: at.plus(7 * DAY),
                    absolute_expires_at: at.plus(30 * DAY),
                },
                user_id: self.chance.with(|rng| UserId::generate(rng)),
                method_id: self.chance.with(|rng| AuthMethodId::generate(rng)),
                email_method_id: self.chance.with(|rng| AuthMethodId::generate(rng)),
                released: self.chance.with(|rng| EventId::generate(rng)),
                user_created: self.chance.with(|rng| EventId::generate(rng)),
                signed_in: self.chance.with(|rng| EventId::generate(rng)),
            },
        }
    }

    pub(crate) async fn redeem(&self, email: &str, code: &str, at: Timestamp) -> CodeOutcome {
        self.store.redeem_code(&self.redemption(email, code, at)).await.unwrap()
    }

    /// The same in a flow.
    pub(crate) async fn redeem_in(&self, flow: Flow, email: &str, code: &str, at: Timestamp) -> CodeOutcome {
        self.store.redeem_code(&Redemption { flow, ..self.redemption(email, code, at) }).await.unwrap()
    }

    pub(crate) async fn sign_in(&self, email: &str) -> SignedIn {
        self.put_code(email, "123456", NOW).await;
        match self.redeem(email, "123456", NOW).await {
            CodeOutcome::Right(SignInOutcome::SignedIn(signed_in)) => *signed_in,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn user(&self, email: &str) -> User {
        self.sign_in(email).await.user
    }

    pub(crate) async fn disable(&self, user: &User) {
        sqlx::query("UPDATE users SET disabled_at = 1 WHERE id = $1")
            .bind(user.id.as_str())
            .execute(&self.raw)
            .await
            .unwrap();
    }

    pub(crate) fn new_secret(&self, key: &DigestKey) -> NewTokenSecret {
        let id = self.chance.with(|rng| TokenSecretId::generate(rng));
        NewTokenSecret {
            hash: format!("$2b$10${id}"),
            digest: key.digest(&[id.as_str()]),
            seal_key: key.id().clone(),
            prefix: "af_live_abcd".to_owned(),
            id,
        }
    }

    pub(crate) fn new_token(&self, user: &User) -> NewToken {
        NewToken {
            id: self.chance.with(|rng| TokenId::generate(rng)),
            user_id: user.id.clone(),
            name: "CI deploy".parse().unwrap(),
            scopes: "projects:* tokens:read".parse().unwrap(),
            allowed_ips: Some("192.0.2.0/24 2001:db8::/32".parse().unwrap()),
            expires_at: None,
            secret: self.new_secret(&seal_key("present")),
        }
    }

    pub(crate) async fn create(&self, new: &NewToken, at: Timestamp) -> CreationOutcome {
        self.store.create_token(new, &LIMITS, &self.event(at)).await.unwrap()
    }

    pub(crate) async fn token(&self, user: &User) -> Token {
        match self.create(&self.new_token(user), NOW).await {
            CreationOutcome::Created(token) => *token,
            other => panic!("{other:?}"),
        }
    }

    /// The user's events, newest first.
    pub(crate) async fn events(&self, user: &User) -> Vec<Event> {
        let page = self.store.list_events(&user.id, None, None, 1_000).await.unwrap();
        assert_eq!(page.next, None);
        page.events
    }

    /// How many events of this kind the user has.
    pub(crate) async fn count_events(&self, user: &User, kind: EventType) -> usize {
        self.events(user).await.iter().filter(|event| event.kind == kind).count()
    }
}

/// The code of ten characters that is ready beside this one of six digits.
pub(crate) fn long(code: &str) -> String {
    format!("LONG{code}")
}

pub(crate) fn client(ip: &str) -> ClientInfo {
    ClientInfo {
        ip: Some(ip.parse().unwrap()),
        user_agent: Some("curl/8".to_owned()),
        request_id: Some("request-1".to_owned()),
    }
}

pub(crate) fn digest(parts: &[&str]) -> Digest {
    DigestKey::derive(b"a secret for tests of at least 32 bytes", "tests").digest(parts)
}

pub(crate) fn seal_key(name: &str) -> DigestKey {
    DigestKey::derive(b"a secret for tests of at least 32 bytes", name)
}

/// As the auth service does it: what a refresh token is follows from its session's state.
pub(crate) fn refresh_digest(session_id: &str, generation: i64, rotated_at: Timestamp) -> Digest {
    digest(&[session_id, &generation.to_string(), &rotated_at.as_millis().to_string()])
}

pub(crate) fn digest_of(session: &Session) -> Digest {
    refresh_digest(session.id.as_str(), session.generation, session.rotated_at)
}

/// Runs all at once, each as a task of its own.
pub(crate) async fn in_parallel<F>(tasks: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    tasks.into_iter().collect::<tokio::task::JoinSet<_>>().join_all().await
}

/// A guess at six digits, of a budget of its own.
pub(crate) fn guess(at: &Digest) -> LinkGuess {
    LinkGuess {
        digest: *at,
        shape: CodeShape::SixDigits,
        purpose: CodePurpose::SignInByEmail,
        subject: digest(&["subject", &at.to_string()]),
    }
}

/// More messages than any test sends.
pub(crate) fn plenty(at: Timestamp) -> Allowance {
    let day = at.as_millis().div_euclid(24 * 60 * 60 * 1000);
    Allowance { channel: Channel::Mail, day, all: 1_000_000, shares: Vec::new() }
}
