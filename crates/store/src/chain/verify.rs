//! Walking the chain, up to the first break.

use std::collections::HashMap;

use domain::audit::EventType;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::link::{Fit, fit, is_readable};
use super::{ChainPlace, Head, link_columns, lives_since};
use crate::rows::Columns;
use crate::{Store, StoreError};

/// How many events are in memory at once while verifying.
const BATCH: i64 = 1_000;

/// Events of the chain in their order, at most $1, with what erasures ($2 is `user.deleted`) and returns ($3 is
/// `user.created`) are judged by: since when the account is there, and whether its making anew waits for the sealer.
macro_rules! sealed_events {
    ($which:literal) => {
        concat!(
            "SELECT ",
            link_columns!(),
            ", CASE WHEN type = $2 OR particulars_salt IS NULL THEN ",
            lives_since!(),
            " END AS lives_since, CASE WHEN type = $2 THEN (SELECT COUNT(*) FROM audit_events made \
             WHERE made.user_id = events.user_id AND made.type = $3 AND made.seq IS NULL) ELSE 0 END AS returns \
             FROM audit_events events WHERE ",
            $which,
            " ORDER BY seq, id LIMIT $1"
        )
    };
}

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainReport {
    /// Events that were pruned, before those that are left.
    pub pruned: u64,
    /// Events that are part of the chain and whole; where it breaks, those before the break.
    pub sealed: u64,
    /// Events that are not part of it yet; nothing is known about them.
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
    /// The event at this place is not the one that was sealed, or is erased although its account is there, or without that
    /// a deletion of its user follows.
    Altered,
    /// The event at this place is missing.
    Removed,
    /// The event was put in by hand, or is the deletion of an account that is there and was not made anew since.
    SlippedIn,
    /// The chain does not begin where an `audit.pruned` says.
    Start,
    /// The chain's end is not its last event.
    End,
    /// The event at this place is not the one that was noted outside of the database.
    NotAsNoted,
    /// No event that was noted outside of the database is left.
    NotedIsPruned,
}

impl Store {
    /// Walks the whole chain, as it is at one moment, up to the first break.
    pub async fn verify_chain(&self) -> Result<ChainReport, StoreError> {
        self.verify_chain_against(&[]).await
    }

    /// The same, and checks that the chain goes through these places, which were noted outside of the database. Of
    /// those that were pruned since nothing can be told; one at least must be left.
    pub async fn verify_chain_against(&self, noted: &[ChainPlace]) -> Result<ChainReport, StoreError> {
        // One transaction: the sealer goes on meanwhile, and the end has to fit the events.
        let mut snapshot = self.snapshot().await?;
        let unsealed = sqlx::query(concat!(
            "SELECT COUNT(*) AS events, MIN(CASE WHEN type = $1 OR type = $2 OR (type = $3 AND ",
            lives_since!(),
            " <= at) THEN id END) AS slipped_in FROM audit_events events WHERE seq IS NULL"
        ))
        .bind(EventType::AuditPruned.as_str())
        .bind(EventType::AuditResealed.as_str())
        .bind(EventType::UserDeleted.as_str())
        .fetch_one(&mut *snapshot)
        .await?;
        let mut noted = noted.to_vec();
        noted.sort_by_key(|place| std::cmp::Reverse(place.seq));
        let report =
            ChainReport { pruned: 0, sealed: 0, unsealed: u64::from(unsealed.count("events")?), problem: None };
        let Some(head) = Head::find(&mut snapshot).await? else {
            let problem = ChainProblem { seq: 0, event_id: None, what: Tampering::End };
            return Ok(ChainReport { problem: Some(problem), ..report });
        };
        let pruned = u64::try_from(head.before_first.seq).unwrap_or(0);
        let mut walk = Walk::new(head, noted);
        walk.all(&mut snapshot).await?;
        let (sealed, problem) = walk.finish(unsealed.opt_text("slipped_in")?);
        Ok(ChainReport { pruned, sealed, problem, ..report })
    }
}

/// A break, and how many events before it are whole.
struct Break {
    whole: u64,
    problem: ChainProblem,
}

/// Where verifying stands.
struct Walk {
    head: Head,
    /// The last event that was looked at.
    at: ChainPlace,
    /// How many events were whole, up to the first that was not.
    whole: u64,
    /// An event that does not follow from the one before, and its place. What it is, the next one tells.
    suspect: Option<(Break, ChainPlace)>,
    /// The first break.
    broken: Option<Break>,
    /// By user, the first erased event that no deletion has followed yet. After a break the walk goes on for these
    /// alone: which of two breaks is the first depends on it.
    erased: HashMap<String, Break>,
    /// By user, the deletion of an account that is there: it must have been made anew since, and an event say so.
    returning: HashMap<String, Break>,
    /// Where the newest `audit.pruned` says that the chain begins.
    pruned: ChainPlace,
    /// What was noted outside and has not been met yet, the next one last.
    noted: Vec<ChainPlace>,
    /// Whether no noted place is left to check the chain by.
    noted_is_pruned: bool,
}

