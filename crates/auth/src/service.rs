//! The service's parts, put together.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use auth_api::ErrorCode;
use domain::{Chance, Clock, DigestKey, EventId, Limit};
use limiter::{Limiter, LimiterState, Marked, Redis, Verdict};
use secrecy::{ExposeSecret, SecretString};
use store::{MarkedCredential, ProofTooOld, StepUp, Store, StoreError};
use web::ApiError;

use crate::account::{Deletions, Descriptions};
use crate::config::Config;
use crate::hashing::Hasher;
use crate::keys::{KeyRing, RefreshKey, Seal, ServiceKeys, reseal};
use crate::look::Looked;
use crate::metrics::{Metrics, Refused};
use crate::notify::{Mailer, Outbox, SmsSender, Templates};
use crate::sign_in::oauth;
use crate::tokens::{InTheMaking, LeakReports, MARK_LIFETIME, OlderTokens, Recovery, Validator, ValidatorParts};
use crate::windows::Windows;

/// What the service is composed of.
pub struct Parts {
    /// Where everything is kept; migrated.
    pub store: Store,
    /// Where all instances count together; `None` where there is one only.
    pub redis: Option<Redis>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where secrets and ids come from.
    pub chance: Chance,
    /// How mail is sent; `None` where the installation sends none.
    pub mailer: Option<Arc<dyn Mailer>>,
    /// How SMS are sent; `None` where the installation sends none.
    pub sms: Option<Arc<dyn SmsSender>>,
    /// The texts of messages.
    pub templates: Templates,
    /// The outbox that `GET /dev/outbox` shows; only `afd dev` has one, and without it the route does not exist.
    pub outbox: Option<Outbox>,
    /// What an operator sees of serving, and how it ends.
    pub operations: web::Operations,
}

/// The auth service.
pub struct AuthService {
    pub(crate) config: Config,
    pub(crate) store: Store,
    /// Windows of users: of whoever is known.
    pub(crate) limiter: Limiter,
    /// Windows of addresses, and of the mailboxes and numbers that anybody can name. Apart from those of users: whoever
    /// has many addresses can fill this one.
    pub(crate) strangers: Limiter,
    /// What is saved of all windows; `None` where they are in Redis.
    pub(crate) windows: Option<Arc<Windows>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) chance: Chance,
    pub(crate) hasher: Arc<Hasher>,
    pub(crate) in_the_making: InTheMaking,
    pub(crate) service_keys: ServiceKeys,
    pub(crate) refresh_key: RefreshKey,
    pub(crate) code_digests: DigestKey,
    window_names: DigestKey,
    /// The first seals, all open.
    pub(crate) seals: Vec<Seal>,
    pub(crate) validator: Validator,
    pub(crate) leak_reports: LeakReports,
    pub(crate) oauth_requests: oauth::Requests,
    pub(crate) mailer: Option<Arc<dyn Mailer>>,
    pub(crate) sms: Option<Arc<dyn SmsSender>>,
    pub(crate) templates: Templates,
    pub(crate) outbox: Option<Outbox>,
    /// What the last look found; held while one is under way.
    pub(crate) looked: tokio::sync::Mutex<Looked>,
    /// What users see of themselves, by user.
    pub(crate) descriptions: Descriptions,
    pub(crate) deletions: Deletions,
    /// Names this process among several, in the lease of the audit chain's sealer.
    pub(crate) instance: String,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) operations: web::Operations,
}

