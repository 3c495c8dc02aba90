//! From settings to running services. The only place that knows which database and which limiter run.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use auth::{AuthService, Background, HttpSms, Mailer, Outbox, Parts, Resend, SmsSender, Smtp, Templates, Twilio};
use auth_client::{AuthClient, AuthClientConfig};
use domain::{Chance, Clock, SystemClock};
use limiter::{Redis, RedisOptions, Timekeeper};
use store::Store;
use telemetry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use web::{Drain, Operations, Threads};

use crate::config::{AuthSettings, BackendSettings, Listen, Mail, RedisSettings, Sms};
use crate::metrics;

/// Runs the auth service until it is told to stop.
pub(crate) async fn run_auth(settings: AuthSettings) -> anyhow::Result<()> {
    let listen = settings.listen.clone();
    let listener = bind(&listen).await?;
    let metrics = metrics::bind(&listen).await?;
    if settings.redis.is_none() {
        tracing::info!(
            "no REDIS_URL: limits are counted in this process, so run one instance of the auth service only"
        );
    }
    let operations = Operations::default();
    let running = RunningAuth::start(settings, None, operations.clone()).await?;
    let mut registry = Registry::default();
    registry.add_collector(operations.requests);
    running.auth.register_metrics(&mut registry);
    metrics::serve(metrics, registry, Some(Arc::clone(&running.auth)));
    tracing::info!(address = %listener.local_addr()?, "the auth service is listening");
    let drain = Drain { draining: operations.draining, delay: listen.drain_delay };
    running.serve(listener, drain, told_to_stop()?).await;
    Ok(())
}

/// Runs the backend until it is told to stop.
pub(crate) async fn run_backend(settings: BackendSettings) -> anyhow::Result<()> {
    let listen = settings.listen.clone();
    let listener = bind(&listen).await?;
    let metrics = metrics::bind(&listen).await?;
    let operations = Operations::default();
    let mut registry = Registry::default();
    settings.trusted_proxies.register_metrics(&mut registry);
    let app = backend_app(settings, operations.clone(), &mut registry)?;
    registry.add_collector(operations.requests);
    metrics::serve(metrics, registry, None);
    tracing::info!(address = %listener.local_addr()?, "the backend is listening");
    let drain = Drain { draining: operations.draining, delay: listen.drain_delay };
    drop(web::serve(listener, app, Threads::OnePerProcessor, drain, told_to_stop()?).await);
    tracing::info!("the backend has stopped");
    Ok(())
}

/// An auth service with its database and the tasks beside its requests.
pub(crate) struct RunningAuth {
    pub(crate) auth: Arc<AuthService>,
    store: Store,
    background: Background,
}

impl RunningAuth {
    /// Opens the database, brings it up to date and puts the service together. With an outbox, mail goes there.
    pub(crate) async fn start(
        settings: AuthSettings,
        outbox: Option<Outbox>,
        operations: Operations,
    ) -> anyhow::Result<Self> {
        let store = open_store_with(&settings.database_url, &settings.database).await?;
        if settings.auto_migrate {
            store.migrate().await?;
        }
        let redis = match settings.redis {
            Some(redis) => Some(connect(redis).await?),
            None => None,
        };
        let mailer = match &outbox {
            Some(outbox) => Some(Arc::new(outbox.clone()) as Arc<dyn Mailer>),
            None => mailer(settings.mail, settings.from)?,
        };
        if let Some(notice) = settings.notice {
            tracing::warn!("{notice}");
        }
        if mailer.is_none() {
            tracing::warn!("neither SMTP_URL nor RESEND_API_KEY is set: nobody can sign in by e-mail");
        }
        let sms = match &outbox {
            Some(outbox) => Some(Arc::new(outbox.clone()) as Arc<dyn SmsSender>),
            None => sms_sender(settings.sms)?,
        };
        let parts = Parts {
            store: store.clone(),
            redis,
            clock: Arc::new(SystemClock),
            chance: Chance::of_the_system(),
            mailer,
            sms,
            templates: Templates::load(settings.templates.as_deref(), settings.product).context("a mail template")?,
            outbox,
            operations,
        };
        let auth = AuthService::start(settings.service, parts).await?;
        let background = Background::start(&auth);
        Ok(Self { auth, store, background })
    }

