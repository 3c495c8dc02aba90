//! An installation: `afd auth` and `afd backend` as processes of their own, a mail server, and people who use them.

use std::collections::BTreeSet;

use domain::{Clock, SystemClock};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use testkit::{Afd, Launch, SmtpSink, free_port, service_jwt, until};

use crate::databases::Database;

pub(crate) const JWT_SECRET: &str = "end-to-end-jwt-secret-of-at-least-32-bytes";
const REFRESH_SECRET: &str = "end-to-end-refresh-secret-of-at-least-32-bytes";

/// How to start the two services, and where they answer.
pub(crate) struct Installation {
    pub(crate) auth: Launch,
    pub(crate) backend: Launch,
    pub(crate) auth_url: String,
    pub(crate) api_url: String,
    pub(crate) mail: SmtpSink,
    pub(crate) http: Client,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a whole reply");
        Self { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} of {self:?}"))
    }
}

/// `afd` without anything of this process's environment.
pub(crate) fn afd(command: &[&str]) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_afd")).args(command.iter().copied())
}

fn client() -> Client {
    Client::builder().no_proxy().build().expect("a client")
}

impl Installation {
    /// With limits that do not get in a test's way; `settings` come last.
    pub(crate) async fn new(settings: &[(&str, &str)]) -> Self {
        let mail = SmtpSink::start().await;
        let (auth_port, backend_port) = (free_port(), free_port());
        let auth_url = format!("http://127.0.0.1:{auth_port}");
        let mut auth = afd(&["auth"])
            .env("PORT", auth_port.to_string())
            .env("JWT_SECRET", JWT_SECRET)
            .env("JWT_REFRESH_SECRET", REFRESH_SECRET)
            .env("PUBLIC_URL", &auth_url)
            .env("SMTP_URL", mail.url())
            .env("BCRYPT_COST", "4")
            // Tests count mails; those about these say so.
            .env("SECURITY_MAILS", "false")
            .env("DRAIN_DELAY", "0s")
            .env("RATE_LIMIT_STRICT", "20/15m")
            .env("RATE_LIMIT_SIGN_IN", "100000/1m")
            .env("RATE_LIMIT_STANDARD", "100000/1m")
            .healthy_on(auth_port);
        for (name, value) in settings {
            auth = auth.env(*name, *value);
        }
        let backend = afd(&["backend"])
            .env("PORT", backend_port.to_string())
            .env("JWT_SECRET", JWT_SECRET)
            .env("AUTH_SERVICE_URL", &auth_url)
            .env("DRAIN_DELAY", "0s")
            .healthy_on(backend_port);
        let http = client();
        Self { auth, backend, auth_url, api_url: format!("http://127.0.0.1:{backend_port}/graphql"), mail, http }
    }

    /// The same on this database.
    pub(crate) async fn on(database: &Database, settings: &[(&str, &str)]) -> Self {
        Self::new(&[settings, &[("DATABASE_URL", database.url.as_str())]].concat()).await
    }

    /// After a kill amid many new connections. One that had not been taken off the system's queue is never told that its
    /// server is gone: it looks open until something is sent over it.
    pub(crate) fn forget_connections(&mut self) {
        self.http = client();
    }

    pub(crate) async fn start(&self) -> (Afd, Afd) {
        (self.auth.start().await, self.backend.start().await)
    }

    pub(crate) async fn post(&self, path: &str, bearer: Option<&str>, body: Value) -> Reply {
        let mut request = self.http.post(format!("{}{path}", self.auth_url)).json(&body);
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        Reply::of(request.send().await.expect("the auth service answers")).await
    }

    pub(crate) async fn get(&self, path: &str, bearer: &str) -> Reply {
        let request = self.http.get(format!("{}{path}", self.auth_url)).bearer_auth(bearer);
        Reply::of(request.send().await.expect("the auth service answers")).await
    }

    /// The tokens that the user's audit events of this type are about.
    pub(crate) async fn audited(&self, event: &str, session: &str) -> BTreeSet<String> {
        let mut tokens = BTreeSet::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("/audit?limit=100&type={event}{cursor}"), session).await;
            let events = page.body["events"].as_array().unwrap_or_else(|| panic!("{page:?}"));
            tokens.extend(events.iter().map(|event| event["metadata"]["tokenId"].as_str().unwrap().to_owned()));
            match page.body["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return tokens,
            }
        }
    }

    pub(crate) async fn graphql(&self, bearer: Option<&str>, query: &str, variables: Value) -> Reply {
        let mut request = self.http.post(&self.api_url).json(&json!({ "query": query, "variables": variables }));
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        Reply::of(request.send().await.expect("the backend answers")).await
    }

    /// Asks for a sign-in mail, and returns its text.
    pub(crate) async fn mailed(&self, email: &str) -> String {
        let before = self.mail.mails().len();
        let asked = self.post("/auth/email/request", None, json!({ "email": email })).await;
        assert_eq!(asked.status, 200, "{asked:?}");
        // Past the quota of a mailbox it is sent behind the reply.
        let texts =
            async || self.mail.mails().into_iter().skip(before).map(|mail| mail.text.clone()).collect::<Vec<_>>();
        let mut sent = until("the mail", texts, |texts| !texts.is_empty()).await;
        assert_eq!(sent.len(), 1);
        sent.remove(0)
    }

    /// Signs in by the code that the mail server got, and returns the access JWT.
    pub(crate) async fn sign_in(&self, email: &str) -> String {
        self.session(email).await.text("/accessToken").to_owned()
    }

    /// The same, and returns the refresh JWT.
    pub(crate) async fn sign_in_for_refresh(&self, email: &str) -> String {
        self.session(email).await.text("/refreshToken").to_owned()
    }

    async fn session(&self, email: &str) -> Reply {
        let code = six_digits(&self.mailed(email).await);
        let session = self.post("/auth/email/verify", None, json!({ "email": email, "code": code })).await;
        assert_eq!(session.status, 200, "{session:?}");
        session
    }

    /// Validates as a service does.
    pub(crate) async fn validate(&self, token: &str) -> Reply {
        let jwt = service_jwt(JWT_SECRET, SystemClock.now()).sign();
        self.post("/tokens/validate", Some(&jwt), json!({ "token": token })).await
    }
}

pub(crate) fn six_digits(text: &str) -> String {
    let is_code = |word: &&str| word.len() == 6 && word.bytes().all(|byte| byte.is_ascii_digit());
    text.split_whitespace().find(is_code).unwrap_or_else(|| panic!("no code in {text:?}")).to_owned()
}
