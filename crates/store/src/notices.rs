//! What people are told about their accounts. A notice is written in the transaction of what it is about, to every
//! address that is proved to be the person's at that moment, and stays until its mail has gone: an outbox.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use domain::audit::EventType;
use domain::{AuthMethodId, Digest, EventId, Timestamp, UserId};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::audit::NewEvent;
use crate::rows::{Columns, app, ip};
use crate::transaction::transaction;
use crate::undo;
use crate::{Store, StoreError};

/// So long after it happened a notice may be sent; what happens to the same person meanwhile goes with it.
const GATHERED_FOR: Duration = Duration::from_secs(5);
/// What one mail costs of an address's budget, which is paid back as time passes …
const MAIL_COSTS: Duration = Duration::from_hours(1);
/// … and how much may be owed: ten mails at once, then one an hour, 34 in any 24 hours.
const OWED_AT_MOST: Duration = Duration::from_hours(10);
/// Notices in one mail; what is left goes with the next.
const IN_ONE_MAIL: i64 = 200;

/// To whom mails go that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Addressee {
    /// Whose account it is about.
    pub user_id: UserId,
    /// The address, as it was proved.
    pub recipient: String,
}

/// Something that a person is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The audit event of the same transaction.
    pub event_id: EventId,
    /// What happened.
    pub kind: EventType,
    /// When.
    pub at: Timestamp,
    /// From where.
    pub ip: Option<IpAddr>,
    /// With what program, as it called itself.
    pub user_agent: Option<String>,
    /// The event's metadata; of a way in also its `provider` and `identifier`, and the `service` that acted.
    pub details: BTreeMap<String, String>,
}

/// Somebody who is about to send.
#[derive(Debug, Clone)]
pub struct NewClaim {
    /// Names this attempt.
    pub id: EventId,
    /// The present moment.
    pub at: Timestamp,
    /// Until when nobody else may try.
    pub until: Timestamp,
    /// The keyed digest of the link that the mail is to hold.
    pub undo: Digest,
    /// When that stops working.
    pub undo_until: Timestamp,
}

/// Notices that the caller, and nobody else, is to send now in one mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedNotices {
    /// To whom.
    pub to: Addressee,
    /// Names this attempt.
    pub claim: EventId,
    /// What to tell, in the order of its happening.
    pub notices: Vec<Notice>,
    /// Whether the link works: not that of somebody whose account is gone.
    pub can_undo: bool,
    /// How often the one that was tried most often has been tried, this time included.
    pub attempts: u32,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The mail has gone.
    Sent,
    /// It has not; what happened before `given_up_before` is not tried again, the rest is at `again_at`.
    Failed {
        /// The oldest that is worth another attempt.
        given_up_before: Timestamp,
        /// When.
        again_at: Timestamp,
    },
}

impl Notice {
    fn from_row(row: &AnyRow) -> Result<Self, StoreError> {
        let details = row.text("details")?;
        Ok(Self {
            event_id: row.parsed("event_id")?,
            kind: row.parsed("type")?,
            at: row.time("at")?,
            ip: row.opt_parsed("ip")?,
            user_agent: row.opt_text("user_agent")?,
            details: serde_json::from_str(&details).map_err(|_| StoreError::Malformed { column: "details" })?,
        })
    }
}

impl Store {
    /// To whom something is due, the longest first; those of at most `limit` notices.
    pub async fn due_notices(&self, now: Timestamp, limit: u32) -> Result<Vec<Addressee>, StoreError> {
        let rows =
            sqlx::query("SELECT user_id, recipient FROM security_notices WHERE due_at <= $1 ORDER BY due_at LIMIT $2")
                .bind(now.as_millis())
                .bind(i64::from(limit))
                .fetch_all(self.reader())
                .await?;
        let (mut all, mut seen) = (Vec::new(), HashSet::new());
        for row in &rows {
            let to = Addressee { user_id: row.parsed("user_id")?, recipient: row.text("recipient")? };
            if seen.insert(to.clone()) {
                all.push(to);
            }
        }
        Ok(all)
    }

