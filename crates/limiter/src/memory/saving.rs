//! Saving windows, so that they survive the process.
//!
//! Whoever needs a save puts its window into a queue; one task, which is there only while there is something to do,
//! saves what has gathered, many in one transaction, and wakes those who wait for it.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::entry::Entry;
use crate::{SavedWindow, WindowStore};

/// Windows that are saved in one transaction at most.
const TOGETHER: usize = 256;
/// For how long windows are gathered while nobody waits.
const GATHERING: Duration = Duration::from_millis(20);

pub(super) struct Saving {
    store: Arc<dyn WindowStore>,
    queue: Mutex<Queue>,
    /// Somebody waits.
    hurry: Notify,
    /// One saves at a time, so that no older state of a window is written over a newer one.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<(Arc<Batch>, Vec<Named>)>,
    /// There is a task that saves them.
    is_seen_to: bool,
}

pub(super) type Named = (Arc<str>, Arc<Entry>);

/// Windows that are saved together; `None` until they have been, or could not be.
pub(super) struct Batch(watch::Sender<Option<bool>>);

impl Batch {
    /// Returns once it has been tried.
    pub(super) async fn is_saved(&self) -> bool {
        let mut outcome = self.0.subscribe();
        outcome.wait_for(Option::is_some).await.is_ok_and(|outcome| *outcome == Some(true))
    }
}

impl Saving {
    pub(super) fn new(store: Arc<dyn WindowStore>) -> Arc<Self> {
        Arc::new(Self { store, queue: Mutex::default(), hurry: Notify::new(), turn: tokio::sync::Mutex::default() })
    }

    /// Puts a window into the queue, in which it is not; to be called under its entry's lock.
    pub(super) fn queue(self: &Arc<Self>, name: &Arc<str>, entry: &Arc<Entry>) -> Arc<Batch> {
        let mut queue = self.lock();
        if queue.batches.back().is_none_or(|(_, windows)| windows.len() >= TOGETHER) {
            queue.batches.push_back((Arc::new(Batch(watch::Sender::new(None))), Vec::new()));
        }
        let (batch, windows) = queue.batches.back_mut().expect("there is one now");
        windows.push((Arc::clone(name), Arc::clone(entry)));
        let batch = Arc::clone(batch);
        if !mem::replace(&mut queue.is_seen_to, true) {
            tokio::spawn(Arc::clone(self).see_to_it());
        }
        batch
    }

    /// Somebody waits: no more gathering.
    pub(super) fn hurry(&self) {
        self.hurry.notify_one();
    }

    async fn see_to_it(self: Arc<Self>) {
        loop {
            let _ = timeout(GATHERING, self.hurry.notified()).await;
            let _turn = self.turn.lock().await;
            let next = {
                let mut queue = self.lock();
                let next = queue.batches.pop_front();
                queue.is_seen_to = next.is_some();
                next
            };
            let Some((batch, windows)) = next else { return };
            let is_saved = self.save(&windows).await;
            batch.0.send_replace(Some(is_saved));
        }
    }

    /// Saves these as they are now, many at a time; whether that has worked for all.
    pub(super) async fn save_all(&self, windows: &[Named]) -> bool {
        let _turn = self.turn.lock().await;
        for some in windows.chunks(TOGETHER) {
            if !self.save(some).await {
                return false;
            }
        }
        true
    }

    /// To be called by whose turn it is.
    async fn save(&self, windows: &[Named]) -> bool {
        let taken: Vec<_> = windows
            .iter()
            .filter_map(|(name, entry)| entry.snapshot(name).map(|(window, number)| (window, entry, number)))
            .collect();
        if taken.is_empty() {
            return true;
        }
        let (windows, counts): (Vec<SavedWindow>, Vec<_>) =
            taken.into_iter().map(|(window, entry, number)| (window, (entry, number))).unzip();
        let is_saved = self.store.save(windows).await.is_ok();
        if is_saved {
            for (entry, number) in counts {
                entry.is_saved(number);
            }
        }
        is_saved
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