impl AuthService {
    /// Puts the parts together; makes the signing key where there is none yet.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    ///
    /// # Panics
    /// If the configuration has no secret at all.
    pub async fn start(config: Config, parts: Parts) -> Result<Arc<Self>, StoreError> {
        let Parts { store, redis, clock, chance, mailer, sms, templates, outbox, operations } = parts;
        let store = store.with_step_up(StepUp {
            max_age: config.reauth.max_age,
            for_tokens: config.reauth.for_tokens,
            sends_email: mailer.is_some(),
            sends_sms: sms.is_some(),
            providers: config.oauth.providers.iter().map(|provider| provider.name.to_string()).collect(),
        });
        let metrics = Arc::new(Metrics::new());
        reseal(&store, &sealing_with(&config)).await?;
        let hasher = Arc::new(Hasher::new(config.bcrypt_cost, chance.clone(), metrics.hashing.clone()));
        let mut digest_keys = config.secrets.sealing().map(|secret| derive(secret, "tokens"));
        let token_digests = digest_keys.next().expect("a configuration has a secret");
        let older_token_digests = digest_keys.collect();
        let recovery = Recovery::new(&store, &token_digests, Arc::clone(&hasher)).await?;
        let memory = config.memory();
        let older_tokens = OlderTokens::load(&store, &token_digests).await?;
        let keys = KeyRing::load(store.clone(), sealing_with(&config), chance.clone(), clock.now()).await?;
        // Last of what can fail: a run that has begun and does not end in order takes a tenth of every limit.
        let windows = if redis.is_some() {
            None
        } else {
            let places = derive(&config.secrets.refresh_jwt, "windows");
            Some(Windows::begin(store.clone(), Arc::clone(&clock), places).await?)
        };
        let new_limiter = async |name, bytes| match (&redis, &windows) {
            (Some(redis), _) => Ok(Limiter::on_redis(redis, bytes)),
            (None, Some(windows)) => windows.limiter(name, bytes).await,
            (None, None) => Ok(Limiter::in_memory(bytes)),
        };
        let validating = ValidatorParts {
            store: store.clone(),
            limiter: new_limiter("credentials", memory.token_windows).await?,
            clock: Arc::clone(&clock),
            keys,
            token_digests,
            older_token_digests,
            limit: config.limits.token,
            metrics: Arc::clone(&metrics),
            cache_bytes: memory.copies,
        };
        let mut process_secret = [0u8; 32];
        chance.with(|rng| rng.fill_bytes(&mut process_secret));
        let validator = Validator::new(validating, recovery, older_tokens, &process_secret);
        // Apart, so that somebody with many addresses crowds out no users.
        let limiter = new_limiter("users", memory.caller_windows / 2).await?;
        let strangers = new_limiter("strangers", memory.caller_windows / 2).await?;
        let auth = Arc::new(Self {
            service_keys: ServiceKeys::new(&config.secrets.service_jwt),
            refresh_key: RefreshKey::new(&config.secrets.refresh_jwt),
            code_digests: derive(&config.secrets.refresh_jwt, "codes"),
            window_names: derive(&config.secrets.refresh_jwt, "window names"),
            looked: tokio::sync::Mutex::default(),
            deletions: Deletions::default(),
            descriptions: Descriptions::new(memory.descriptions),
            instance: chance.with(|rng| EventId::generate(rng)).to_string(),
            oauth_requests: oauth::Requests::new(config.oauth.timeout),
            seals: sealing_with(&config),
            config,
            store,
            limiter,
            strangers,
            windows,
            clock,
            chance,
            hasher,
            in_the_making: InTheMaking::default(),
            validator,
            leak_reports: LeakReports::new(),
            mailer,
            sms,
            templates,
            outbox,
            metrics,
            operations,
        });
        auth.look().await?;
        Ok(auth)
    }

    /// The name of a window whose key says who somebody is, or from where: windows are saved, and where their names are
    /// kept nobody shall read an address, a mailbox, a number or a wallet.
    pub(crate) fn window_name(&self, key: &str) -> String {
        unreadable(&self.window_names, key)
    }

    /// Counts something that somebody does, from wherever they do it: many addresses must not allow one account more, since
    /// each time is an event in the audit log. See `docs/decisions/0028-bounds-travel-whole.md`.
    pub(crate) async fn admit_from_anywhere(&self, key: &str, limit: Limit) -> Result<(), ApiError> {
        let at = self.clock.moment();
        match self.limiter.admit(&self.window_name(key), limit, at.steady).await.on_the_wall(at) {
            Verdict::Admitted(_) => Ok(()),
            Verdict::Refused { retry_at, .. } => {
                self.metrics.refused(Refused::Caller);
                Err(ApiError::rate_limited("Too many requests; try again later", retry_at, at.wall))
            }
            Verdict::Unsaved => Err(internal(StoreError::WindowNotSaved)),
        }
    }

    /// Whether one more failure at `key`, which anybody can name, goes into the audit log. Nobody is refused for it: it
    /// only keeps strangers from filling somebody's log.
    pub(crate) async fn is_noted(&self, key: &str, limit: Limit) -> bool {
        let at = self.clock.moment().steady;
        matches!(self.strangers.admit(&self.window_name(key), limit, at).await, Verdict::Admitted(_))
    }

