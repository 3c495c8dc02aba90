//! Giving events their place in the chain.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use domain::audit::{Actor, EventType};
use domain::{Chance, ClientInfo, EventId, Timestamp, UserId};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe};

use super::link::{Particulars, link_after, new_salt};
use super::{ChainPlace, Head, link_columns, lives_since};
use crate::audit::{NewEvent, record};
use crate::rows::Columns;
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// How long a sealer that stops working keeps the others waiting.
const LEASE: Duration = Duration::from_secs(10);

/// How many events a statement seals. One each would hold the chain's end for as many round trips: with a database that
/// is far away, longer than a transaction may take. What is missing to a size is filled up with the last event.
const SIZES: [usize; 3] = [1, 16, 128];

static SEAL: LazyLock<[Arc<str>; SIZES.len()]> = LazyLock::new(|| {
    SIZES.map(|size| {
        let row = |row: usize| {
            let [id, seq, link, salt, digest, is_erased] = std::array::from_fn(|column| 6 * row + column + 1);
            format!("(${id}, CAST(${seq} AS BIGINT), ${link}, ${salt}, ${digest}, CAST(${is_erased} AS BIGINT))")
        };
        let rows: Vec<_> = (0..size).map(row).collect();
        let rows = rows.join(", ");
        // Columns of VALUES have these names in both databases.
        format!(
            "UPDATE audit_events AS e SET seq = v.column2, link = v.column3, particulars_salt = v.column4, \
             particulars_digest = v.column5, ip = CASE v.column6 WHEN 0 THEN e.ip END, \
             user_agent = CASE v.column6 WHEN 0 THEN e.user_agent END, \
             request_id = CASE v.column6 WHEN 0 THEN e.request_id END, \
             metadata = CASE v.column6 WHEN 0 THEN e.metadata ELSE '{{}}' END \
             FROM (VALUES {rows}) AS v WHERE e.id = v.column1"
        )
        .into()
    })
});

/// An event that has got its place, yet to be written.
struct Sealed {
    id: String,
    place: ChainPlace,
    salt: String,
    digest: String,
    is_erased: bool,
}

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
                 AND ends.type = $2) AND ",
                lives_since!(),
                " IS NULL THEN 1 ELSE 0 END AS is_gone FROM audit_events events \
                 WHERE seq IS NULL AND type <> $3 AND type <> $4 AND (type <> $2 OR ",
                lives_since!(),
                " IS NULL OR ",
                lives_since!(),
                " > at) ORDER BY at, id LIMIT $1"
            ))
            .bind(i64::from(batch))
            .bind(EventType::UserDeleted.as_str())
            // The chain seals these as it writes them, and deletions. One that is not sealed was written by somebody else,
            // and a deletion perhaps by an older version; but then its account is gone, or was made anew since.
            .bind(EventType::AuditPruned.as_str())
            .bind(EventType::AuditResealed.as_str())
            .fetch_all(&mut *tx)
            .await?;
            let places = rows.iter().map(|row| head.place(row, row.flag("is_gone")?, new_salt(chance)));
            write(tx, &places.collect::<Result<Vec<_>, _>>()?).await?;
            head.keep(tx).await?;
            Ok(Some(rows.len() as u64))
        })
    }
}

impl Head {
    /// Makes this row the chain's last, without what is personal if it `is_gone`; both the row and the head have yet to
    /// be written.
    fn place(&mut self, row: &AnyRow, is_gone: bool, salt: String) -> Result<Sealed, StoreError> {
        let particulars = if is_gone { Particulars::none() } else { Particulars::of(row)? };
        let digest = particulars.digest(&salt);
        self.last.seq = self.last.seq.saturating_add(1);
        self.last.link = link_after(&self.last.link, self.last.seq, row, &digest)?;
        Ok(Sealed { id: row.text("id")?, place: self.last.clone(), salt, digest, is_erased: is_gone })
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
        write(tx, &[self.place(&row, false, salt)?]).await
    }
}

async fn write(tx: &mut AnyConnection, sealed: &[Sealed]) -> Result<(), StoreError> {
    for some in sealed.chunks(SIZES[SIZES.len() - 1]) {
        let size = SIZES.iter().position(|&size| size >= some.len()).expect("no chunk is longer");
        let mut query = sqlx::query(AssertSqlSafe(Arc::clone(&SEAL[size])));
        for event in some.iter().chain(some.last().into_iter().cycle()).take(SIZES[size]) {
            query = query
                .bind(event.id.as_str())
                .bind(event.place.seq)
                .bind(event.place.link.as_str())
                .bind(event.salt.as_str())
                .bind(event.digest.as_str())
                .bind(i64::from(event.is_erased));
        }
        query.execute(&mut *tx).await?;
    }
    Ok(())
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