    /// Takes what there is to tell this addressee, due or not, and keeps the mail's link. Of any number of instances
    /// one gets it; `None` when there is nothing, somebody else is at it, or the address has had enough mails for now.
    pub async fn claim_notices(&self, to: &Addressee, claim: &NewClaim) -> Result<Option<ClaimedNotices>, StoreError> {
        transaction!(self, |tx| {
            // Somebody who is gone has no budget: the mail about their end is the last one.
            let budget = sqlx::query(
                "INSERT INTO security_mail_budgets (user_id, recipient, spent_until) \
                 SELECT id, $2, 0 FROM users WHERE id = $1 AND deleted_at IS NULL \
                 ON CONFLICT (user_id, recipient) DO UPDATE SET spent_until = security_mail_budgets.spent_until \
                 RETURNING spent_until",
            )
            .bind(to.user_id.as_str())
            .bind(to.recipient.as_str())
            .fetch_optional(&mut *tx)
            .await?;
            let can_undo = budget.is_some();
            let mut spent_until = claim.at;
            if let Some(row) = budget {
                // A clock that was set back must not keep a person untold for long.
                spent_until = row.time("spent_until")?.max(claim.at).min(claim.at.plus(OWED_AT_MOST));
                let next = spent_until.plus(MAIL_COSTS).minus(OWED_AT_MOST);
                if next > claim.at {
                    set_budget(tx, to, spent_until).await?;
                    postpone(tx, to, claim.at, next).await?;
                    return Ok(None);
                }
            }
            let rows = take(tx, to, claim).await?;
            if rows.is_empty() {
                return Ok(None);
            }
            if can_undo {
                set_budget(tx, to, spent_until.plus(MAIL_COSTS)).await?;
                undo::insert(tx, &to.user_id, &claim.undo, claim.at, claim.undo_until).await?;
            }
            let mut notices = rows.iter().map(Notice::from_row).collect::<Result<Vec<_>, _>>()?;
            notices.sort_by(|one, other| (one.at, one.event_id.as_str()).cmp(&(other.at, other.event_id.as_str())));
            let mut attempts = 0;
            for row in &rows {
                attempts = attempts.max(row.count("attempts")?);
            }
            Ok(Some(ClaimedNotices { to: to.clone(), claim: claim.id.clone(), notices, can_undo, attempts }))
        })
    }

    /// Writes down what became of an attempt, and returns how many notices were given up. Somebody else may have taken
    /// over since, if it took too long; then nothing changes.
    pub async fn finish_notices(&self, claimed: &ClaimedNotices, attempt: Attempt) -> Result<u64, StoreError> {
        let to = &claimed.to;
        transaction!(self, |tx| {
            let before = match attempt {
                Attempt::Sent => i64::MAX,
                Attempt::Failed { given_up_before, .. } => given_up_before.as_millis(),
            };
            let removed = sqlx::query(
                "DELETE FROM security_notices WHERE user_id = $1 AND recipient = $2 AND claim = $3 AND at < $4",
            )
            .bind(to.user_id.as_str())
            .bind(to.recipient.as_str())
            .bind(claimed.claim.as_str())
            .bind(before)
            .execute(&mut *tx)
            .await?
            .rows_affected();
            let Attempt::Failed { again_at, .. } = attempt else { return Ok(0) };
            sqlx::query(
                "UPDATE security_notices SET claim = NULL, claimed_until = 0, due_at = $1 \
                 WHERE user_id = $2 AND recipient = $3 AND claim = $4",
            )
            .bind(again_at.as_millis())
            .bind(to.user_id.as_str())
            .bind(to.recipient.as_str())
            .bind(claimed.claim.as_str())
            .execute(&mut *tx)
            .await?;
            Ok(removed)
        })
    }

    /// Deletes at most `limit` notices that are due, for an installation that tells nobody, and returns how many.
    pub async fn discard_notices(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.purge(
            "DELETE FROM security_notices WHERE event_id IN \
             (SELECT event_id FROM security_notices WHERE due_at < $1 ORDER BY due_at LIMIT $2)",
            now,
            limit,
        )
        .await
    }

    /// How many notices have not been sent; of more than 1,000, so many.
    pub async fn count_notices(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT COUNT(*) AS waiting FROM (SELECT 1 FROM security_notices LIMIT 1000) AS unsent")
            .fetch_one(self.reader())
            .await?;
        row.int("waiting")
    }

    /// Deletes at most `limit` budgets that were paid back before `paid_before`, and returns how many.
    pub async fn purge_mail_budgets(&self, paid_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.purge(
            "DELETE FROM security_mail_budgets WHERE (user_id, recipient) IN (SELECT user_id, recipient \
             FROM security_mail_budgets WHERE spent_until < $1 ORDER BY spent_until LIMIT $2)",
            paid_before,
            limit,
        )
        .await
    }
}