    /// Admits nothing any more, and saves all windows that are counted in this process. Without this, the next process
    /// grants a tenth less of each limit for one window.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn save_windows(&self) -> Result<(), StoreError> {
        let Some(windows) = &self.windows else { return Ok(()) };
        for limiter in [&self.validator.limiter, &self.limiter, &self.strangers] {
            if !limiter.close().await {
                return Err(StoreError::WindowNotSaved);
            }
        }
        windows.end().await
    }

    /// Does what ends these credentials or makes them worth less: when this returns, no instance trusts a copy of them.
    pub(crate) async fn revoking<T>(
        &self,
        credentials: &[MarkedCredential],
        change: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, ApiError> {
        // Before the commit, so that a caller who hangs up in between cannot leave a dead credential in a cache.
        let _: Marked = self.mark(credentials).await;
        let changed = change.await.map_err(internal)?;
        self.make_known(credentials).await;
        Ok(changed)
    }

    /// From now on no copy of these is trusted here, nor, if Redis can be reached, elsewhere; the database decides.
    pub(crate) async fn mark(&self, credentials: &[MarkedCredential]) -> Marked {
        let (mut marked, now) = (Marked::Everywhere, self.clock.steady());
        let owners: HashSet<_> = credentials.iter().filter_map(MarkedCredential::owner).cloned().collect();
        if !owners.is_empty() {
            self.validator.forget_owned_by(&owners);
            marked = Marked::HereOnly;
        }
        for credential in credentials.iter().filter(|credential| credential.owner().is_none()) {
            if self.validator.limiter.mark_stale(&credential.key(), i64::MAX, MARK_LIFETIME, now).await
                == Marked::HereOnly
            {
                marked = Marked::HereOnly;
            }
        }
        marked
    }

    /// Returns when all instances know that these were changed. The change has been committed, and the marks are owed
    /// in the database since.
    ///
    /// Once more in Redis, although they were marked before: a mark that was lost with a master since would be missed
    /// by instances that have not looked into the database yet. Where Redis cannot be reached, or there is none, all
    /// instances acknowledge that they have looked, or their trust runs out.
    pub(crate) async fn make_known(&self, credentials: &[MarkedCredential]) {
        let marked = self.mark(credentials).await;
        // Without Redis there is to be one process, but two may overlap for a while. One that comes later finds the mark.
        let is_known = match (marked, self.validator.limiter.state()) {
            (Marked::HereOnly, _) => false,
            (Marked::Everywhere, LimiterState::InProcess) => {
                matches!(self.store.other_instances(&self.instance).await, Ok(0))
            }
            (Marked::Everywhere, _) => true,
        };
        if !is_known {
            self.until_all_know().await;
        }
    }
}

/// The seals of the configured secrets; the first is the one in force.
fn sealing_with(config: &Config) -> Vec<Seal> {
    config.secrets.sealing().map(Seal::new).collect()
}

/// 128 bits of a keyed digest, in hexadecimal.
pub(crate) fn unreadable(key: &DigestKey, text: &str) -> String {
    let mut name = key.digest(&[text]).to_string();
    name.truncate(32);
    name
}

fn derive(secret: &SecretString, purpose: &str) -> DigestKey {
    DigestKey::derive(secret.expose_secret().as_bytes(), purpose)
}

/// The reply when the database fails: 503 where trying again can help, else 500. And when it refuses a session, which it
/// does for reasons of its own: 401.
pub(crate) fn internal(error: StoreError) -> ApiError {
    match error {
        StoreError::ProofTooOld(ProofTooOld { max_age, methods }) => {
            return ApiError::reauthentication_required(max_age, methods);
        }
        StoreError::SessionEnded => return ApiError::new(ErrorCode::SessionRevoked, "This session has been ended"),
        _ => {}
    }
    let cause = error.to_string();
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    let cause = format!("{cause}: {source}");
    if error.is_unavailable() { ApiError::unavailable(&cause) } else { ApiError::internal(&cause) }
}

/// The reply when a list cannot be had. Not 503 for whoever asks for too many at once: callers in between, such as the
/// backend, take that for an outage, and one user's flood would become everybody's.
pub(crate) fn no_list(auth: &AuthService) -> impl Fn(StoreError) -> ApiError {
    let now = auth.clock.now();
    move |error| match error {
        StoreError::Crowded => {
            let message = "Too many lists at once; ask for them one after the other";
            ApiError::rate_limited(message, now.plus(Duration::from_secs(1)), now)
        }
        error => internal(error),
    }
}
