//! Tokens whose digest was made under a key that is no longer in force.
//!
//! The bcrypt hash is the verifier of record: it outlives every server key. While rows sealed under another key exist,
//! a token that no digest matches is checked against the few rows that begin alike, and sealed anew if one of them is
//! its own. That is slow by design, so nobody gets to make us do it often, and nobody waits for all that others ask for:
//! see `docs/decisions/0027-memory-in-bytes-and-recovery-in-turn.md`.

use std::net::IpAddr;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{ClientInfo, Digest, DigestKey, Limit, Moment};
use limiter::{Limiter, Quota, Verdict};
use store::{FoundToken, SecretTrace, Store, StoreError};
use tokio::time::{Instant, timeout};

use super::fair_queue::{FairQueue, Full, Network, Turn};
use super::older::trace;
use super::validate::{Rejection, Validator};
use crate::addresses::Levels;
use crate::hashing::Hasher;
use crate::unreadable;

/// Failed recoveries that one address is granted; somebody whose tokens were all sealed anew never comes here again.
const FAILURES: Limit = Limit { count: 20, window: Duration::from_mins(1) };

/// Rows that begin alike and are read in one statement.
const PAGE: u32 = 8;

/// Rows that begin alike and are checked for one request. A prefix has four random characters, a hint 20 bits: so many
/// begin alike only among hundreds of millions of tokens.
const MAX_CANDIDATES: u32 = 256;

/// For how long a request waits for its turns, all in all: with the checks themselves well under the five seconds that
/// the backend waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// When those are asked to come again who found no room.
const COME_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Checks tokens by bcrypt while there are rows sealed under another key.
pub(crate) struct Recovery {
    hasher: Arc<Hasher>,
    needed: AtomicBool,
    /// A turn is one check. Of many requests with the same token the first does the work and the others, when their
    /// turn comes, find the digest it left.
    queue: Arc<FairQueue>,
    /// Checks whose callers went away before their end, yet to be counted: who hangs up must not guess for nothing.
    abandoned: Mutex<Vec<Failures>>,
}

/// A check under way. Dropped with its caller, it counts as a failure.
struct Attempt<'a> {
    recovery: &'a Recovery,
    failures: Option<Failures>,
}

impl Attempt<'_> {
    /// The caller is still there to hear of it.
    fn ends(mut self) {
        self.failures = None;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.recovery.abandoned().extend(self.failures.take());
    }
}

impl Recovery {
    pub(crate) async fn new(store: &Store, key: &DigestKey, hasher: Arc<Hasher>) -> Result<Self, StoreError> {
        let needed = store.has_foreign_seals(key.id()).await?;
        if needed {
            tracing::warn!(
                "tokens sealed under another key exist; each is checked by bcrypt once, when it is next used"
            );
        }
        // The other half of the processors is for those who create tokens.
        let at_once = std::thread::available_parallelism().map_or(1, NonZero::get).div_ceil(2);
        Ok(Self {
            hasher,
            needed: AtomicBool::new(needed),
            queue: FairQueue::new(at_once),
            abandoned: Mutex::default(),
        })
    }

    /// Whether there are such rows. To be asked before a token is looked for by its digest: once there are none, every
    /// token is found by it.
    pub(super) fn is_needed(&self) -> bool {
        self.needed.load(Ordering::Acquire)
    }

    /// Looks again whether there are such rows: another process has written some.
    pub(super) async fn reconsider(&self, store: &Store, key: &DigestKey) -> Result<(), StoreError> {
        self.needed.store(store.has_foreign_seals(key.id()).await?, Ordering::Release);
        Ok(())
    }