async fn take(tx: &mut AnyConnection, to: &Addressee, claim: &NewClaim) -> Result<Vec<AnyRow>, StoreError> {
    Ok(sqlx::query(
        "UPDATE security_notices SET claim = $1, claimed_until = $2, due_at = $2, attempts = attempts + 1 \
         WHERE recipient = $4 AND claimed_until <= $5 AND event_id IN (SELECT event_id FROM security_notices \
         WHERE user_id = $3 AND recipient = $4 AND claimed_until <= $5 ORDER BY at LIMIT $6) \
         RETURNING event_id, type, at, ip, user_agent, details, attempts",
    )
    .bind(claim.id.as_str())
    .bind(claim.until.as_millis())
    .bind(to.user_id.as_str())
    .bind(to.recipient.as_str())
    .bind(claim.at.as_millis())
    .bind(IN_ONE_MAIL)
    .fetch_all(tx)
    .await?)
}

async fn set_budget(tx: &mut AnyConnection, to: &Addressee, spent_until: Timestamp) -> Result<(), StoreError> {
    sqlx::query("UPDATE security_mail_budgets SET spent_until = $1 WHERE user_id = $2 AND recipient = $3")
        .bind(spent_until.as_millis())
        .bind(to.user_id.as_str())
        .bind(to.recipient.as_str())
        .execute(tx)
        .await?;
    Ok(())
}

async fn postpone(tx: &mut AnyConnection, to: &Addressee, now: Timestamp, until: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE security_notices SET due_at = $1 \
         WHERE user_id = $2 AND recipient = $3 AND claimed_until <= $4 AND due_at < $1",
    )
    .bind(until.as_millis())
    .bind(to.user_id.as_str())
    .bind(to.recipient.as_str())
    .bind(now.as_millis())
    .execute(tx)
    .await?;
    Ok(())
}

/// Whether the person is told of every event of this kind. A sign-in is told where it is found to be by a new device,
/// and a deletion where the addresses are still known.
pub(crate) fn is_told(kind: EventType, event: &NewEvent) -> bool {
    match kind {
        EventType::MethodLinked
        | EventType::MethodUnlinked
        | EventType::MethodPrimarySet
        | EventType::MfaEnabled
        | EventType::MfaDisabled
        | EventType::MfaReset
        | EventType::MfaBackupCodesReplaced
        | EventType::SessionReuseDetected
        | EventType::TokenCreated
        | EventType::UserSecured => true,
        // A token that renews itself gives nobody anything who had nothing.
        EventType::TokenRotated => event.actor.token_id.is_none(),
        _ => false,
    }
}

/// Writes a notice for each address of the person's. What takes an address from them is told before it does.
pub(crate) async fn write(
    tx: &mut AnyConnection,
    kind: EventType,
    user_id: &UserId,
    event: &NewEvent,
) -> Result<(), StoreError> {
    let mut details = event.metadata.clone();
    details.extend(event.actor.service.clone().map(|service| ("service".to_owned(), service)));
    if let Some(id) = event.metadata.get("methodId").and_then(|id| id.parse().ok()) {
        details.extend(describe(tx, &id).await?);
    }
    sqlx::query(
        "INSERT INTO security_notices (event_id, recipient, app_id, user_id, type, at, ip, user_agent, details, \
         due_at) SELECT $1, identifier, $2, user_id, $4, $5, $6, $7, $8, $9 FROM auth_methods \
         WHERE user_id = $3 AND type = 'email' AND verified = 1",
    )
    .bind(event.id.as_str())
    .bind(app())
    .bind(user_id.as_str())
    .bind(kind.as_str())
    .bind(event.at.as_millis())
    .bind(ip(&event.client))
    .bind(event.client.user_agent.as_deref())
    .bind(serde_json::Value::from_iter(details).to_string())
    .bind(event.at.plus(GATHERED_FOR).as_millis())
    .execute(tx)
    .await?;
    Ok(())
}

/// What a way in is called, for whoever is told of it.
async fn describe(tx: &mut AnyConnection, id: &AuthMethodId) -> Result<Vec<(String, String)>, StoreError> {
    let row = sqlx::query("SELECT provider, identifier FROM auth_methods WHERE id = $1")
        .bind(id.as_str())
        .fetch_optional(tx)
        .await?;
    let Some(row) = row else { return Ok(Vec::new()) };
    ["provider", "identifier"].into_iter().map(|column| Ok((column.to_owned(), row.text(column)?))).collect()
}
