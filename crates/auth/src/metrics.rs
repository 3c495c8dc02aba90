//! What the service counts about itself.

use std::sync::Arc;
use std::time::Duration;

use limiter::LimiterState;
use store::{Channel, Share};
use telemetry::{Gauge, HistogramVec, Outcomes, Registry, State};
use tokio::time::{Instant, timeout};

use crate::AuthService;
use crate::guessing::Guesses;
use crate::hashing::Waiting;
use crate::tokens::{Rejection, Validated};

/// Whoever asks for metrics waits no longer for the database than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// The service's own metrics; what its HTTP side counts is with [`web::Operations`].
#[derive(Debug)]
pub(crate) struct Metrics {
    validations: Outcomes<7>,
    cache: Outcomes<4>,
    refusals: Outcomes<2>,
    mails: Outcomes<4>,
    sms: Outcomes<7>,
    security_mails: Outcomes<3>,
    limiter_state: State<3>,
    database_seconds: HistogramVec<2>,
    database_up: Gauge,
    cache_entries: Gauge,
    cache_bytes: Gauge,
    uses_waiting: Gauge,
    notices_waiting: Gauge,
    audit_unsealed: Gauge,
    audit_oldest_unsealed_seconds: Gauge,
    pub(crate) guesses: Guesses,
    pub(crate) hashing: Waiting,
}

/// What became of a look into the cache of credentials.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Look {
    /// The copy was there and could be trusted.
    Hit,
    /// It was there, and too old or marked.
    Stale,
    /// It was not there.
    Miss,
    /// The text was looked for in vain a moment ago.
    Unknown,
}

/// Whose window refused a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refused {
    /// A credential's.
    Credential,
    /// An address's, a user's, a mailbox's or a phone's.
    Caller,
}

/// What became of a message with a code.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Message {
    /// It was handed over.
    Sent,
    /// It could not be handed over.
    Failed,
    /// The day's are used up.
    Cap,
    /// Those of newcomers are.
    Newcomers,
    /// Those of a country are.
    Country,
    /// Those of a block of numbers are.
    Block,
    /// The number is none that SMS are sent to.
    Unreachable,
}

impl Message {
    pub(crate) const fn handed_over(is_sent: bool) -> Self {
        if is_sent { Self::Sent } else { Self::Failed }
    }

    /// For what it was not sent.
    pub(crate) const fn of(share: &Share) -> Self {
        match share {
            Share::All => Self::Cap,
            Share::Newcomers => Self::Newcomers,
            Share::Country(_) => Self::Country,
            Share::Block(_) | Share::NewcomersOfBlock(_) => Self::Block,
        }
    }
}

/// What became of telling somebody what happened to their account.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Telling {
    /// A mail was accepted for delivery.
    Sent,
    /// A mail was not; it is tried again.
    Failed,
    /// It was tried for a day, and is not any more.
    GivenUp,
}

