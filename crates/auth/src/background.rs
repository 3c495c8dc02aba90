//! What happens beside requests: uses written down, the audit chain sealed, leftovers removed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::audit::Actor;
use domain::{ClientInfo, EventId, Timestamp};
use futures_util::future::{BoxFuture, ready};
use futures_util::{FutureExt, TryFutureExt as _};
use store::{NewEvent, StoreError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::AuthService;
use crate::sign_in::allowance;

const RENEW_EVERY: Duration = Duration::from_millis(200);
/// All copies have been looked at for being over in 64 times this, 13 seconds.
const SWEEP_COPIES_EVERY: Duration = Duration::from_millis(200);
const FLUSH_EVERY: Duration = Duration::from_secs(2);
/// With readers at every moment SQLite's log grows meanwhile by as much as is written in so long.
const WAL_EVERY: Duration = Duration::from_secs(2);
/// What was taken away elsewhere is noticed so soon; six times within [`TRUST`](crate::TRUST).
const LOOK_EVERY: Duration = Duration::from_millis(250);
const IMPORTS_EVERY: Duration = Duration::from_millis(500);
const SEAL_EVERY: Duration = Duration::from_millis(500);
/// So soon after it was answered, what a deletion leaves begins to go.
const DELETE_EVERY: Duration = Duration::from_secs(1);
const TELL_EVERY: Duration = Duration::from_secs(1);
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// A clock that was set is written down so soon beside the windows that are saved.
const CLOCK_EVERY: Duration = Duration::from_secs(1);
/// So soon after guessing has become an attack, everybody's codes are longer.
const WEIGH_EVERY: Duration = Duration::from_secs(5);
/// A key that another instance made is noticed so soon, if no JWT of it comes before.
const KEYS_EVERY: Duration = Duration::from_mins(1);
const PRUNE_EVERY: Duration = Duration::from_mins(1);
const CLEAN_EVERY: Duration = Duration::from_hours(24);
/// An installation that is restarted every day is cleaned all the same.
const FIRST_CLEANING_AFTER: Duration = Duration::from_mins(5);

/// Events that are sealed, or rows that are removed, in one transaction: few enough that no request waits long for it.
pub(crate) const BATCH: u32 = 500;
/// Batches of audit events that are sealed, or removed, before it is looked whether to stop.
const AT_ONCE: u32 = 20;
/// Expired tokens stay visible to their owner for so long.
const EXPIRED_TOKENS_KEPT: Duration = Duration::from_hours(30 * 24);
/// Spent codes and ended sessions are kept for so long, for whoever looks into what happened.
const SPENT_KEPT: Duration = Duration::from_hours(24);

/// The tasks beside the requests. [`stop`](Self::stop) it after the last request, or what they noted is lost.
pub struct Background {
    auth: Arc<AuthService>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// A piece of work that is done again and again.
struct Chore {
    what: &'static str,
    first: Duration,
    every: Duration,
    work: for<'a> fn(&'a AuthService) -> BoxFuture<'a, Result<(), StoreError>>,
}

const CHORES: [Chore; 15] = [
    Chore {
        what: "looking at what was taken away",
        first: Duration::ZERO,
        every: LOOK_EVERY,
        work: |auth| auth.look().boxed(),
    },
    Chore {
        what: "looking for imported tokens",
        first: IMPORTS_EVERY,
        every: IMPORTS_EVERY,
        work: |auth| auth.look_for_imports().boxed(),
    },
    Chore { what: "renewing copies", first: RENEW_EVERY, every: RENEW_EVERY, work: |auth| auth.renew_copies().boxed() },
    Chore {
        what: "sweeping copies",
        first: SWEEP_COPIES_EVERY,
        every: SWEEP_COPIES_EVERY,
        work: |auth| {
            auth.sweep_copies();
            ready(Ok(())).boxed()
        },
    },
    Chore { what: "writing down uses", first: FLUSH_EVERY, every: FLUSH_EVERY, work: |auth| auth.flush_some().boxed() },
    Chore {
        what: "shortening the database's log",
        first: WAL_EVERY,
        every: WAL_EVERY,
        work: |auth| auth.store.shorten_wal().map_ok(drop).boxed(),
    },
    Chore { what: "sealing the audit chain", first: SEAL_EVERY, every: SEAL_EVERY, work: |auth| auth.seal().boxed() },
    Chore { what: "sweeping the limiter", first: SWEEP_EVERY, every: SWEEP_EVERY, work: |auth| auth.sweep().boxed() },
    Chore {
        what: "noticing that the clock was set",
        first: CLOCK_EVERY,
        every: CLOCK_EVERY,
        work: |auth| auth.look_at_the_clock().boxed(),
    },
    Chore {
        what: "weighing guesses",
        first: WEIGH_EVERY,
        every: WEIGH_EVERY,
        work: |auth| auth.weigh_guesses().boxed(),
    },
    Chore {
        what: "looking after the signing keys",
        first: KEYS_EVERY,
        every: KEYS_EVERY,
        work: |auth| auth.look_after_keys().boxed(),
    },
    Chore {
        what: "removing what deleted accounts left",
        first: DELETE_EVERY,
        every: DELETE_EVERY,
        work: |auth| auth.remove_what_is_left().map_ok(drop).boxed(),
    },
    Chore {
        what: "telling people what happened to their accounts",
        first: TELL_EVERY,
        every: TELL_EVERY,
        work: |auth| auth.send_notices().boxed(),
    },
    Chore {
        what: "pruning the audit log",
        first: PRUNE_EVERY,
        every: PRUNE_EVERY,
        work: |auth| auth.prune_audit_log().boxed(),
    },
    Chore {
        what: "removing leftovers",
        first: FIRST_CLEANING_AFTER,
        every: CLEAN_EVERY,
        work: |auth| auth.clean().boxed(),
    },
];

impl Background {
    /// Starts the tasks.
    #[must_use]
    pub fn start(auth: &Arc<AuthService>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let tasks = CHORES.map(|chore| tokio::spawn(repeat(Arc::clone(auth), chore, stopped.clone())));
        Self { auth: Arc::clone(auth), stop, tasks: tasks.into() }
    }

    /// Ends the tasks and writes down what is still only in memory.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
        self.auth.finish_leak_reports().await;
        let outcomes = [
            ("uses", self.auth.flush().await),
            ("audit chain", self.auth.seal().await),
            ("windows", self.auth.save_windows().await),
            ("leave", self.auth.take_leave().await),
        ];
        for (what, outcome) in outcomes {
            if let Err(error) = outcome {
                tracing::error!(%error, what, "could not be written at shutdown");
            }
        }
    }
}