impl Walk {
    fn new(head: Head, mut noted: Vec<ChainPlace>) -> Self {
        let first = head.before_first.seq;
        // The end of a chain without events says nothing about any.
        noted.retain(|place| place.seq > 0);
        let has_notes = !noted.is_empty();
        // Of what was pruned, the last link is left.
        noted.retain(|place| place.seq >= head.before_first.seq);
        Self {
            at: head.before_first.clone(),
            head,
            whole: 0,
            suspect: None,
            broken: None,
            erased: HashMap::new(),
            returning: HashMap::new(),
            pruned: ChainPlace::before_all(),
            // The link of the last that was pruned is kept by the head alone, which proves nothing about what is left.
            noted_is_pruned: first > 0 && has_notes && noted.iter().all(|place| place.seq <= first),
            noted,
        }
    }

    async fn all(&mut self, tx: &mut AnyConnection) -> Result<(), StoreError> {
        while let Some(place) = self.noted.pop_if(|place| place.seq == self.at.seq) {
            if place.link != self.at.link {
                self.breaks(place.seq, None, Tampering::NotAsNoted);
            }
        }
        let total = sqlx::query("SELECT COUNT(*) AS events FROM audit_events WHERE seq IS NOT NULL");
        let total = total.fetch_one(&mut *tx).await?.int("events")?;
        let (mut looked_at, mut last) = (0, None);
        loop {
            let page = match &last {
                // Without a lower end: SQLite keeps numbers that are below all integers.
                None => sqlx::query(sealed_events!("seq IS NOT NULL")),
                // By id as well: whoever has dropped the index can give one place to several.
                Some(_) => sqlx::query(sealed_events!("seq >= $4 AND (seq > $4 OR id > $5)")),
            };
            let mut page = page.bind(BATCH).bind(EventType::UserDeleted.as_str()).bind(EventType::UserCreated.as_str());
            if let Some((seq, id)) = last.take() {
                page = page.bind::<i64>(seq).bind::<String>(id);
            }
            let rows = page.fetch_all(&mut *tx).await?;
            for row in &rows {
                if self.broken.is_some() && self.erased.is_empty() && self.returning.is_empty() {
                    return Ok(());
                }
                looked_at += 1;
                if is_readable(row) { self.step(row)? } else { self.unreadable(row) }
            }
            let readable = rows.iter().rfind(|row| is_readable(row));
            match readable.filter(|_| i64::try_from(rows.len()) == Ok(BATCH)) {
                Some(row) => last = Some((row.int("seq")?, row.text("id")?)),
                None => break,
            }
        }
        if looked_at != total {
            self.breaks(self.at.seq.saturating_add(1), None, Tampering::SlippedIn);
        }
        Ok(())
    }

    /// An event with a value of a type that no program of ours writes.
    fn unreadable(&mut self, row: &AnyRow) {
        if let Some((suspect, place)) = self.suspect.take() {
            self.broken = Some(suspect);
            self.at = place;
        }
        let seq = row.int("seq").unwrap_or(self.at.seq.saturating_add(1));
        self.breaks(seq, row.text("id").ok(), Tampering::Altered);
        self.at = ChainPlace { seq, link: row.text("link").unwrap_or_default() };
    }

    fn step(&mut self, row: &AnyRow) -> Result<(), StoreError> {
        let seq = row.int("seq")?;
        let link = row.opt_text("link")?.unwrap_or_default();
        if let Some((mut suspect, place)) = self.suspect.take() {
            // This one continues where the chain was before the suspect: the suspect is too many.
            if fit(&self.at.link, place.seq, row)? == Fit::Broken {
                self.at = place;
            } else {
                suspect.problem.what = Tampering::SlippedIn;
            }
            self.broken = Some(suspect);
        }
        if self.broken.is_some() {
            // It follows from the row before it, whatever that one is worth.
            if fit(&self.at.link, seq, row)? != Fit::Broken {
                self.justify(row)?;
            }
        } else {
            let id = row.opt_text("id")?;
            if seq <= self.at.seq || seq > self.head.last.seq && self.at.seq == self.head.last.seq {
                self.breaks(seq, id, Tampering::SlippedIn);
            } else if seq > self.at.seq.saturating_add(1) {
                self.breaks(self.at.seq.saturating_add(1), None, Tampering::Removed);
            } else {
                match fit(&self.at.link, seq, row)? {
                    Fit::Broken => {
                        let problem = ChainProblem { seq, event_id: id, what: Tampering::Altered };
                        self.suspect = Some((Break { whole: self.whole, problem }, ChainPlace { seq, link }));
                        return Ok(());
                    }
                    fit => self.accept(seq, &link, fit, row)?,
                }
            }
        }
        self.at = ChainPlace { seq, link };
        Ok(())
    }

