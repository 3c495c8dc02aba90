//! What happens beside requests: uses written down, the audit chain sealed, leftovers removed.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use domain::audit::Actor;
use domain::{ClientInfo, EventId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::{NewEvent, StoreError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::AuthService;
use crate::tokens::MARK_LIFETIME;

const RENEW_EVERY: Duration = Duration::from_millis(200);
const FLUSH_EVERY: Duration = Duration::from_secs(2);
/// What other processes wrote is noticed so soon; thrice within [`limiter::TRUST`].
const LOOK_EVERY: Duration = Duration::from_millis(500);
const SEAL_EVERY: Duration = Duration::from_millis(500);
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// A clock that was set is written down so soon beside the windows that are saved.
const CLOCK_EVERY: Duration = Duration::from_secs(1);
/// A key that another instance made is noticed so soon, if no JWT of it comes before.
const KEYS_EVERY: Duration = Duration::from_mins(1);
const CLEAN_EVERY: Duration = Duration::from_hours(24);
/// An installation that is restarted every day is cleaned all the same.
const FIRST_CLEANING_AFTER: Duration = Duration::from_mins(5);

/// Events that are sealed, or rows that are removed, in one transaction: few enough that no request waits long for it.
const BATCH: u32 = 500;
/// Expired tokens stay visible to their owner for so long.
const EXPIRED_TOKENS_KEPT: Duration = Duration::from_hours(30 * 24);
/// Owed marks are kept for so long after their end, whatever clocks they were written by.
const MARKS_KEPT: Duration = Duration::from_mins(10);
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

const CHORES: [Chore; 10] = [
    Chore {
        what: "looking at owed marks",
        first: Duration::ZERO,
        every: LOOK_EVERY,
        work: |auth| auth.look_at_owed_marks().boxed(),
    },
    Chore {
        what: "looking for foreign writes",
        first: LOOK_EVERY,
        every: LOOK_EVERY,
        work: |auth| auth.look_for_foreign_writes().boxed(),
    },
    Chore {
        what: "looking for imported tokens",
        first: LOOK_EVERY,
        every: LOOK_EVERY,
        work: |auth| auth.look_for_imports().boxed(),
    },
    Chore { what: "renewing copies", first: RENEW_EVERY, every: RENEW_EVERY, work: |auth| auth.renew_copies().boxed() },
    Chore { what: "writing down uses", first: FLUSH_EVERY, every: FLUSH_EVERY, work: |auth| auth.flush_some().boxed() },
    Chore { what: "sealing the audit chain", first: SEAL_EVERY, every: SEAL_EVERY, work: |auth| auth.seal().boxed() },
    Chore { what: "sweeping the limiter", first: SWEEP_EVERY, every: SWEEP_EVERY, work: |auth| auth.sweep().boxed() },
    Chore {
        what: "noticing that the clock was set",
        first: CLOCK_EVERY,
        every: CLOCK_EVERY,
        work: |auth| auth.look_at_the_clock().boxed(),
    },
    Chore {
        what: "looking after the signing keys",
        first: KEYS_EVERY,
        every: KEYS_EVERY,
        work: |auth| auth.look_after_keys().boxed(),
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

    /// Links committed audit events into the chain, unless another instance is at it.
    pub async fn seal(&self) -> Result<(), StoreError> {
        let seal = || self.store.seal_events(&self.instance, self.clock.now(), BATCH, &self.chance);
        while let Some(sealed) = seal().await? {
            if sealed < u64::from(BATCH) {
                break;
            }
        }
        Ok(())
    }

    /// Forgets all copies when another process has written to the database: it cannot set marks in this one.
    pub async fn look_for_foreign_writes(&self) -> Result<(), StoreError> {
        let now = self.store.foreign_writes().await?;
        let before = self.foreign_writes.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        if before != Some(now) {
            // The keys first: a copy that is made in between must not rest on one that has just been ended.
            let reloaded = self.validator.keys.reload().await;
            self.validator.forget_all();
            self.descriptions.forget_all();
            return reloaded;
        }
        Ok(())
    }

    /// Reads the signing keys that other instances or an operator have made, and makes the next one when it is time.
    pub async fn look_after_keys(&self) -> Result<(), StoreError> {
        self.validator.keys.reload().await?;
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

    /// Distrusts all copies of what the database says was ended or changed. Until this has been done, and whenever it
    /// has not been for a second and a half, an instance that shares a Redis trusts no copy at all.
    pub async fn look_at_owed_marks(&self) -> Result<(), StoreError> {
        let (looking, now) = (Instant::now(), self.clock.now());
        for credential in self.store.owed_marks(now).await? {
            self.validator.limiter.mark_stale_here(&credential, i64::MAX, MARK_LIFETIME, now);
        }
        self.validator.limiter.has_looked(looking);
        Ok(())
    }

    /// Writes down that the clock was set, so that saved windows keep their age.
    pub async fn look_at_the_clock(&self) -> Result<(), StoreError> {
        match &self.windows {
            Some(windows) => windows.look_at_the_clock().await,
            None => Ok(()),
        }
    }

    /// Forgets what is over: windows and marks.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let (now, steady) = (self.clock.now(), self.clock.steady());
        self.limiter.sweep(steady);
        self.strangers.sweep(steady);
        self.validator.limiter.sweep(steady);
        if let Some(windows) = &self.windows {
            while windows.purge(BATCH).await? {}
        }
        while self.store.purge_owed_marks(now.minus(MARKS_KEPT), BATCH).await? == u64::from(BATCH) {}
        Ok(())
    }

    /// Removes tokens 30 days after their expiry, and codes, sessions and pairings a day after they were over.
    pub async fn clean(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let event = || NewEvent {
            id: self.chance.with(|rng| EventId::generate(rng)),
            at: now,
            actor: Actor { service: Some(auth_api::AUTH_SERVICE.to_owned()), ..Actor::default() },
            client: ClientInfo::default(),
            metadata: BTreeMap::new(),
        };
        let is_full = |removed: u64| removed == u64::from(BATCH);
        while is_full(self.store.purge_tokens(now.minus(EXPIRED_TOKENS_KEPT), BATCH, event).await?) {}
        while is_full(self.store.purge_codes(now.minus(SPENT_KEPT), BATCH, &event()).await?) {}
        while is_full(self.store.purge_signing_keys(now.minus(SPENT_KEPT), BATCH).await?) {}
        while is_full(self.store.purge_exchange_codes(now.minus(SPENT_KEPT), BATCH).await?) {}
        while is_full(self.store.purge_oauth_states(now.minus(SPENT_KEPT), BATCH).await?) {}
        while is_full(self.store.purge_wallet_challenges(now.minus(SPENT_KEPT), BATCH).await?) {}
        while is_full(self.store.purge_link_codes(now.minus(SPENT_KEPT), BATCH).await?) {}
        while is_full(self.store.purge_mfa_challenges(now.minus(SPENT_KEPT), BATCH).await?) {}
        while is_full(self.store.purge_sessions(now.minus(SPENT_KEPT), BATCH).await?) {}
        while is_full(self.store.purge_pairings(now.minus(SPENT_KEPT), BATCH).await?) {}
        Ok(())
    }
}