async fn repeat(auth: Arc<AuthService>, chore: Chore, mut stopped: watch::Receiver<bool>) {
    let mut ticks = interval_at(Instant::now() + chore.first, chore.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = (chore.work)(&auth).await {
            tracing::warn!(%error, "{} failed; it is tried again", chore.what);
        }
    }
}

impl AuthService {
    /// The same for as many as one transaction takes without keeping others waiting.
    async fn flush_some(&self) -> Result<(), StoreError> {
        self.validator.flush_some_usage(&self.chance).await
    }

    /// Writes down when and from where credentials were used.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.validator.flush_usage(&self.chance).await
    }

    /// Returns when what follows from every leak report so far has been done.
    pub async fn finish_leak_reports(&self) {
        self.leak_reports.finish().await;
    }

    /// Links committed audit events into the chain, unless another instance is at it; so many at once that stopping
    /// does not wait for a backlog of millions, as there is when all are sealed anew.
    pub async fn seal(&self) -> Result<(), StoreError> {
        let seal = || self.store.seal_events(&self.instance, self.clock.now(), BATCH, &self.chance);
        for _ in 0..AT_ONCE {
            if seal().await?.is_none_or(|sealed| sealed < u64::from(BATCH)) {
                break;
            }
        }
        Ok(())
    }

    /// Reads the signing keys that other instances or an operator have made, and makes the next one when it is time.
    pub async fn look_after_keys(&self) -> Result<(), StoreError> {
        self.validator.keys.reload(&*self.clock).await?;
        self.validator.keys.rotate_if_due(self.clock.now()).await
    }

    /// Learns of tokens that another process has imported.
    pub async fn look_for_imports(&self) -> Result<(), StoreError> {
        self.validator.look_for_imports().await
    }

    /// Reads copies in use again before their time is over.
    pub async fn renew_copies(&self) -> Result<(), StoreError> {
        self.validator.renew_copies().await
    }

    /// Removes copies that are over from memory: a part of them each time, so that nobody waits long for it.
    pub fn sweep_copies(&self) {
        self.validator.sweep_some();
    }

    /// Writes down that the clock was set, so that saved windows keep their age.
    pub async fn look_at_the_clock(&self) -> Result<(), StoreError> {
        match &self.windows {
            Some(windows) => windows.look_at_the_clock().await,
            None => Ok(()),
        }
    }

    /// Drops from memory what has ended, and from the database the windows and marks that nobody needs any more.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let now = self.clock.steady();
        self.descriptions.sweep(now);
        self.limiter.sweep(now);
        self.strangers.sweep(now);
        self.validator.limiter.sweep(now);
        if let Some(windows) = &self.windows {
            while windows.purge(BATCH).await? {}
        }
        let now = self.clock.now();
        while self.store.purge_flows(now, BATCH).await? == u64::from(BATCH) {}
        while self.store.purge_guesses(now, BATCH).await? == u64::from(BATCH) {}
        self.purge_owed_marks().await
    }

    /// Removes tokens 30 days after their expiry, and codes, sessions and pairings a day after they were over.
    pub async fn clean(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let event = || self.own_event(now);
        let is_full = |removed: u64| removed == u64::from(BATCH);
        while is_full(self.store.purge_tokens(now.minus(EXPIRED_TOKENS_KEPT), BATCH, event).await?) {}
        while is_full(self.store.purge_codes(now.minus(SPENT_KEPT), BATCH, &event()).await?) {}
        while is_full(self.store.purge_signing_keys(now.minus(SPENT_KEPT), BATCH).await?) {}
        while is_full(self.store.purge_exchange_codes(now.minus(SPENT_KEPT), BATCH).await?) {}
        while is_full(self.store.purge_oauth_states(now.minus(SPENT_KEPT), BATCH).await?) {}
        while is_full(self.store.purge_oauth_proofs(now.minus(SPENT_KEPT), BATCH).await?) {}
        while is_full(self.store.purge_mail_links(now.minus(SPENT_KEPT), BATCH).await?) {}
        while is_full(self.store.purge_wallet_challenges(now.minus(SPENT_KEPT), BATCH).await?) {}
        while is_full(self.store.purge_link_codes(now.minus(SPENT_KEPT), BATCH).await?) {}
        while is_full(self.store.purge_message_days(allowance::first_day_kept(now), BATCH).await?) {}
        while is_full(self.store.purge_mfa_challenges(now.minus(SPENT_KEPT), BATCH).await?) {}
        while is_full(self.store.purge_reauth_flows(now.minus(SPENT_KEPT), BATCH).await?) {}
        while is_full(self.store.purge_sessions(now.minus(SPENT_KEPT), BATCH).await?) {}
        while is_full(self.store.purge_undo_links(now.minus(SPENT_KEPT), BATCH).await?) {}
        while is_full(self.store.purge_mail_budgets(now.minus(SPENT_KEPT), BATCH).await?) {}
        while is_full(self.store.purge_pairings(now.minus(SPENT_KEPT), BATCH).await?) {}
        Ok(())
    }

    /// Removes audit events after `AUDIT_RETENTION`; so many at once as are sealed.
    pub async fn prune_audit_log(&self) -> Result<(), StoreError> {
        let Some(kept) = self.config.audit_retention else { return Ok(()) };
        let now = self.clock.now();
        for _ in 0..AT_ONCE {
            let event = self.own_event(now);
            if self.store.prune_events(now.minus(kept), BATCH, &self.chance, &event).await? < u64::from(BATCH) {
                break;
            }
        }
        Ok(())
    }

    /// For what the service does by itself.
    fn own_event(&self, at: Timestamp) -> NewEvent {
        NewEvent {
            id: self.chance.with(|rng| EventId::generate(rng)),
            at,
            actor: Actor { service: Some(auth_api::AUTH_SERVICE.to_owned()), ..Actor::default() },
            client: ClientInfo::default(),
            metadata: BTreeMap::new(),
        }
    }
}
