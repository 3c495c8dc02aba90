//! What users see of their own account, kept for a while: whoever asks about a credential may ask about its owner too.

use std::sync::Arc;
use std::time::Duration;

use domain::{Timestamp, UserId};
use quick_cache::sync::Cache;
use store::{MarkedCredential, StoreError};

use crate::AuthService;
use crate::tokens::MARK_LIFETIME;

/// For how long a description is used without asking the database. Marks last as long at least.
const LIFETIME: Duration = Duration::from_secs(5);

/// Descriptions kept at most; beyond, those used least make room.
const CAPACITY: usize = 16_384;

/// A user, as the database described them at `read_at`, by the steady clock.
pub(crate) struct Described {
    /// [`Me`](auth_api::Me) in JSON.
    pub(crate) json: Box<[u8]>,
    /// The name under which the limiter keeps the user's mark.
    key: String,
    read_at: Timestamp,
}

/// Descriptions by user.
pub(crate) struct Descriptions(Cache<UserId, Arc<Described>>);

impl Default for Descriptions {
    fn default() -> Self {
        Self(Cache::new(CAPACITY))
    }
}

impl Descriptions {
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