    /// The token that `presented` is the secret of, sealed anew under the key in force.
    ///
    /// # Errors
    /// Limited, when nobody can say whether it is one: too many have failed from there, or too many wait from there. Not
    /// unavailable, which the backend would take for an outage of this service: whoever has the wrong tokens would shut
    /// it for everybody.
    pub(super) async fn recover(
        &self,
        validator: &Validator,
        presented: &str,
        digest: &Digest,
        client: &ClientInfo,
    ) -> Result<Option<FoundToken>, Rejection> {
        let (store, key) = (&validator.store, validator.token_digests.id());
        let trace = trace(presented);
        let failures = Failures::of(client.ip, &validator.token_digests);
        let (mut after, mut checked, mut waited) = (None, 0, Duration::ZERO);
        // One a check, given back for the next.
        let mut turn = None;
        loop {
            let candidates = store.find_token_candidates(&trace, key, after.as_ref(), PAGE).await?;
            let Some(last) = candidates.last() else { break };
            after = Some(last.secret.id.clone());
            for candidate in candidates {
                if checked == MAX_CANDIDATES {
                    tracing::error!("more tokens begin alike than are checked; one of them may not be found");
                    return Err(come_again(validator.clock.moment()));
                }
                // Before it takes up room in the queue, and again when others have failed meanwhile.
                self.count_abandoned(validator).await;
                failures.ensure_few(&validator.limiter, validator.clock.moment()).await?;
                drop(turn.take());
                let Some(next) = self.turn(client.ip, &trace, &mut waited).await else {
                    return Err(come_again(validator.clock.moment()));
                };
                let next = Arc::new(next);
                if let Some(found) = store.find_token_by_digest(digest).await? {
                    return Ok(Some(found));
                }
                self.count_abandoned(validator).await;
                failures.ensure_few(&validator.limiter, validator.clock.moment()).await?;
                checked += 1;
                let attempt = Attempt { recovery: self, failures: Some(failures.clone()) };
                let verifying = self.hasher.verify(presented, candidate.secret.hash, Arc::clone(&next));
                let is_it = verifying.await.unwrap_or_else(|error| {
                    tracing::error!(%error, secret_id = %candidate.secret.id, "a stored hash cannot be checked");
                    false
                });
                attempt.ends();
                turn = Some(next);
                if is_it {
                    store.reseal_token_secret(&candidate.secret.id, digest, key).await?;
                    self.needed.store(store.has_foreign_seals(key).await?, Ordering::Release);
                    return Ok(store.find_token_by_digest(digest).await?);
                }
            }
        }
        // Another request with the same token may have sealed it anew since its digest was looked for.
        if let Some(found) = store.find_token_by_digest(digest).await? {
            return Ok(Some(found));
        }
        // Still in its turn, so that of those who come at once no more are checked than may fail.
        if turn.is_some() && failures.count(&validator.limiter, validator.clock.moment()).await {
            tracing::warn!(ip = ?client.ip, "too many unknown tokens that begin like existing ones");
        }
        Ok(None)
    }

    /// Counts the checks whose callers went away before their end.
    async fn count_abandoned(&self, validator: &Validator) {
        loop {
            let Some(failures) = self.abandoned().pop() else { return };
            let attempt = Attempt { recovery: self, failures: Some(failures.clone()) };
            let _: bool = failures.count(&validator.limiter, validator.clock.moment()).await;
            attempt.ends();
        }
    }

    fn abandoned(&self) -> MutexGuard<'_, Vec<Failures>> {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn for one check; `None` when there is no room or none came in time.
    async fn turn(&self, ip: Option<IpAddr>, trace: &SecretTrace, waited: &mut Duration) -> Option<Turn> {
        let (SecretTrace::Prefix(subject) | SecretTrace::Hint(subject)) = trace;
        let since = Instant::now();
        let turn = timeout(PATIENCE.saturating_sub(*waited), self.queue.turn(Network::of(ip), subject)).await;
        *waited += since.elapsed();
        match turn {
            Ok(Ok(turn)) => Some(turn),
            Ok(Err(Full)) | Err(_) => None,
        }
    }
}

/// Over the limit, as it were, for a moment.
fn come_again(now: Moment) -> Rejection {
    let at = now.wall.plus(COME_AGAIN_AFTER);
    Rejection::Limited { quota: Quota { limit: FAILURES.count, remaining: 0, reset_at: at }, retry_at: at }
}

/// Recoveries that failed from an address and from the networks around it, which are granted four times as much each.
#[derive(Clone)]
struct Failures(Vec<(String, Limit)>);

impl Failures {
    /// By names that nobody can read, since windows are saved.
    fn of(ip: Option<IpAddr>, key: &DigestKey) -> Self {
        let level = |(name, times): (String, u32)| {
            (
                unreadable(key, &format!("recovery:{name}")),
                Limit { count: FAILURES.count.saturating_mul(times), ..FAILURES },
            )
        };
        Self(Levels::of(ip).levels.into_iter().map(level).collect())
    }

    /// # Errors
    /// When one more failure would be too many.
    async fn ensure_few(&self, limiter: &Limiter, now: Moment) -> Result<(), Rejection> {
        for (key, limit) in &self.0 {
            let quota = limiter.peek(key, *limit, now.steady).await;
            if quota.remaining == 0 {
                let quota = Quota { reset_at: now.on_the_wall(quota.reset_at), ..quota };
                return Err(Rejection::Limited { quota, retry_at: quota.reset_at });
            }
        }
        Ok(())
    }

    /// Counts one; whether there may be no more.
    async fn count(&self, limiter: &Limiter, now: Moment) -> bool {
        let mut is_last = false;
        for (key, limit) in &self.0 {
            is_last |= match limiter.admit(key, *limit, now.steady).await {
                Verdict::Admitted(quota) => quota.remaining == 0,
                Verdict::Refused { .. } | Verdict::Unsaved => true,
            };
        }
        is_last
    }
}
