//! Giving events their place in the chain.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::audit::{Actor, EventType};
use domain::{Chance, ClientInfo, EventId, Timestamp, UserId};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::link::{Particulars, link_after, new_salt};
use super::{Head, link_columns, lives};
use crate::audit::{NewEvent, record};
use crate::rows::Columns;
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// How long a sealer that stops working keeps the others waiting.
const LEASE: Duration = Duration::from_secs(10);

impl Store {
    /// Links at most `batch` events that are not sealed yet, oldest first, and returns how many; `None` while another
    /// `holder` has the lease. Salts are drawn from `chance`. Of those whose account is gone nothing personal is sealed:
    /// what calls that were under way have written late is erased first.
    pub async fn seal_events(
        &self,
        holder: &str,
        now: Timestamp,
        batch: u32,
        chance: &Chance,
    ) -> Result<Option<u64>, StoreError> {
        transaction!(self, |tx| {
            let Some(mut head) = take_lease(tx, holder, now).await? else { return Ok(None) };
            // Programs of before migration 13 lock this row when they erase what is not sealed yet.
            let older =
                sqlx::query("UPDATE audit_chain SET last_seq = last_seq RETURNING last_seq, last_link, lease_holder")
                    .fetch_optional(&mut *tx)
                    .await?;
            if let Some(older) = older
                && older.int("last_seq")? > 0
                && older.opt_text("lease_holder")?.is_none()
            {
                let event = new_event(chance, now).with("count", &older.int("last_seq")?.to_string());
                let event = event.with("link", &older.text("last_link")?);
                head.record(tx, EventType::AuditResealed, None, &event, new_salt(chance)).await?;
                // Said once; a name that no sealer has.
                sqlx::query("UPDATE audit_chain SET lease_holder = 'resealed'").execute(&mut *tx).await?;
            }
            let rows = sqlx::query(concat!(
                "SELECT ",
                link_columns!(),
                // One statement, one view: whoever is seen to be gone has been from before these events were sealed.
                ", CASE WHEN EXISTS (SELECT 1 FROM audit_events ends WHERE ends.user_id = events.user_id \
                 AND ends.type = $2) AND NOT ",
                lives!(),
                " THEN 1 ELSE 0 END AS is_gone FROM audit_events events \
                 WHERE seq IS NULL AND type <> $3 AND type <> $4 AND NOT (type = $2 AND ",
                lives!(),
                ") ORDER BY at, id LIMIT $1"
            ))
            .bind(i64::from(batch))
            .bind(EventType::UserDeleted.as_str())
            // The chain seals these as it writes them, and deletions. One that is not sealed was written by somebody else, and
            // a deletion perhaps by an older version; but then its account is gone.
            .bind(EventType::AuditPruned.as_str())
            .bind(EventType::AuditResealed.as_str())
            .fetch_all(&mut *tx)
            .await?;
            for row in &rows {
                head.seal(tx, row, row.flag("is_gone")?, new_salt(chance)).await?;
            }
            head.keep(tx).await?;
            Ok(Some(rows.len() as u64))
        })
    }
}

impl Head {
    /// Makes this row the chain's last; the head has yet to be [kept](Self::keep).
    async fn seal(
        &mut self,
        tx: &mut AnyConnection,
        row: &AnyRow,
        is_gone: bool,
        salt: String,
    ) -> Result<(), StoreError> {
        let id = row.text("id")?;
        let mut particulars = Particulars::of(row)?;
        if is_gone && !particulars.are_none() {
            particulars = Particulars::none();
            sqlx::query(
                "UPDATE audit_events SET ip = NULL, user_agent = NULL, request_id = NULL, metadata = '{}' \
                 WHERE id = $1",
            )
            .bind(id.as_str())
            .execute(&mut *tx)
            .await?;
        }
        let digest = particulars.digest(&salt);
        self.last.seq = self.last.seq.saturating_add(1);
        self.last.link = link_after(&self.last.link, self.last.seq, row, &digest)?;
        sqlx::query(
            "UPDATE audit_events SET seq = $1, link = $2, particulars_salt = $3, particulars_digest = $4 WHERE id = $5",
        )
        .bind(self.last.seq)
        .bind(self.last.link.as_str())
        .bind(salt)
        .bind(digest)
        .bind(id)
        .execute(tx)
        .await?;
        Ok(())
    }

    /// Writes an event and seals it at once.
    pub(super) async fn record(
        &mut self,
        tx: &mut AnyConnection,
        kind: EventType,
        user_id: Option<&UserId>,
        event: &NewEvent,
        salt: String,
    ) -> Result<(), StoreError> {
        record(tx, kind, user_id, event).await?;
        let row = sqlx::query(concat!("SELECT ", link_columns!(), " FROM audit_events WHERE id = $1"))
            .bind(event.id.as_str())
            .fetch_one(&mut *tx)
            .await?;
        self.seal(tx, &row, false, salt).await
    }
}

/// The chain's head, if the lease is free or the holder's own; the row stays locked until the transaction ends, so even
/// an expired holder that wakes up cannot seal at the same time. A lease that ends later than one that begins now is
/// of a clock that was set back since, or of one that is ahead, and holds nobody up.
async fn take_lease(tx: &mut AnyConnection, holder: &str, now: Timestamp) -> Result<Option<Head>, StoreError> {
    let row = sqlx::query(
        "UPDATE audit_head SET lease_holder = $1, lease_until = $2 \
         WHERE id = 'head' AND (lease_holder = $1 OR lease_until <= $3 OR lease_until > $2) \
         RETURNING first_seq, first_link, last_seq, last_link",
    )
    .bind(holder)
    .bind(now.plus(LEASE).as_millis())
    .bind(now.as_millis())
    .fetch_optional(tx)
    .await?;
    row.as_ref().map(Head::from_row).transpose()
}

fn new_event(chance: &Chance, now: Timestamp) -> NewEvent {
    NewEvent {
        id: chance.with(|rng| EventId::generate(rng)),
        at: now,
        actor: Actor::default(),
        client: ClientInfo::default(),
        metadata: BTreeMap::new(),
    }
}
