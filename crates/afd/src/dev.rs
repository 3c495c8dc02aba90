//! `afd dev`: both services on this machine, with nothing else installed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use auth::{Outbox, OutboxMail};
use clap::Args;
use domain::{Chance, SystemClock, TokenSecretId};
use telemetry::Registry;
use tokio::sync::watch;
use web::{Drain, Operations, Threads};

use crate::config::{self, Source};
use crate::logging;
use crate::{metrics, say, services};

/// What can be chosen about the development mode.
#[derive(Args)]
pub(crate) struct Options {
    /// The auth service's port.
    #[arg(long, default_value_t = AUTH_PORT)]
    auth_port: u16,
    /// The backend's port.
    #[arg(long, default_value_t = BACKEND_PORT)]
    backend_port: u16,
    /// Where the database and the generated secrets are kept.
    #[arg(long, default_value = DATA_FOLDER)]
    data: PathBuf,
}

const AUTH_PORT: u16 = 3001;
const BACKEND_PORT: u16 = 4000;
const DATA_FOLDER: &str = ".af";
const SECRETS_FILE: &str = "secrets.toml";

impl Default for Options {
    fn default() -> Self {
        Self { auth_port: AUTH_PORT, backend_port: BACKEND_PORT, data: DATA_FOLDER.into() }
    }
}

/// Runs both services until told to stop.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let mut source = Source::of_process();
    source.default("HOST", "127.0.0.1");
    source.default("DRAIN_DELAY", "0s");
    source.default("DATABASE_URL", &database_url(&options.data));
    source.default("PUBLIC_URL", &format!("http://localhost:{}", options.auth_port));
    source.default("APP_URL", &format!("http://localhost:{}", options.auth_port));
    source.default("AUTH_SERVICE_URL", &format!("http://localhost:{}", options.auth_port));
    for (name, secret) in secrets(&options.data)? {
        source.default(&name, &secret);
    }
    let logging = logging::Settings::read(source.clone())?;
    let mut auth_settings = config::auth(source.clone())?;
    let mut backend_settings = config::backend(source)?;
    // `PORT` is one service's; here are two.
    auth_settings.listen.port = options.auth_port;
    backend_settings.listen.port = options.backend_port;
    auth_settings.product = String::from("Alternate Futures");
    let unsent = logging::start(&logging.pretty(), "alternatefutures")?;

    let auth_listener = services::bind(&auth_settings.listen).await?;
    let backend_listener = services::bind(&backend_settings.listen).await?;
    let (auth_port, backend_port) = (auth_listener.local_addr()?.port(), backend_listener.local_addr()?.port());
    backend_settings.auth_service_url = format!("http://{}", auth_listener.local_addr()?);

    let metrics = metrics::bind(&auth_settings.listen).await?;
    let drain = |operations: &Operations| Drain {
        draining: operations.draining.clone(),
        delay: backend_settings.listen.drain_delay,
    };
    // Two services, and each ends by itself: what is counted is counted together, what ends is not.
    let operations = Operations::default();
    let auth_operations = Operations { requests: operations.requests.clone(), ..Operations::default() };
    let (drain, auth_drain) = (drain(&operations), drain(&auth_operations));

    let outbox = Outbox::new(Arc::new(SystemClock), announce);
    let auth = services::RunningAuth::start(auth_settings, Some(outbox), auth_operations).await?;
    let mut registry = Registry::default();
    registry.add_collector(operations.requests.clone());
    auth.auth.register_metrics(&mut registry);
    let backend = services::backend_app(backend_settings, operations, &mut registry)?;
    metrics::serve(metrics, registry, Some(Arc::clone(&auth.auth)));
    welcome(auth_port, backend_port, &options.data);

    // The backend first: what it still has in flight needs the auth service.
    let (stopped, mut backend_stopped) = watch::channel(());
    let backend = async {
        let served =
            web::serve(backend_listener, backend, Threads::OnePerProcessor, drain, services::told_to_stop()?).await;
        drop((served, stopped));
        anyhow::Ok(())
    };
    let auth = auth.serve(auth_listener, auth_drain, async move {
        let _ = backend_stopped.changed().await;
    });
    let (backend, ()) = tokio::join!(backend, auth);
    unsent.finish().await;
    backend
}

/// Sets what `afd dev` in this folder uses, whatever the environment says.
pub(crate) fn take_over(source: &mut Source, folder: &Path) -> anyhow::Result<()> {
    let path = folder.join(SECRETS_FILE);
    ensure!(path.exists(), "there is no {}: `afd dev` has not run in this folder", path.display());
    source.set("DATABASE_URL".to_owned(), database_url(folder));
    source.set("DATABASE_URL_FILE".to_owned(), String::new());
    for (name, secret) in secrets(folder)? {
        source.set(format!("{name}_FILE"), String::new());
        source.set(name, secret);
    }
    Ok(())
}

fn database_url(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("auth.db").display())
}

/// The secrets of this folder, made at the first start and kept, so that tokens and sessions outlive a restart.
fn secrets(folder: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let path = folder.join(SECRETS_FILE);
    if !path.exists() {
        let chance = Chance::of_the_system();
        let secret = || chance.with(|rng| format!("{}{}", TokenSecretId::generate(rng), TokenSecretId::generate(rng)));
        let text = format!(
            "# Made by `afd dev` for this folder only. Delete the whole folder to start afresh.\n\
             JWT_SECRET = \"{}\"\nJWT_REFRESH_SECRET = \"{}\"\n",
            secret(),
            secret()
        );
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        write_private(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is not what `afd dev` wrote", path.display()))
}

/// Creates a file that only its owner may read. Written beside its place and moved there whole, so that a start that
/// is cut off leaves no half of it.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(beside, path)
}

/// The developer is the one who would have got the mail.
fn announce(mail: &OutboxMail) {
    match mail.channel {
        "email" => say(&format!("\n--- mail to {} ---\nSubject: {}\n\n{}---\n", mail.to, mail.subject, mail.text)),
        channel => say(&format!("\n--- {channel} to {} ---\n{}\n---\n", mail.to, mail.text)),
    }
}

fn welcome(auth_port: u16, backend_port: u16, data: &Path) {
    say(&format!(
        r#"
Alternate Futures, development mode. Not for production.

  auth      http://localhost:{auth_port}           documents: /docs   mail that would have been sent: /dev/outbox
  backend   http://localhost:{backend_port}/graphql   open it in a browser for the query console
  data      {data}

A first session, ready to paste into another terminal:

  AUTH=http://localhost:{auth_port} API=http://localhost:{backend_port}/graphql
  curl -s $AUTH/auth/email/request --json '{{"email":"ann@example.com"}}'
  CODE=$(curl -s $AUTH/dev/outbox | grep -oE '\b[0-9]{{6}}\b' | head -n 1)
  SESSION=$(curl -s $AUTH/auth/email/verify --json "{{\"email\":\"ann@example.com\",\"code\":\"$CODE\"}}" | sed -E 's/.*"accessToken":"([^"]+)".*/\1/')
  curl -s $API -H "Authorization: Bearer $SESSION" --json '{{"query":"mutation {{ createPersonalAccessToken(name: \"first\") {{ id token }} }}"}}'
"#,
        data = data.display()
    ));
}
