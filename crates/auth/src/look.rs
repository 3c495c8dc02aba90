//! What an instance does so that nothing is accepted any more that was taken away elsewhere, and how whoever takes it
//! away waits for that. See `docs/decisions/0025-revocation-in-rounds.md`.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use domain::Timestamp;
use store::{ForeignWrites, MarkedCredential, OwedMark, RoundBy, Seen, Store, StoreError};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::AuthService;
use crate::tokens::MARK_LIFETIME;
use crate::trust::TRUST;

/// After so long every instance has acknowledged a round, or trusts no copy: [`TRUST`], and half a second for requests
/// that asked just before its end and are being answered.
const KNOWN_WITHIN: Duration = TRUST.saturating_add(Duration::from_millis(500));
/// So often whoever waits asks who has acknowledged.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// A look that finds its row gone makes it and looks again; one that loses it so often leaves it to the next.
const LOOKS: u32 = 3;
/// For how long a mark is owed after an instance has first seen it. Longer than any copy lives that was made before.
const MARKS_KEPT: Duration = Duration::from_mins(1);
/// Marks that are purged in one transaction.
const BATCH: usize = 500;
/// For how long a look waits for SQLite's one writer to find out whether somebody else has written to the file.
const WRITER_WAIT: Duration = Duration::from_millis(200);

/// What this instance has applied.
#[derive(Default)]
pub(crate) struct Looked {
    operators_round: Option<i64>,
    /// Each mark that is owed, as it was last seen, and since when it has been.
    marks: HashMap<String, (OwedMark, Timestamp)>,
    /// What other processes had written to a SQLite file.
    foreign_writes: Option<ForeignWrites>,
}

impl AuthService {
    /// Applies what has been taken away since the last look, by whomever, and acknowledges it. From when this began,
    /// copies are trusted for [`TRUST`].
    ///
    /// # Errors
    /// When the database cannot be read, or not written although it has to be; then the trust runs out.
    pub async fn look(&self) -> Result<(), StoreError> {
        let mut looked = self.looked.lock().await;
        for _ in 0..LOOKS {
            let began_at = self.clock.steady();
            let seen = self.store.look(&self.instance).await?;
            let (round, acknowledged) = (seen.round, seen.acknowledged);
            self.apply(&mut looked, seen, began_at).await?;
            let is_known = match acknowledged {
                None => false,
                Some(before) => before == round || self.store.acknowledge_round(&self.instance, round).await?,
            };
            if is_known {
                self.validator.trust.looked(began_at);
                break;
            }
            self.store.register_instance(&self.instance, round).await?;
        }
        self.look_for_foreign_writes(&mut looked).await
    }

    async fn apply(&self, looked: &mut Looked, seen: Seen, at: Timestamp) -> Result<(), StoreError> {
        // Without a row nobody has waited for this instance, and what was owed meanwhile may have been purged.
        if seen.acknowledged.is_none() || looked.operators_round != Some(seen.operators_round) {
            self.forget_everything().await?;
        }
        let known = |key: &String| looked.marks.get(key).copied();
        let is_new = |(key, mark): &(&String, &OwedMark)| known(key).is_none_or(|(before, _)| before != **mark);
        let mut owners = HashSet::new();
        for (key, _) in seen.marks.iter().filter(is_new) {
            match MarkedCredential::owner_of(key) {
                Some(owner) => drop(owners.insert(owner)),
                None => self.validator.limiter.mark_stale_here(key, i64::MAX, MARK_LIFETIME, at),
            }
        }
        if !owners.is_empty() {
            self.validator.forget_owned_by(&owners);
        }
        looked.operators_round = Some(seen.operators_round);
        let since =
            |key: &String, mark| known(key).filter(|(before, _)| *before == mark).map_or(at, |(_, since)| since);
        let marks = seen.marks.into_iter().map(|(key, mark)| {
            let since = since(&key, mark);
            (key, (mark, since))
        });
        looked.marks = marks.collect();
        Ok(())
    }

