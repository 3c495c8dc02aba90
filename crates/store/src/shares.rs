//! Who may have lists read, and how many at once.
//!
//! A list takes as long as its account is large, and whoever asks for sixty at once would hold every reader. So one
//! list of a user is read at a time, the user's others wait in a short queue, and all users' lists together hold at
//! most half of the readers. Lookups by a key, which every validation and sign-in needs, never stand in these queues.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::UserId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::{Store, StoreError};

/// Lists of one user that wait while another one of theirs is read. More are refused at once: whoever asks for them
/// does not read them as fast.
const WAITING: usize = 8;
/// How long a list waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Shares {
    /// Turns of all users together, in the order in which they come to the head of their own queues.
    lists: Arc<Semaphore>,
    /// Of users who have lists read or waiting, and of no other.
    users: Mutex<HashMap<UserId, Share>>,
}

#[derive(Debug)]
struct Share {
    turn: Arc<Semaphore>,
    present: usize,
}

/// A list is being read.
#[derive(Debug)]
pub(crate) struct ListTurn {
    _list: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
    _place: Place,
}

/// A place in the user's queue, or at its head.
#[derive(Debug)]
struct Place {
    shares: Arc<Shares>,
    user_id: UserId,
}

impl Shares {
    /// For a store with so many readers.
    pub(crate) fn of(readers: u32) -> Self {
        let lists = (readers as usize / 2).max(1);
        Self { lists: Arc::new(Semaphore::new(lists)), users: Mutex::default() }
    }

    fn users(&self) -> MutexGuard<'_, HashMap<UserId, Share>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, user_id: &UserId) -> Result<(Place, Arc<Semaphore>), StoreError> {
        let mut users = self.users();
        let share =
            users.entry(user_id.clone()).or_insert_with(|| Share { turn: Arc::new(Semaphore::new(1)), present: 0 });
        if share.present > WAITING {
            return Err(StoreError::Crowded);
        }
        share.present += 1;
        Ok((Place { shares: Arc::clone(self), user_id: user_id.clone() }, Arc::clone(&share.turn)))
    }

    /// Waits for this user's turn. The user's own comes first, so that nobody has two places in the queue of all.
    async fn turn(self: &Arc<Self>, user_id: &UserId) -> Result<ListTurn, StoreError> {
        let (place, turn) = self.enter(user_id)?;
        let turns = async {
            let turn = turn.acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
            let list = Arc::clone(&self.lists).acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
            Ok::<_, StoreError>(ListTurn { _list: list, _turn: turn, _place: place })
        };
        timeout(PATIENCE, turns).await.unwrap_or(Err(StoreError::Crowded))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut users = self.shares.users();
        if let Some(share) = users.get_mut(&self.user_id) {
            share.present -= 1;
            if share.present == 0 {
                users.remove(&self.user_id);
            }
        }
    }
}

impl Store {
    /// A list of this user's may be read while this is held.
    pub(crate) async fn list_turn(&self, user_id: &UserId) -> Result<ListTurn, StoreError> {
        self.shares.turn(user_id).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, future};
    use tokio::task::unconstrained;

    use super::*;

    fn user(name: &str) -> UserId {
        name.parse().unwrap()
    }

    #[tokio::test]
    async fn of_sixty_lists_of_one_user_one_is_read_and_the_others_keep_nobody_waiting() {
        // Polled more often than tokio lets one task be at a time.
        unconstrained(future::lazy(|_| sixty_lists())).await;
    }

    fn sixty_lists() {
        let shares = Arc::new(Shares::of(4));
        let ann = user("ann");
        let mut reading = shares.turn(&ann).now_or_never().unwrap().unwrap();
        let mut waiting: Vec<_> = (1..60).map(|_| Box::pin(shares.turn(&ann))).collect();
        let mut refused = 0;
        waiting.retain_mut(|turn| match turn.now_or_never() {
            None => true,
            Some(outcome) => {
                assert!(outcome.unwrap_err().is_unavailable());
                refused += 1;
                false
            }
        });
        assert_eq!((waiting.len(), refused), (WAITING, 59 - WAITING));

        for _ in 0..100 {
            shares.turn(&user("bob")).now_or_never().expect("bob waits for ann").unwrap();
        }
        // One after the other, in order.
        for next in waiting {
            drop(reading);
            reading = next.now_or_never().expect("it is this one's turn").unwrap();
        }
        drop(reading);
        assert!(shares.users().is_empty(), "nothing is kept of who asks for nothing");
    }

    #[tokio::test]
    async fn lists_of_all_users_hold_half_of_the_readers() {
        for (readers, lists) in [(1, 1), (4, 2), (10, 5)] {
            let shares = Arc::new(Shares::of(readers));
            let users: Vec<_> = (0..20).map(|number| user(&format!("user{number}"))).collect();
            let turns: Vec<_> = users.iter().filter_map(|user| shares.turn(user).now_or_never()).collect();
            assert_eq!(turns.len(), lists);
        }
    }

    #[tokio::test]
    async fn whoever_goes_away_gives_up_their_place() {
        let shares = Arc::new(Shares::of(4));
        let ann = user("ann");
        let reading = shares.turn(&ann).await.unwrap();
        for _ in 0..3 * WAITING {
            assert!(shares.turn(&ann).now_or_never().is_none());
        }
        drop(reading);
        shares.turn(&ann).now_or_never().unwrap().unwrap();
        assert!(shares.users().is_empty());
    }
}
