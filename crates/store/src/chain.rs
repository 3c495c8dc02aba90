//! The hash chain over the audit events.
//!
//! Events are written without a place in the chain. A sealer, one at a time by a lease, gives the committed ones
//! consecutive numbers and links: each link is the SHA-256 of the link before and the event's canonical content. The
//! chain's end is kept apart, so that cutting events off the end shows as well.
//!
//! From where and with what something happened, the event's particulars, go into its link as a salted digest. So they
//! can be erased with their user's account: the digest stays, the chain with it, and without the salt nobody can find
//! out by trying what the digest was of.

use std::time::Duration;

use domain::audit::EventType;
use domain::{Chance, Timestamp, UserId};
use sha2::{Digest as _, Sha256};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::rows::Columns;
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// How long a sealer that stops working keeps the others waiting.
const LEASE: Duration = Duration::from_secs(10);
/// The link before the first event's.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// How many events are in memory at once while verifying.
const VERIFY_BATCH: i64 = 1_000;

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainReport {
    /// Events that are part of the chain.
    pub sealed: u64,
    /// Events that are not yet; nothing is known about them.
    pub unsealed: u64,
    /// Where the chain breaks first; `None` when it is whole.
    pub problem: Option<ChainProblem>,
}

/// A break in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainProblem {
    /// The place in the chain, counted from 1.
    pub seq: i64,
    /// The event at that place, when there is one.
    pub event_id: Option<String>,
    /// What was done there.
    pub what: Tampering,
}

/// What was done to the audit events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tampering {
    /// The event at this place is not the one that was sealed.
    Altered,
    /// The event at this place is missing.
    Removed,
    /// The event was put in by hand.
    SlippedIn,
}

macro_rules! link_columns {
    () => {
        "id, app_id, user_id, type, at, actor_session_id, actor_token_id, actor_service, ip, user_agent, \
         request_id, metadata, particulars_salt, particulars_digest, seq, link"
    };
}

/// Audit events that are committed and not in the chain yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditBacklog {
    /// How many.
    pub events: i64,
    /// When the first of them happened.
    pub oldest: Option<Timestamp>,
}

impl Store {
    /// Links at most `batch` events that are not sealed yet, oldest first, and returns how many; `None` while another
    /// `holder` has the lease. Salts are drawn from `chance`.
    pub async fn seal_events(
        &self,
        holder: &str,
        now: Timestamp,
        batch: u32,
        chance: &Chance,
    ) -> Result<Option<u64>, StoreError> {
        transaction!(self, |tx| {
            let Some(end) = take_lease(tx, holder, now).await? else { return Ok(None) };
            let (mut seq, mut link) = (end.int("last_seq")?, end.text("last_link")?);
            let rows = sqlx::query(concat!(
                "SELECT ",
                link_columns!(),
                " FROM audit_events WHERE seq IS NULL ORDER BY at, id LIMIT $1"
            ))
            .bind(i64::from(batch))
            .fetch_all(&mut *tx)
            .await?;
            for row in &rows {
                seq += 1;
                let salt = new_salt(chance);
                let particulars = particulars_digest(&salt, row)?;
                link = link_after(&link, row, &particulars)?;
                sqlx::query(
                    "UPDATE audit_events SET seq = $1, link = $2, particulars_salt = $3, particulars_digest = $4 \
                     WHERE id = $5",
                )
                .bind(seq)
                .bind(link.as_str())
                .bind(salt)
                .bind(particulars)
                .bind(row.text("id")?)
                .execute(&mut *tx)
                .await?;
            }
            sqlx::query("UPDATE audit_chain SET last_seq = $1, last_link = $2")
                .bind(seq)
                .bind(link)
                .execute(&mut *tx)
                .await?;
            Ok(Some(rows.len() as u64))
        })
    }

    /// What the sealer has still to do; of more than 100,000 events, so many.
    pub async fn audit_backlog(&self) -> Result<AuditBacklog, StoreError> {
        // Asked every few seconds, also when nobody has sealed for a day.
        let row = sqlx::query(
            "SELECT COUNT(*) AS events, MIN(at) AS oldest FROM \
             (SELECT at FROM audit_events WHERE seq IS NULL ORDER BY at, id LIMIT 100000) AS waiting",
        )
        .fetch_one(self.reader())
        .await?;
        Ok(AuditBacklog { events: row.int("events")?, oldest: row.opt_time("oldest")? })
    }

