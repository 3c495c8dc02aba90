//! Windows that are counted in this process and survive it.
//!
//! They are saved with times of this process's steady clock, and beside them how far wall time is ahead of it, by which
//! the next process knows how old they are. See `docs/decisions/0026-windows-survive.md`.

use std::sync::Arc;
use std::time::Duration;

use domain::{Clock, DigestKey, Timestamp};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use limiter::{Keeping, Limiter, NotSaved, SavedWindow, WindowStore};
use store::{Store, StoreError, StoredWindow, WindowRun};
use tokio::sync::Mutex;

/// What the two clocks may disagree before that is written down. Saved windows are taken to be younger by as much.
const DRIFT: Duration = Duration::from_millis(10);
/// Windows that are read at once at the start.
const READ_AT_ONCE: u32 = 1000;

/// The windows of one run of the service.
pub(crate) struct Windows {
    store: Store,
    clock: Arc<dyn Clock>,
    places: DigestKey,
    /// This one, after those before it of which something may be left.
    runs: Vec<WindowRun>,
    /// How far wall time is ahead of the steady clock, as the database has it.
    wall_ahead: Mutex<i64>,
}

impl Windows {
    /// Begins a run. `places` is secret, and the same in every run.
    pub(crate) async fn begin(store: Store, clock: Arc<dyn Clock>, places: DigestKey) -> Result<Arc<Self>, StoreError> {
        let runs = store.begin_window_run(clock.steady(), clock.now()).await?;
        if let Some(WindowRun { is_after_kill: true, .. }) = runs.last() {
            tracing::warn!(
                "the service did not stop in order the last time: for one window, each limit of ten and more grants a \
                 tenth less"
            );
        }
        let wall_ahead = Mutex::new(ahead(&*clock));
        Ok(Arc::new(Self { store, clock, places, runs, wall_ahead }))
    }

    /// A limiter of this name, with what was saved of it.
    pub(crate) async fn limiter(self: &Arc<Self>, name: &'static str, bytes: usize) -> Result<Limiter, StoreError> {
        let now = self.clock.steady();
        let kills = self.runs.iter().filter(|run| run.is_after_kill);
        let kills: Vec<_> = kills.map(|run| (run.number, self.here(run, run.began).min(now))).collect();
        let keeping = Keeping {
            store: Arc::new(OfLimiter { windows: Arc::clone(self), name }),
            places: self.places.clone(),
            after_kills: kills.iter().map(|(_, at)| *at).collect(),
        };
        let limiter = Limiter::kept(bytes, keeping);
        let mut after = String::new();
        loop {
            let saved = self.store.saved_windows(name, &after, READ_AT_ONCE).await?;
            let Some(last) = saved.last() else { break };
            after.clone_from(&last.name);
            for window in saved {
                let Some(run) = self.runs.iter().find(|run| run.number == window.run) else { continue };
                let mut buckets: Vec<_> =
                    window.buckets.iter().map(|(last, count)| (self.here(run, *last).min(now), *count)).collect();
                buckets.extend(kills.iter().filter(|(kill, _)| *kill > run.number).map(|(_, at)| (*at, window.unseen)));
                let StoredWindow { name, length, unseen, .. } = window;
                limiter.restore(SavedWindow { name, length, unseen, buckets }, now);
            }
        }
        Ok(limiter)
    }

    /// When a moment of that run was, by this one's clock.
    fn here(&self, run: &WindowRun, then: Timestamp) -> Timestamp {
        Timestamp::from_millis(then.as_millis() + run.wall_ahead - self.present().wall_ahead).plus(DRIFT)
    }

    fn present(&self) -> &WindowRun {
        self.runs.last().expect("a run has begun")
    }

    /// Writes down that the clock was set, if it was.
    pub(crate) async fn look_at_the_clock(&self) -> Result<(), StoreError> {
        let mut known = self.wall_ahead.lock().await;
        let ahead = ahead(&*self.clock);
        if Duration::from_millis(ahead.abs_diff(*known)) >= DRIFT {
            self.store.set_window_clock(self.present().number, ahead).await?;
            *known = ahead;
        }
        Ok(())
    }

    /// Deletes at most `limit` of what is over; whether there may be more.
    pub(crate) async fn purge(&self, limit: u32) -> Result<bool, StoreError> {
        for run in &self.runs {
            // When this is set by the clock, both change alike.
            let ahead = self.present().wall_ahead - run.wall_ahead;
            let then = Timestamp::from_millis(self.clock.steady().as_millis() + ahead).minus(2 * DRIFT);
            if self.store.purge_windows(run.number, then, limit).await? == u64::from(limit) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The run ends, and all its windows are saved.
    pub(crate) async fn end(&self) -> Result<(), StoreError> {
        self.look_at_the_clock().await?;
        self.store.end_window_run(self.present().number).await
    }

    async fn save(&self, limiter: &str, windows: Vec<SavedWindow>) -> Result<(), StoreError> {
        self.look_at_the_clock().await?;
        let run = self.present().number;
        let stored =
            |SavedWindow { name, length, unseen, buckets }| StoredWindow { name, run, length, unseen, buckets };
        let windows: Vec<_> = windows.into_iter().map(stored).collect();
        self.store.save_windows(limiter, &windows).await
    }
}

/// How many milliseconds wall time is ahead of the steady clock.
fn ahead(clock: &dyn Clock) -> i64 {
    clock.now().as_millis().saturating_sub(clock.steady().as_millis())
}

/// Where one limiter's windows are saved.
struct OfLimiter {
    windows: Arc<Windows>,
    name: &'static str,
}

impl WindowStore for OfLimiter {
    fn save(&self, windows: Vec<SavedWindow>) -> BoxFuture<'_, Result<(), NotSaved>> {
        async {
            self.windows.save(self.name, windows).await.map_err(|error| {
                tracing::warn!(%error, "windows could not be saved: what would need it is not admitted");
                NotSaved
            })
        }
        .boxed()
    }
}
