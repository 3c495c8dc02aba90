//! What is kept of one key.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{Limit, Timestamp};

use super::saving::{Batch, Saving};
use super::shard::allocation;
use super::window::{Room, Window};
use crate::{CopyVerdict, Quota, SavedWindow, Verdict};

/// A credential was changed: copies below `version` are stale until `until`.
struct Mark {
    version: i64,
    until: Timestamp,
}

/// What is kept of a key, under a lock of its own: whoever knows where it is counts there without looking for it.
/// Entries come, go and are marked under their shard's lock only, which is taken before theirs.
#[derive(Default)]
pub(super) struct Entry(Mutex<Key>);

#[derive(Default)]
struct Key {
    /// `None` until something is counted.
    window: Option<Window>,
    mark: Option<Mark>,
    /// It is in the queue of what is to be saved.
    queued: Option<Arc<Batch>>,
    /// The shard has dropped it: what would be counted here would be forgotten, and what is marked is marked elsewhere.
    is_gone: bool,
}

/// A request that was counted, and whether it has to wait before it is told so.
pub(super) struct Counted {
    pub(super) verdict: Verdict,
    pub(super) waiting: Option<Waiting>,
    /// How many bytes more the window takes.
    pub(super) grown: usize,
    limit: Limit,
    at: Timestamp,
    /// Where, if it was counted anywhere.
    entry: Option<Arc<Entry>>,
}

impl Counted {
    /// It was not: the process stops.
    pub(super) const fn not(limit: Limit, at: Timestamp) -> Self {
        Self { verdict: Verdict::Unsaved, waiting: None, grown: 0, limit, at, entry: None }
    }

    /// Takes an admitted request back.
    pub(super) fn take_back(&self) {
        if let Some(entry) = &self.entry {
            entry.take_back(self.limit, self.at);
        }
    }
}

/// What a request waits for that was counted beyond what may be unsaved: that the database knows of it, or of enough of
/// those before it.
pub(super) struct Waiting {
    name: Arc<str>,
    entry: Arc<Entry>,
    limit: Limit,
    number: u32,
    batch: Arc<Batch>,
}

/// How far a window may be ahead of what is saved of it: what a process that is killed may have admitted unseen.
pub(super) const fn chunk(limit: Limit) -> u32 {
    limit.count / 10
}

impl Entry {
    pub(super) fn with(window: Window) -> Self {
        Self(Mutex::new(Key { window: Some(window), ..Key::default() }))
    }

    /// Counts a request with a copy of version `version`, unless it is stale; `None` when this is not the place to ask.
    pub(super) fn admit_copy(&self, version: i64, limit: Limit, now: Timestamp) -> Option<CopyVerdict> {
        let mut key = self.lock();
        if key.is_gone {
            return None;
        }
        if key.is_stale(version, now) {
            return Some(CopyVerdict::Stale);
        }
        let window = key.window.as_mut().filter(|window| !window.is_to_be_seen_to())?;
        window.admit_within(limit, now, Room::AsItIs).map(CopyVerdict::Counted)
    }

    /// Counts a request, if it is within `count` in the window of `limit`.
    pub(super) fn count(
        self: &Arc<Self>,
        name: &Arc<str>,
        (limit, count): (Limit, u32),
        now: Timestamp,
        room: Room,
        saving: Option<&Arc<Saving>>,
        start: impl FnOnce() -> Window,
    ) -> Counted {
        let mut key = self.lock();
        let Key { window, queued, .. } = &mut *key;
        let before = window.as_ref().map_or(0, Window::bytes);
        let window = window.get_or_insert_with(start);
        let verdict = window
            .admit_within(Limit { count, ..limit }, now, room)
            .unwrap_or_else(|| unreachable!("only a window that has to do with what it has cannot say"));
        let grown = allocation(window.bytes()).saturating_sub(allocation(before));
        let is_admitted = matches!(verdict, Verdict::Admitted(_));
        let waiting = saving.filter(|_| is_admitted).and_then(|saving| {
            let chunk = chunk(limit);
            let number = window.number();
            let unsaved = window.unsaved();
            window.chunk = chunk;
            // Half of it beforehand, so that hardly anybody has to wait.
            window.slack = chunk / 2;
            if unsaved <= chunk / 2 {
                return None;
            }
            window.slack = chunk;
            let batch = Arc::clone(queued.get_or_insert_with(|| saving.queue(name, self)));
            (unsaved > chunk).then(|| {
                saving.hurry();
                Waiting { name: Arc::clone(name), entry: Arc::clone(self), limit, number, batch }
            })
        });
        Counted { verdict, waiting, grown, limit, at: now, entry: is_admitted.then(|| Arc::clone(self)) }
    }