    /// Walks the whole chain, as it is at one moment, up to the first break.
    pub async fn verify_chain(&self) -> Result<ChainReport, StoreError> {
        // One transaction: the sealer goes on meanwhile, and the end has to fit the events.
        let mut snapshot = self.snapshot().await?;
        let counts = sqlx::query("SELECT COUNT(seq) AS sealed, COUNT(*) - COUNT(seq) AS unsealed FROM audit_events")
            .fetch_one(&mut *snapshot)
            .await?;
        let problem = first_problem(&mut snapshot).await?;
        Ok(ChainReport {
            sealed: u64::from(counts.count("sealed")?),
            unsealed: u64::from(counts.count("unsealed")?),
            problem,
        })
    }
}

/// The chain's end, if the lease is free or the holder's own; the row stays locked until the transaction ends, so even
/// an expired holder that wakes up cannot seal at the same time.
async fn take_lease(tx: &mut AnyConnection, holder: &str, now: Timestamp) -> Result<Option<AnyRow>, StoreError> {
    Ok(sqlx::query(
        "UPDATE audit_chain SET lease_holder = $1, lease_until = $2 WHERE lease_holder = $1 OR lease_until <= $3 \
         RETURNING last_seq, last_link",
    )
    .bind(holder)
    .bind(now.plus(LEASE).as_millis())
    .bind(now.as_millis())
    .fetch_optional(tx)
    .await?)
}

async fn first_problem(tx: &mut AnyConnection) -> Result<Option<ChainProblem>, StoreError> {
    let end = sqlx::query("SELECT last_seq, last_link FROM audit_chain").fetch_one(&mut *tx).await?;
    let mut walk = Walk { seq: 0, link: GENESIS.to_owned(), end_seq: end.int("last_seq")?, suspect: None };
    let mut after = i64::MIN;
    loop {
        // Particulars may be missing where the user's account was deleted, and nowhere else.
        let rows = sqlx::query(concat!(
            "SELECT ",
            link_columns!(),
            ", CASE WHEN particulars_salt IS NULL AND ip IS NULL AND user_agent IS NULL AND request_id IS NULL \
             AND metadata = '{}' THEN (SELECT COUNT(*) FROM audit_events ends WHERE ends.user_id = events.user_id \
             AND ends.type = $3) ELSE 0 END AS erasures FROM audit_events events WHERE seq > $1 ORDER BY seq LIMIT $2"
        ))
        .bind(after)
        .bind(VERIFY_BATCH)
        .bind(EventType::UserDeleted.as_str())
        .fetch_all(&mut *tx)
        .await?;
        for row in &rows {
            after = row.int("seq")?;
            if let Some(problem) = walk.step(row)? {
                return Ok(Some(problem));
            }
        }
        if rows.is_empty() {
            return Ok(walk.finish(&end.text("last_link")?));
        }
    }
}

/// Where verifying stands.
struct Walk {
    /// The last event that was right.
    seq: i64,
    /// Its link.
    link: String,
    /// The chain's length, as its end says.
    end_seq: i64,
    /// An event whose link does not follow from the one before. What it is, the next one tells.
    suspect: Option<ChainProblem>,
}

impl Walk {
    fn step(&mut self, row: &AnyRow) -> Result<Option<ChainProblem>, StoreError> {
        let seq = row.int("seq")?;
        let problem = |what| Some(ChainProblem { seq, event_id: row.text("id").ok(), what });
        let fit = fit(&self.link, row)?;

        if let Some(suspect) = self.suspect.take() {
            // This one continues where the chain was before the suspect: the suspect is too many.
            let what = if fit == Fit::Follows { Tampering::SlippedIn } else { suspect.what };
            return Ok(Some(ChainProblem { what, ..suspect }));
        }
        if seq <= self.seq || seq > self.end_seq && self.seq == self.end_seq {
            return Ok(problem(Tampering::SlippedIn));
        }
        if seq > self.seq + 1 {
            return Ok(Some(ChainProblem { seq: self.seq + 1, event_id: None, what: Tampering::Removed }));
        }
        if fit == Fit::Broken {
            self.suspect = problem(Tampering::Altered);
            return Ok(None);
        }
        self.seq = seq;
        self.link = row.text("link")?;
        Ok(None)
    }