/// For what the database was asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked {
    /// A credential that the cache could not vouch for.
    Validation,
    /// Whether it is there.
    Ping,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let outcomes = ["valid", "invalid", "expired", "session_ended", "limited", "unavailable", "ip_not_allowed"];
        Self {
            validations: Outcomes::new("outcome", outcomes),
            cache: Outcomes::new("result", ["hit", "stale", "miss", "unknown"]),
            refusals: Outcomes::new("window", ["credential", "caller"]),
            mails: Outcomes::new("outcome", ["sent", "failed", "cap", "newcomers"]),
            sms: Outcomes::new("outcome", ["sent", "failed", "cap", "newcomers", "country", "block", "unreachable"]),
            security_mails: Outcomes::new("outcome", ["sent", "failed", "given_up"]),
            limiter_state: State::new("state", ["in_process", "in_redis", "fallback"]),
            database_seconds: HistogramVec::new("for", ["validation", "ping"]),
            database_up: Gauge::default(),
            cache_entries: Gauge::default(),
            cache_bytes: Gauge::default(),
            uses_waiting: Gauge::default(),
            notices_waiting: Gauge::default(),
            audit_unsealed: Gauge::default(),
            audit_oldest_unsealed_seconds: Gauge::default(),
            guesses: Guesses::new(),
            hashing: Waiting::default(),
        }
    }

    pub(crate) fn validated(&self, outcome: &Result<Validated, Rejection>) {
        let place = match outcome {
            Ok(_) => 0,
            Err(Rejection::Invalid) => 1,
            Err(Rejection::Expired) => 2,
            Err(Rejection::SessionEnded) => 3,
            Err(Rejection::Limited { .. }) => 4,
            Err(Rejection::Unavailable(_)) => 5,
            Err(Rejection::IpNotAllowed) => 6,
        };
        self.validations.at(place).inc();
        if let Err(Rejection::Limited { .. }) = outcome {
            self.refused(Refused::Credential);
        }
    }

    pub(crate) fn looked(&self, look: Look) {
        self.cache.at(look as usize).inc();
    }

    pub(crate) fn refused(&self, whose: Refused) {
        self.refusals.at(whose as usize).inc();
    }

    /// Counts what became of a message. Mails have no countries and blocks.
    pub(crate) fn message(&self, channel: Channel, message: Message) {
        match channel {
            Channel::Mail => self.mails.at((message as usize).min(Message::Newcomers as usize)).inc(),
            Channel::Sms => self.sms.at(message as usize).inc(),
        }
    }

    pub(crate) fn telling(&self, what: Telling, times: u64) {
        self.security_mails.at(what as usize).add(times);
    }

    fn limiter_is(&self, state: LimiterState) {
        self.limiter_state.set(match state {
            LimiterState::InProcess => 0,
            LimiterState::InRedis => 1,
            LimiterState::Fallback => 2,
        });
    }

    /// Counts how long the database takes from now until the answer.
    pub(crate) async fn time<T>(&self, what: Asked, asking: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let answer = asking.await;
        self.database_seconds.at(what as usize).observe(started.elapsed());
        answer
    }

    fn register(&self, registry: &mut Registry) {
        registry.add("validations", "Credentials put to the service, by what it said", self.validations.clone());
        registry.add("credential_cache", "Looks into the cache of verified credentials", self.cache.clone());
        registry.add("limiter_refusals", "Requests refused by a window", self.refusals.clone());
        registry.add("code_mails", "Mails with a code that were asked for, by what became of them", self.mails.clone());
        registry.add("code_sms", "SMS with a code that were asked for, by what became of them", self.sms.clone());
        registry.add("security_mails", "Mails about what happened to accounts", self.security_mails.clone());
        let waiting = "What people are still to be told about their accounts, once for each address";
        registry.add("security_notices_waiting", waiting, self.notices_waiting.clone());
        registry.add("limiter_state", "1 for where windows are counted, else 0", self.limiter_state.clone());
        registry.add("database_seconds", "How long the database took to answer", self.database_seconds.clone());
        registry.add("database_up", "1 if the database answered when this was asked, else 0", self.database_up.clone());
        registry.add("cache_entries", "Credentials and descriptions of users in memory", self.cache_entries.clone());
        registry.add("cache_bytes", "Bytes that these take in memory", self.cache_bytes.clone());
        registry.add("uses_waiting", "Credentials whose last use waits to be written down", self.uses_waiting.clone());
        registry.add("audit_unsealed_events", "Audit events not in the chain yet", self.audit_unsealed.clone());
        registry.add(
            "audit_oldest_unsealed_seconds",
            "Age of the oldest audit event that is not in the chain yet",
            self.audit_oldest_unsealed_seconds.clone(),
        );
        self.guesses.register(registry);
        registry.add("bcrypt_waiting", "Hashes that wait for a processor or are being made", self.hashing.gauge());
    }
}

fn gauged(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

impl AuthService {
    /// Shows the service's metrics in `registry`.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.metrics.register(registry);
        self.limiter.register_metrics(registry);
        self.config.trusted_proxies.register_metrics(registry);
    }

    /// Brings those up to date that are only looked at when somebody asks: the caches, the state of the limiter, the database
    /// and the audit chain. Takes two seconds at most.
    pub async fn look_at_itself(self: &Arc<Self>) {
        self.metrics.limiter_is(self.limiter.state());
        let (copies, descriptions) = (self.validator.cache_size(), self.descriptions.size());
        self.metrics.cache_entries.set(gauged(copies.0 + descriptions.0));
        self.metrics.cache_bytes.set(gauged(copies.1 + descriptions.1));
        self.metrics.uses_waiting.set(gauged(self.validator.uses_waiting()));
        let looking = async {
            let answer = self.metrics.time(Asked::Ping, self.store.ping()).await;
            answer?;
            let notices = self.store.count_notices().await?;
            self.store.audit_backlog().await.map(|backlog| (backlog, notices))
        };
        let backlog = timeout(PATIENCE, looking).await;
        let is_up = matches!(backlog, Ok(Ok(_)));
        self.metrics.database_up.set(i64::from(is_up));
        if let Ok(Ok((backlog, notices))) = backlog {
            self.metrics.notices_waiting.set(notices);
            self.metrics.audit_unsealed.set(backlog.events);
            let age = backlog.oldest.map_or(Duration::ZERO, |at| self.clock.now().since(at));
            self.metrics.audit_oldest_unsealed_seconds.set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        }
    }
}
