//! Removing the oldest events, so that what is left is still provable.

use std::ops::RangeInclusive;

use domain::audit::EventType;
use domain::{Chance, Timestamp};
use sqlx::AnyConnection;

use super::link::{Fit, fit, new_salt};
use super::{ChainPlace, Head, link_columns, lives_since};
use crate::audit::NewEvent;
use crate::rows::Columns;
use crate::transaction::transaction;
use crate::{Store, StoreError};

impl Store {
    /// Removes at most `limit` events from the chain's beginning, up to the first that did not happen before
    /// `happened_before`, and returns how many. One that is dated later than now, by a clock that was ahead, goes with
    /// those around it. An `audit.pruned` of the same transaction says which, and is sealed
    /// with it: without one, a chain that does not begin at its beginning is broken. What is not sealed stays.
    ///
    /// # Errors
    /// Also when one of these events is not the one that was sealed: pruning must not remove the evidence.
    pub async fn prune_events(
        &self,
        happened_before: Timestamp,
        limit: u32,
        chance: &Chance,
        event: &NewEvent,
    ) -> Result<u64, StoreError> {
        transaction!(self, |tx| {
            let Some(mut head) = Head::lock(tx).await? else { return Ok(0) };
            let Some(last) = last_to_prune(tx, &head.before_first, happened_before..=event.at, limit).await? else {
                return Ok(0);
            };
            let removed = sqlx::query("DELETE FROM audit_events WHERE seq > $1 AND seq <= $2")
                .bind(head.before_first.seq)
                .bind(last.seq)
                .execute(&mut *tx)
                .await?
                .rows_affected();
            let event = event.clone().with("count", &removed.to_string());
            let event = event.with("upTo", &last.seq.to_string()).with("link", &last.link);
            head.before_first = last;
            head.record(tx, EventType::AuditPruned, None, &event, new_salt(chance)).await?;
            head.keep(tx).await?;
            Ok(removed)
        })
    }
}

/// Where the new beginning will be, if there is anything to prune.
async fn last_to_prune(
    tx: &mut AnyConnection,
    before_first: &ChainPlace,
    kept: RangeInclusive<Timestamp>,
    limit: u32,
) -> Result<Option<ChainPlace>, StoreError> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        link_columns!(),
        // As verification judges it: the account is gone, or younger than this, and a deletion follows.
        ", CASE WHEN particulars_salt IS NULL AND COALESCE(",
        lives_since!(),
        ", at + 1) > at THEN (SELECT COUNT(*) FROM audit_events ends WHERE ends.user_id = events.user_id \
         AND ends.type = $3 AND ends.seq > events.seq) ELSE 0 END AS is_justified \
         FROM audit_events events WHERE seq > $1 ORDER BY seq LIMIT $2"
    ))
    .bind(before_first.seq)
    .bind(i64::from(limit))
    .bind(EventType::UserDeleted.as_str())
    .fetch_all(tx)
    .await?;
    let (mut at, mut last) = (before_first.clone(), None);
    for row in rows {
        let happened = row.time("at")?;
        if kept.contains(&happened) {
            break;
        }
        let seq = at.seq.saturating_add(1);
        let is_evidence = match fit(&at.link, seq, &row)? {
            Fit::Whole => false,
            Fit::Erased => !row.flag("is_justified")?,
            Fit::Broken => true,
        };
        if row.int("seq")? != seq || is_evidence {
            return Err(StoreError::Malformed { column: "audit_events.link" });
        }
        at = ChainPlace { seq, link: row.text("link")? };
        if happened < *kept.start() {
            last = Some(at.clone());
        }
    }
    Ok(last)
}