    fn finish(self, end_link: &str) -> Option<ChainProblem> {
        let missing = ChainProblem { seq: self.seq + 1, event_id: None, what: Tampering::Removed };
        let end_differs = ChainProblem { seq: self.seq, event_id: None, what: Tampering::Altered };
        self.suspect
            .or_else(|| (self.seq < self.end_seq).then_some(missing))
            .or_else(|| (self.link != end_link).then_some(end_differs))
    }
}

/// Erases the particulars of all events of a user whose account is being deleted in this very transaction.
pub(crate) async fn erase_particulars(tx: &mut AnyConnection, user_id: &UserId) -> Result<(), StoreError> {
    // The sealer locks this row: it is done with what it has read, or has yet to read what is left.
    sqlx::query("UPDATE audit_chain SET last_seq = last_seq").execute(&mut *tx).await?;
    sqlx::query(
        "UPDATE audit_events SET ip = NULL, user_agent = NULL, request_id = NULL, metadata = '{}', \
         particulars_salt = NULL WHERE user_id = $1",
    )
    .bind(user_id.as_str())
    .execute(tx)
    .await?;
    Ok(())
}

/// How an event fits to the link before its own.
#[derive(Debug, PartialEq, Eq)]
enum Fit {
    /// It is what was sealed after that link.
    Follows,
    /// Only its link is left: an older version sealed it, and it was erased since. That the next one follows from it
    /// still shows.
    Erased,
    /// It is not what was sealed, or not after that link.
    Broken,
}

fn fit(previous: &str, row: &AnyRow) -> Result<Fit, StoreError> {
    let link = row.opt_text("link")?;
    let is_erased = row.int("erasures")? > 0;
    let follows = match row.opt_text("particulars_digest")? {
        None => link == Some(older_link_after(previous, row)?),
        Some(particulars) => {
            let are_whole = match row.opt_text("particulars_salt")? {
                Some(salt) => particulars == particulars_digest(&salt, row)?,
                None => is_erased,
            };
            are_whole && link == Some(link_after(previous, row, &particulars)?)
        }
    };
    Ok(match follows {
        true => Fit::Follows,
        false if is_erased && link.is_some() && row.opt_text("particulars_digest")?.is_none() => Fit::Erased,
        false => Fit::Broken,
    })
}

/// SHA-256, in hexadecimal, over the link before, a line feed, and the event as a JSON array of its columns in this
/// order, with the digest of its particulars in the place of those. Whoever checks the chain with another program
/// needs no more than this and [`particulars_digest`].
fn link_after(previous: &str, row: &AnyRow, particulars: &str) -> Result<String, StoreError> {
    let content = serde_json::json!([
        row.text("id")?,
        row.text("app_id")?,
        row.opt_text("user_id")?,
        row.text("type")?,
        row.int("at")?,
        row.opt_text("actor_session_id")?,
        row.opt_text("actor_token_id")?,
        row.opt_text("actor_service")?,
        particulars,
    ]);
    Ok(sha256(previous, &content))
}

/// SHA-256, in hexadecimal, over the salt, a line feed, and a JSON array of these columns.
fn particulars_digest(salt: &str, row: &AnyRow) -> Result<String, StoreError> {
    let content = serde_json::json!([
        row.opt_text("ip")?,
        row.opt_text("user_agent")?,
        row.opt_text("request_id")?,
        row.text("metadata")?,
    ]);
    Ok(sha256(salt, &content))
}

/// What links were before particulars could be erased: over all columns as they are.
fn older_link_after(previous: &str, row: &AnyRow) -> Result<String, StoreError> {
    let content = serde_json::json!([
        row.text("id")?,
        row.text("app_id")?,
        row.opt_text("user_id")?,
        row.text("type")?,
        row.int("at")?,
        row.opt_text("actor_session_id")?,
        row.opt_text("actor_token_id")?,
        row.opt_text("actor_service")?,
        row.opt_text("ip")?,
        row.opt_text("user_agent")?,
        row.opt_text("request_id")?,
        row.text("metadata")?,
    ]);
    Ok(sha256(previous, &content))
}

/// 128 random bits.
fn new_salt(chance: &Chance) -> String {
    let mut salt = [0u8; 16];
    chance.with(|rng| rng.fill_bytes(&mut salt));
    hex(&salt)
}

fn sha256(first: &str, content: &serde_json::Value) -> String {
    hex(&Sha256::new().chain_update(first).chain_update("\n").chain_update(content.to_string()).finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}