    fn accept(&mut self, seq: i64, link: &str, fit: Fit, row: &AnyRow) -> Result<(), StoreError> {
        while let Some(noted) = self.noted.pop_if(|place| place.seq <= seq) {
            if noted.link != link {
                self.breaks(seq, row.opt_text("id")?, Tampering::NotAsNoted);
                return Ok(());
            }
        }
        let lives_since = row.opt_int("lives_since")?;
        let is_deletion = row.text("type")? == EventType::UserDeleted.as_str();
        if lives_since.is_some_and(|since| row.int("at").is_ok_and(|at| since <= at)) {
            // The account that it is of is there, so it has neither ended nor may this be erased.
            if fit == Fit::Erased {
                self.breaks(seq, row.opt_text("id")?, Tampering::Altered);
                return Ok(());
            } else if is_deletion {
                self.breaks(seq, row.opt_text("id")?, Tampering::SlippedIn);
                return Ok(());
            }
        }
        // Before the row's own erasure: that takes another deletion, after it.
        self.justify(row)?;
        if is_deletion
            && lives_since.is_some()
            && !row.flag("returns")?
            && let Some(user) = row.opt_text("user_id")?
        {
            let problem = ChainProblem { seq, event_id: row.opt_text("id")?, what: Tampering::SlippedIn };
            self.returning.insert(user, Break { whole: self.whole, problem });
        }
        if fit == Fit::Erased
            && let Some(user) = row.opt_text("user_id")?
        {
            let problem = ChainProblem { seq, event_id: row.opt_text("id")?, what: Tampering::Altered };
            self.erased.entry(user).or_insert(Break { whole: self.whole, problem });
        }
        if row.text("type")? == EventType::AuditPruned.as_str()
            && let Some(place) = pruned_up_to(&row.text("metadata")?)
        {
            self.pruned = place;
        }
        self.whole += 1;
        Ok(())
    }

    /// What was erased before this event may be, if it is its user's deletion; and that may be, if this is their return.
    fn justify(&mut self, row: &AnyRow) -> Result<(), StoreError> {
        if row.text("type")? == EventType::UserDeleted.as_str()
            && let Some(user) = row.opt_text("user_id")?
        {
            self.erased.remove(&user);
        } else if row.text("type")? == EventType::UserCreated.as_str()
            && let Some(user) = row.opt_text("user_id")?
        {
            self.returning.remove(&user);
        }
        Ok(())
    }

    fn breaks(&mut self, seq: i64, event_id: Option<String>, what: Tampering) {
        let problem = ChainProblem { seq, event_id, what };
        self.broken.get_or_insert(Break { whole: self.whole, problem });
    }

    /// How many events are whole before the first break, and that.
    fn finish(mut self, unsealed: Option<String>) -> (u64, Option<ChainProblem>) {
        self.broken = self.broken.or(self.suspect.take().map(|(suspect, _)| suspect));
        if self.at.seq < self.head.last.seq {
            self.breaks(self.at.seq.saturating_add(1), None, Tampering::Removed);
        }
        if self.at != self.head.last {
            self.breaks(self.at.seq, None, Tampering::End);
        }
        if let Some(place) = self.noted.last() {
            self.breaks(place.seq, None, Tampering::Removed);
        }
        if unsealed.is_some() {
            self.breaks(self.at.seq.saturating_add(1), unsealed, Tampering::SlippedIn);
        }
        let at_start = |what| {
            let problem = ChainProblem { seq: self.head.before_first.seq, event_id: None, what };
            Some(Break { whole: 0, problem })
        };
        // Only a chain that is whole tells where it begins.
        let start =
            at_start(Tampering::Start).filter(|_| self.broken.is_none() && self.pruned != self.head.before_first);
        let pruned = at_start(Tampering::NotedIsPruned).filter(|_| self.noted_is_pruned);
        let breaks = self
            .broken
            .into_iter()
            .chain(self.erased.into_values())
            .chain(self.returning.into_values())
            .chain(start)
            .chain(pruned);
        match breaks.min_by_key(|found| (found.whole, found.problem.seq)) {
            Some(first) => (first.whole, Some(first.problem)),
            None => (self.whole, None),
        }
    }
}

/// What an `audit.pruned` says.
fn pruned_up_to(metadata: &str) -> Option<ChainPlace> {
    let metadata: serde_json::Value = serde_json::from_str(metadata).ok()?;
    let seq = metadata.get("upTo")?.as_str()?.parse().ok()?;
    Some(ChainPlace { seq, link: metadata.get("link")?.as_str()?.to_owned() })
}
