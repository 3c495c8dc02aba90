//! What deleted accounts and ended sessions leave, removed beside the requests.

use std::time::Duration;

use store::{Deletion, StoreError};
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::AuthService;
use crate::background::BATCH;

/// Batches before other chores, and the end of the process, get their turn.
const BATCHES: u32 = 50;
/// Between two batches: another process that waits for a SQLite file has no place in a queue.
const PAUSE: Duration = Duration::from_millis(5);
/// Deletions that are looked up at once.
const AT_ONCE: u32 = 16;

/// The deletions that this instance is at. Others may be at the same: each finds what the other has left.
#[derive(Default)]
pub(crate) struct Deletions(Mutex<Vec<Deletion>>);

impl AuthService {
    /// Removes some of what deleted accounts and ended sessions have left; `false` when there was nothing to do.
    pub async fn remove_what_is_left(&self) -> Result<bool, StoreError> {
        let mut under_way = self.deletions.0.lock().await;
        let now = self.clock.now();
        if under_way.is_empty() {
            *under_way = self.store.deletions_due(now, AT_ONCE).await?;
        }
        let mut found_some = false;
        for _ in 0..BATCHES {
            // One that fails begins again, after the others.
            let Some(mut deletion) = under_way.pop() else { break };
            found_some = true;
            if self.store.delete_batch(&mut deletion, BATCH, now).await?.is_some() {
                under_way.push(deletion);
            }
            sleep(PAUSE).await;
        }
        for _ in 0..BATCHES {
            if self.store.sweep_ended_sessions(BATCH).await?.is_none() {
                break;
            }
            found_some = true;
            sleep(PAUSE).await;
        }
        Ok(found_some)
    }
}