    /// Forgets every copy of anything, and reads the keys again.
    async fn forget_everything(&self) -> Result<(), StoreError> {
        // The keys first: a copy that is made in between must not rest on one that has just been ended.
        self.validator.keys.reload(&*self.clock).await?;
        self.validator.forget_all();
        self.descriptions.forget_all();
        Ok(())
    }

    /// Forgets all copies when another process has written to a SQLite file: it may have been anything, by hand.
    async fn look_for_foreign_writes(&self, looked: &mut Looked) -> Result<(), StoreError> {
        // While the writer is busy, nobody waits for this: the next look asks again.
        let Ok(now) = timeout(WRITER_WAIT, self.store.foreign_writes()).await else { return Ok(()) };
        let Some(now) = now? else { return Ok(()) };
        if looked.foreign_writes.is_some_and(|before| before != now) {
            self.forget_everything().await?;
        }
        looked.foreign_writes = Some(now);
        Ok(())
    }

    /// Purges the marks that have been known here for so long that nobody needs them.
    pub(crate) async fn purge_owed_marks(&self) -> Result<(), StoreError> {
        let now = self.clock.steady();
        let looked = self.looked.lock().await;
        let old = looked.marks.iter().filter(|(_, (_, since))| now.since(*since) > MARKS_KEPT);
        let old: Vec<_> = old.map(|(key, (mark, _))| (key.clone(), *mark)).collect();
        drop(looked);
        for batch in old.chunks(BATCH) {
            self.store.purge_owed_marks(batch).await?;
        }
        Ok(())
    }

    /// Returns when every instance knows what has been committed with its marks, this one included.
    pub(crate) async fn until_all_know(&self) {
        match self.store.next_round(RoundBy::Instance).await {
            Ok(round) => {
                if let Err(error) = self.look().await {
                    tracing::warn!(%error, "what was taken away could not be looked at; copies are not trusted");
                }
                until_acknowledged(&self.store, round).await;
            }
            Err(error) => {
                // The marks are owed all the same: who looks finds them, and who does not, trusts no copy by then.
                tracing::warn!(%error, "nobody can be asked what they know; waiting until no copy is trusted");
                sleep(KNOWN_WITHIN).await;
            }
        }
    }

    /// Trusts nothing any more, and nobody has to wait for this instance. For the end.
    ///
    /// # Errors
    /// When the database cannot be written: the next who waits removes the row.
    pub async fn take_leave(&self) -> Result<(), StoreError> {
        self.validator.trust.end();
        self.store.deregister_instance(&self.instance).await
    }
}

/// The same for whoever changes the database beside the service: every instance also forgets all of its copies and
/// reads the keys again.
///
/// # Errors
/// When the round cannot be begun: then running instances may not know.
pub(crate) async fn until_all_know_of(store: &Store) -> Result<(), StoreError> {
    let round = store.next_round(RoundBy::Operator).await?;
    until_acknowledged(store, round).await;
    Ok(())
}

/// Returns when every instance has acknowledged the round, or, if some are frozen, cut off or dead, when their trust
/// has run out by itself.
async fn until_acknowledged(store: &Store, round: i64) {
    let end = Instant::now() + KNOWN_WITHIN;
    while Instant::now() < end {
        if let Ok(Ok(0)) = timeout_at(end, store.instances_behind(round)).await {
            return;
        }
        sleep(ASK_EVERY).await;
    }
    // Nobody has to wait for them again. They make their rows anew before they trust anything.
    match store.remove_instances_behind(round).await {
        Ok(silent) if silent.is_empty() => {}
        Ok(silent) => {
            tracing::warn!(?silent, "instances did not answer in time; their copies are not trusted any more");
        }
        Err(error) => tracing::warn!(%error, "silent instances stay listed; the next who waits removes them"),
    }
}
