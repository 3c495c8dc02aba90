//! Secrets that are being made, by user: each takes a bcrypt hash, and everybody waits for the same processors.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::UserId;

/// How many secrets of each user are being made at this moment. Nobody has more made at once than they may have in a day:
/// the database decides after the hash, and would have all of them hashed to refuse most.
#[derive(Default)]
pub(crate) struct InTheMaking(Mutex<HashMap<UserId, u32>>);

/// One secret in the making, until it is dropped.
pub(crate) struct Making<'a> {
    all: &'a InTheMaking,
    user_id: UserId,
}

impl InTheMaking {
    /// `None` when `limit` secrets of the user's are being made already.
    pub(crate) fn begin(&self, user_id: &UserId, limit: u32) -> Option<Making<'_>> {
        let mut users = self.users();
        let count = users.get(user_id).copied().unwrap_or(0);
        if count >= limit {
            return None;
        }
        users.insert(user_id.clone(), count + 1);
        Some(Making { all: self, user_id: user_id.clone() })
    }

    fn users(&self) -> MutexGuard<'_, HashMap<UserId, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        let mut users = self.all.users();
        if let Some(count) = users.get_mut(&self.user_id) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.user_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_made_at_once_and_others_do_not_notice() {
        let all = InTheMaking::default();
        let (ann, bob) = ("ann".parse().unwrap(), "bob".parse().unwrap());
        let mut made: Vec<_> = (0..3).map(|_| all.begin(&ann, 3).unwrap()).collect();
        assert!(all.begin(&ann, 3).is_none() && all.begin(&bob, 3).is_some());
        made.pop();
        assert!(all.begin(&ann, 3).is_some());
        made.clear();
        assert!(all.users().is_empty(), "nothing is kept of who makes nothing");
    }
}
