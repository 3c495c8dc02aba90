//! What is saved of windows, and by whom.

use std::sync::Arc;
use std::time::Duration;

use domain::{DigestKey, Timestamp};
use futures_util::future::BoxFuture;

/// A window as it is saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedWindow {
    /// The key; a window that newcomers share has a name of its own.
    pub name: String,
    /// The window's length.
    pub length: Duration,
    /// How many more may have been admitted at most, should the process have been killed.
    pub unseen: u32,
    /// What is counted, oldest first: how many, and when the last of them came, by the clock that the limiter is told.
    pub buckets: Vec<(Timestamp, u32)>,
}

/// Windows could not be saved; the cause is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotSaved;

/// Where windows are saved.
pub trait WindowStore: Send + Sync + 'static {
    /// Saves these windows over what was saved of them before, all or none. When it returns, they survive the process.
    ///
    /// # Errors
    /// When they do not, or nobody can say.
    fn save(&self, windows: Vec<SavedWindow>) -> BoxFuture<'_, Result<(), NotSaved>>;
}

/// How windows survive the process.
pub struct Keeping {
    /// Where they are saved.
    pub store: Arc<dyn WindowStore>,
    /// By what newcomers are assigned to windows that they share when memory is short: secret, and the same after a
    /// restart.
    pub places: DigestKey,
    /// When processes began before which another one had been killed, this one perhaps among them; oldest first, by the
    /// clock that the limiter is told. Windows that are not restored have the tenth of their limit that may have been
    /// lost counted at each of them; to those that are, whoever restores them adds it.
    pub after_kills: Vec<Timestamp>,
}