    fn take_back(&self, limit: Limit, at: Timestamp) {
        if let Some(window) = self.lock().window.as_mut() {
            window.take_back(limit, at);
        }
    }

    /// The window as it is; `None` if there is none.
    pub(super) fn peek(&self, limit: Limit, now: Timestamp) -> Option<Quota> {
        self.lock().window.as_mut().map(|window| window.peek(limit, now))
    }

    /// A copy of a window that still counts something.
    pub(super) fn copied(&self, now: Timestamp) -> Option<Window> {
        let mut key = self.lock();
        let window = key.window.as_mut()?;
        (!window.is_idle(now)).then(|| window.clone())
    }

    pub(super) fn is_stale(&self, version: i64, now: Timestamp) -> bool {
        self.lock().is_stale(version, now)
    }

    pub(super) fn mark_stale(&self, version: i64, until: Timestamp) {
        let mut key = self.lock();
        let mark = key.mark.get_or_insert(Mark { version, until });
        mark.version = mark.version.max(version);
        mark.until = mark.until.max(until);
    }

    /// Whether nothing is counted or marked any more; if so, it is from now on gone, and this many bytes of its window
    /// with it.
    pub(super) fn drop_if_idle(&self, now: Timestamp) -> Option<usize> {
        let mut key = self.lock();
        key.is_gone = key.is_idle(now);
        key.is_gone.then(|| key.window.as_ref().map_or(0, Window::bytes))
    }

    /// Counts nothing any more.
    pub(super) fn leave(&self) {
        self.lock().is_gone = true;
    }

    /// What is to be saved, and up to which request: taken from the queue. `None` if there is nothing to save.
    pub(super) fn snapshot(&self, name: &str) -> Option<(SavedWindow, u32)> {
        let mut key = self.lock();
        key.queued = None;
        let window = key.window.as_mut()?;
        if window.unsaved() == 0 {
            return None;
        }
        let (length, buckets) = window.contents();
        Some((SavedWindow { name: name.to_owned(), length, unseen: window.chunk, buckets }, window.number()))
    }

    /// The database knows of all up to this number.
    pub(super) fn is_saved(&self, number: u32) {
        if let Some(window) = self.lock().window.as_mut() {
            window.is_saved(number);
        }
    }

    /// As with the shard's lock, a panic can at worst have left a request uncounted or counted twice.
    fn lock(&self) -> MutexGuard<'_, Key> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    fn is_stale(&self, version: i64, now: Timestamp) -> bool {
        self.mark.as_ref().is_some_and(|mark| version < mark.version && now < mark.until)
    }

    fn is_idle(&mut self, now: Timestamp) -> bool {
        if self.mark.as_ref().is_some_and(|mark| now >= mark.until) {
            self.mark = None;
        }
        self.mark.is_none() && self.window.as_mut().is_none_or(|window| window.is_idle(now))
    }
}

/// A request waits for the database no longer than this; then it is told to try again.
const PATIENCE: Duration = Duration::from_secs(5);

impl Waiting {
    /// Returns whether the request may go on.
    pub(super) async fn settle(&self, saving: &Arc<Saving>) -> bool {
        tokio::time::timeout(PATIENCE, self.is_saved(saving)).await.unwrap_or(false)
    }

    async fn is_saved(&self, saving: &Arc<Saving>) -> bool {
        let mut batch = Arc::clone(&self.batch);
        loop {
            if !batch.is_saved().await {
                return false;
            }
            let mut key = self.entry.lock();
            let Some(window) = key.window.as_mut() else { return false };
            if window.ahead(self.number) <= chunk(self.limit) {
                return true;
            }
            if key.is_gone {
                return false;
            }
            batch = Arc::clone(key.queued.get_or_insert_with(|| saving.queue(&self.name, &self.entry)));
            drop(key);
            saving.hurry();
        }
    }
}