    /// Serves until `stop`, then writes down what is still only in memory and closes the database.
    pub(crate) async fn serve(self, listener: TcpListener, drain: Drain, stop: impl Future<Output = ()>) {
        let served = web::serve(listener, auth::app(self.auth), Threads::OnePerProcessor, drain, stop).await;
        self.background.stop().await;
        self.store.close().await;
        // Connections to the database that were opened while answering requests live on those threads.
        drop(served);
        tracing::info!("the auth service has stopped");
    }
}

async fn connect(settings: RedisSettings) -> anyhow::Result<Redis> {
    let options = RedisOptions {
        timeout: settings.timeout,
        fallback_divisor: settings.fallback_divisor,
        timekeeper: Timekeeper::Redis,
        chance: Chance::of_the_system(),
    };
    Redis::connect(&settings.url, options).await.context("REDIS_URL")
}

fn mailer(mail: Option<Mail>, from: String) -> anyhow::Result<Option<Arc<dyn Mailer>>> {
    let wrong = |name: &'static str| move |what: &'static str| anyhow::anyhow!("{name} {what}");
    Ok(match mail {
        None => None,
        Some(Mail::Smtp { url }) => Some(Arc::new(Smtp::new(&url, &from).map_err(wrong("SMTP_URL or FROM_EMAIL"))?)),
        Some(Mail::Resend { api_url, key }) => {
            Some(Arc::new(Resend::new(&api_url, key, from).map_err(wrong("RESEND_API_URL"))?))
        }
    })
}

fn sms_sender(sms: Option<Sms>) -> anyhow::Result<Option<Arc<dyn SmsSender>>> {
    let wrong = |name: &'static str| move |what: &'static str| anyhow::anyhow!("{name} {what}");
    Ok(match sms {
        None => None,
        Some(Sms::HttpSms { api_url, key, from }) => {
            Some(Arc::new(HttpSms::new(&api_url, key, from).map_err(wrong("HTTPSMS_API_URL"))?))
        }
        Some(Sms::Twilio { api_url, account, token, from }) => {
            Some(Arc::new(Twilio::new(&api_url, account, token, from).map_err(wrong("TWILIO_API_URL"))?))
        }
    })
}

/// The backend, ready to be served; what it counts is shown in `registry`.
pub(crate) fn backend_app(
    settings: BackendSettings,
    operations: Operations,
    registry: &mut Registry,
) -> anyhow::Result<backend::App> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let chance = Chance::of_the_system();
    let config = AuthClientConfig::new(settings.auth_service_url, settings.jwt_secret);
    let client = AuthClient::new(&config, Arc::clone(&clock), chance.clone())?;
    client.register_metrics(registry);
    Ok(backend::app(backend::Config {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit_hash: env!("AFD_COMMIT").to_owned(),
        cors_origins: settings.cors_origins,
        trusted_proxies: settings.trusted_proxies,
        auth: client,
        clock,
        chance,
        operations,
    }))
}

/// Opens the database, creating a SQLite file where it is missing.
pub(crate) async fn open_store(url: &str) -> anyhow::Result<Store> {
    // A command at a terminal does not wait for a database that may come up.
    open_store_with(url, &store::Options { start_up_wait: Duration::from_secs(1), ..Default::default() }).await
}

/// Opens the database as it is configured.
pub(crate) async fn open_store_with(url: &str, options: &store::Options) -> anyhow::Result<Store> {
    Store::open(url, options).await.with_context(|| format!("the database {}", without_password(url)))
}

/// Opens a database that has to be there.
pub(crate) async fn open_existing_store(url: &str) -> anyhow::Result<Store> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        ensure!(std::path::Path::new(path).exists(), "there is no database at {path}");
    }
    open_store(url).await
}

fn without_password(url: &str) -> String {
    // A password can be among the parameters as well.
    let url = url.split_once('?').map_or(url, |(before, _)| before);
    match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, rest)) => format!("{scheme}://…@{rest}"),
        None => url.to_owned(),
    }
}

/// Takes the port; nothing is served before everything else has worked out.
pub(crate) async fn bind(listen: &Listen) -> anyhow::Result<TcpListener> {
    bind_to(listen.host, listen.port).await
}

/// Takes a port of this machine.
pub(crate) async fn bind_to(host: IpAddr, port: u16) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(host, port);
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// Completes when the process is told to stop, by SIGTERM or Ctrl+C.
pub(crate) fn told_to_stop() -> anyhow::Result<impl Future<Output = ()> + use<>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to stop: finishing what is in flight");
    })
}
