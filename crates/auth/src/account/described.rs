//! What users see of their own account, kept for a while: whoever asks about a credential may ask about its owner too.

use std::sync::Arc;
use std::time::Duration;

use domain::{Timestamp, UserId};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use store::{MarkedCredential, StoreError};

use crate::AuthService;
use crate::tokens::MARK_LIFETIME;

/// For how long a description is used without asking the database. Marks last as long at least.
const LIFETIME: Duration = Duration::from_secs(5);

/// A user, as the database described them at `read_at`, by the steady clock.
pub(crate) struct Described {
    /// [`Me`](auth_api::Me) in JSON.
    pub(crate) json: Box<[u8]>,
    /// The name under which the limiter keeps the user's mark.
    key: String,
    read_at: Timestamp,
}

/// Descriptions by user.
pub(crate) struct Descriptions(Cache<UserId, Arc<Described>, Bytes>);

/// About the bytes that a description takes.
#[derive(Clone)]
struct Bytes;

/// Of a description with its key: what it takes besides its texts, in the cache's tables and for its allocations.
const OVERHEAD: usize = 448;

/// A description with an address and a name.
const TYPICAL_BYTES: usize = 1024;

impl Weighter<UserId, Arc<Described>> for Bytes {
    fn weight(&self, user_id: &UserId, described: &Arc<Described>) -> u64 {
        (OVERHEAD + user_id.as_str().len() + described.key.len() + described.json.len()) as u64
    }
}

impl Descriptions {
    /// For descriptions of so many bytes all together; beyond, those used least make room.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Cache::with_weighter(bytes / TYPICAL_BYTES, bytes as u64, Bytes))
    }

    /// Removes those that are over.
    pub(crate) fn sweep(&self, now: Timestamp) {
        self.0.retain(|_, kept| now.since(kept.read_at) < LIFETIME);
    }

    /// How many there are, and how many bytes they take.
    pub(crate) fn size(&self) -> (usize, u64) {
        (self.0.len(), self.0.weight())
    }

    /// Something changed the database behind this process's back.
    pub(crate) fn forget_all(&self) {
        self.0.clear();
    }
}

impl AuthService {
    /// What is kept of the user, if [`describe`](Self::describe) would say the same now.
    ///
    /// Nothing, unless this process is the only one that changes users: with several instances the database is read
    /// each time.
    pub(crate) fn description(&self, user_id: &UserId) -> Option<Arc<Described>> {
        let now = self.clock.steady();
        let kept = self.descriptions.0.get(user_id)?;
        let is_fresh = self.validator.trust.holds(now) && now.since(kept.read_at) < LIFETIME;
        let is_good = is_fresh && self.validator.limiter.is_unmarked(&kept.key, 0, now);
        is_good.then_some(kept)
    }

    /// The user as they see themselves, from the database; `None` when there is no such user.
    pub(crate) async fn describe(&self, user_id: &UserId) -> Result<Option<Arc<Described>>, StoreError> {
        let read_at = self.clock.steady();
        let Some(user) = self.store.find_user(user_id).await? else { return Ok(None) };
        let json = serde_json::to_vec(&super::shown(user)).expect("texts, flags and times are JSON");
        let key = MarkedCredential::User(user_id.clone()).key();
        let described = Arc::new(Described { json: json.into(), key, read_at });
        self.descriptions.0.insert(user_id.clone(), Arc::clone(&described));
        Ok(Some(described))
    }

    /// Before a change of the user is committed: no description is trusted that was made before, or is made until it
    /// surely has been, whoever hangs up in between.
    pub(crate) fn changing_user(&self, user_id: &UserId) {
        self.distrust_descriptions(user_id, MARK_LIFETIME);
    }

    /// After it was, where nobody could tell before whom it would be about.
    pub(crate) fn changed_user(&self, user_id: &UserId) {
        self.distrust_descriptions(user_id, LIFETIME);
    }

    fn distrust_descriptions(&self, user_id: &UserId, lasting: Duration) {
        let key = MarkedCredential::User(user_id.clone()).key();
        self.validator.limiter.mark_stale_here(&key, i64::MAX, lasting, self.clock.steady());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_take_no_more_than_they_may_and_leave_when_they_are_over() {
        const BYTES: usize = 1024 * 1024;
        let descriptions = Descriptions::new(BYTES);
        let read_at = Timestamp::from_seconds(100);
        for number in 0..5_000 {
            let described = Described { json: vec![b'x'; 3_000].into(), key: String::new(), read_at };
            descriptions.0.insert(format!("u{number}").parse().unwrap(), Arc::new(described));
        }
        let (len, bytes) = descriptions.size();
        assert!(len > 100 && bytes <= BYTES as u64, "{bytes}");
        descriptions.sweep(read_at.plus(LIFETIME / 2));
        assert_eq!(descriptions.size(), (len, bytes));
        descriptions.sweep(read_at.plus(LIFETIME));
        assert_eq!(descriptions.size(), (0, 0));
    }
}
