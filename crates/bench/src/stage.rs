//! What is measured: the services as processes of their own, and a person with a token at each.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use domain::{Clock, SystemClock};
use serde_json::{Value, json};
use testkit::{Afd, Launch, SmtpSink, free_port, service_jwt};

/// The secret that services share here.
pub(crate) const JWT_SECRET: &str = "bench-jwt-secret-of-at-least-32-bytes-long";

/// An auth service, a backend over it where asked for, and somebody who is signed in.
pub(crate) struct Stage {
    /// The auth service's process.
    pub(crate) auth: Afd,
    /// How it was started.
    pub(crate) launch: Launch,
    /// Its address.
    pub(crate) auth_url: String,
    /// The backend's process and the URL of its GraphQL.
    pub(crate) backend: Option<(Afd, String)>,
    /// An access JWT.
    pub(crate) session: String,
    /// The session's user.
    pub(crate) user_id: String,
    /// A personal access token.
    pub(crate) token: String,
    mail: SmtpSink,
    http: reqwest::Client,
}

/// A program of this build.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let path = here.parent().context("a program is in a folder")?.join(name);
    ensure!(path.exists(), "{} is missing; `cargo xtask bench` builds it", path.display());
    Ok(path)
}

/// How the auth service is started, with `settings` over those that all share.
pub(crate) fn auth_launch(mail: &SmtpSink, port: u16, settings: &[(&str, &str)]) -> Result<Launch> {
    let mut launch = Launch::new(program("afd")?)
        .args(["auth"])
        .env("PORT", port.to_string())
        .env("HOST", "127.0.0.1")
        .env("JWT_SECRET", JWT_SECRET)
        .env("JWT_REFRESH_SECRET", "bench-refresh-secret-of-at-least-32-bytes")
        .env("PUBLIC_URL", format!("http://127.0.0.1:{port}"))
        .env("SMTP_URL", mail.url())
        .env("RATE_LIMIT_STANDARD", "1000000/1m")
        .env("RATE_LIMIT_TOKEN_CREATION_PER_DAY", "1000000")
        .env("MAX_ACTIVE_TOKENS", "1000000")
        .healthy_on(port);
    for (name, value) in settings {
        launch = launch.env(*name, *value);
    }
    Ok(launch)
}

impl Stage {
    /// Starts the auth service and, where `with_backend`, a backend; signs somebody in.
    pub(crate) async fn start(settings: &[(&str, &str)], with_backend: bool) -> Result<Self> {
        let mail = SmtpSink::start().await;
        let port = free_port();
        let auth_url = format!("http://127.0.0.1:{port}");
        let launch = auth_launch(&mail, port, settings)?;
        let auth = launch.start().await;
        let backend = if with_backend {
            let port = free_port();
            let backend = Launch::new(program("afd")?)
                .args(["backend"])
                .env("PORT", port.to_string())
                .env("HOST", "127.0.0.1")
                .env("JWT_SECRET", JWT_SECRET)
                .env("AUTH_SERVICE_URL", &auth_url)
                .healthy_on(port)
                .start()
                .await;
            Some((backend, format!("http://127.0.0.1:{port}/graphql")))
        } else {
            None
        };
        let http = reqwest::Client::builder().no_proxy().build()?;
        let mut stage = Self {
            auth,
            launch,
            auth_url,
            backend,
            session: String::new(),
            user_id: String::new(),
            token: String::new(),
            mail,
            http,
        };
        stage.sign_in().await?;
        Ok(stage)
    }

    /// The header by which a service asks; good for less than five minutes.
    pub(crate) fn service_authorization() -> String {
        format!("Bearer {}", service_jwt(JWT_SECRET, SystemClock.now()).claim("exp", exp()).sign())
    }

    /// The validate route.
    pub(crate) fn validate_url(&self) -> String {
        format!("{}/tokens/validate", self.auth_url)
    }

    /// What the validate route answers for this token.
    pub(crate) async fn validate(&self, token: &str) -> Result<String> {
        let request = self.http.post(self.validate_url()).header("authorization", Self::service_authorization());
        Ok(request.json(&json!({ "token": token })).send().await?.error_for_status()?.text().await?)
    }

    async fn sign_in(&mut self) -> Result<()> {
        let email = "bench@example.com";
        self.post("/auth/email/request", None, json!({ "email": email })).await?;
        let mail = self.mail.mails().pop().context("the mail with the code")?.text;
        let is_code = |word: &&str| word.len() == 6 && word.bytes().all(|byte| byte.is_ascii_digit());
        let code = mail.split_whitespace().find(is_code).context("a code in the mail")?;
        let session = self.post("/auth/email/verify", None, json!({ "email": email, "code": code })).await?;
        self.session = text(&session, "/accessToken")?;
        self.user_id = text(&session, "/user/id")?;
        let session = self.session.clone();
        let created = self.post("/tokens", Some(&session), json!({ "name": "bench" })).await?;
        self.token = text(&created, "/token/token")?;
        Ok(())
    }

    async fn post(&self, path: &str, bearer: Option<&str>, body: Value) -> Result<Value> {
        let mut request = self.http.post(format!("{}{path}", self.auth_url)).json(&body);
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        Ok(request.send().await?.error_for_status()?.json().await?)
    }
}

fn exp() -> i64 {
    SystemClock.now().as_seconds() + 299
}

fn text(value: &Value, pointer: &str) -> Result<String> {
    Ok(value.pointer(pointer).and_then(Value::as_str).with_context(|| format!("{pointer} of {value}"))?.to_owned())
}
