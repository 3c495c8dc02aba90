//! The hash chain over the audit events.
//!
//! Events are written without a place in the chain. A sealer, one at a time by a lease, gives the committed ones
//! consecutive numbers and links: each link is the SHA-256 of the link before, the event's place and its content. Where
//! the chain begins and ends is kept apart, in `audit_head`, so that cutting events off shows as well.
//!
//! From where and with what something happened, the event's particulars, go into its link as a salted digest. So they
//! can be erased with their user's account: the digest stays, the chain with it, and without the salt nobody can find
//! out by trying what the digest was of. That a row may be without its particulars, only a later event of the chain
//! proves: its user's `user.deleted`.

mod link;
mod prune;
mod seal;
mod verify;

use std::collections::BTreeMap;

use domain::audit::EventType;
use domain::{ClientInfo, Timestamp, UserId};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

pub use self::verify::{ChainProblem, ChainReport, Tampering};
use crate::audit::NewEvent;
use crate::rows::Columns;
use crate::{Store, StoreError};

/// The link before the first event's.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What a link is over, where the chain stands, and what an eraser has changed.
macro_rules! link_columns {
    () => {
        "id, app_id, user_id, type, at, actor_session_id, actor_token_id, actor_service, ip, user_agent, \
         request_id, metadata, particulars_salt, particulars_digest, seq, link"
    };
}
use link_columns;

/// Since when the account that an event is of is there; NULL where it is not. An aggregate, since PostgreSQL would make a
/// table of all users for a join.
macro_rules! lives_since {
    () => {
        "(SELECT MIN(users.created_at) FROM users WHERE users.id = events.user_id AND users.deleted_at IS NULL)"
    };
}
use lives_since;

/// A place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainPlace {
    /// The event's number, counted from 1; 0 before all events.
    pub seq: i64,
    /// Its link: SHA-256 in hexadecimal.
    pub link: String,
}

impl ChainPlace {
    fn before_all() -> Self {
        Self { seq: 0, link: GENESIS.to_owned() }
    }
}

/// Audit events that are committed and not in the chain yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditBacklog {
    /// How many.
    pub events: i64,
    /// When the first of them happened.
    pub oldest: Option<Timestamp>,
}

/// What `audit_head` says.
#[derive(Debug, Clone)]
struct Head {
    /// The last event that was pruned.
    before_first: ChainPlace,
    /// The last event.
    last: ChainPlace,
}

impl Head {
    fn from_row(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            before_first: ChainPlace { seq: row.int("first_seq")?.saturating_sub(1), link: row.text("first_link")? },
            last: ChainPlace { seq: row.int("last_seq")?, link: row.text("last_link")? },
        })
    }

    async fn find(tx: &mut AnyConnection) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query("SELECT first_seq, first_link, last_seq, last_link FROM audit_head WHERE id = 'head'")
            .fetch_optional(tx)
            .await?;
        row.as_ref().map(Self::from_row).transpose()
    }

    /// Keeps everybody else from changing the chain until the transaction ends.
    async fn lock(tx: &mut AnyConnection) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query(
            "UPDATE audit_head SET last_seq = last_seq WHERE id = 'head' \
             RETURNING first_seq, first_link, last_seq, last_link",
        )
        .fetch_optional(tx)
        .await?;
        row.as_ref().map(Self::from_row).transpose()
    }

    async fn keep(&self, tx: &mut AnyConnection) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE audit_head SET first_seq = $1, first_link = $2, last_seq = $3, last_link = $4 WHERE id = 'head'",
        )
        .bind(self.before_first.seq.saturating_add(1))
        .bind(self.before_first.link.as_str())
        .bind(self.last.seq)
        .bind(self.last.link.as_str())
        .execute(tx)
        .await?;
        Ok(())
    }
}

impl Store {
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

    /// The chain's end, as it says itself: [`verify_chain`](Self::verify_chain) tells whether the events lead there.
    pub async fn chain_end(&self) -> Result<ChainPlace, StoreError> {
        let row = sqlx::query("SELECT last_seq, last_link FROM audit_head WHERE id = 'head'")
            .fetch_optional(self.reader())
            .await?
            .ok_or(StoreError::Malformed { column: "audit_head" })?;
        Ok(ChainPlace { seq: row.int("last_seq")?, link: row.text("last_link")? })
    }
}

/// Writes the `user.deleted` of an account that goes in this very transaction, and seals it at once: from then on the
/// chain justifies that its events are erased, and there is no moment at which they are and it does not. It says
/// nothing that would have to be erased itself.
pub(crate) async fn record_deletion(
    tx: &mut AnyConnection,
    user_id: &UserId,
    event: &NewEvent,
) -> Result<(), StoreError> {
    let event = NewEvent { client: ClientInfo::default(), metadata: BTreeMap::new(), ..event.clone() };
    let mut head = Head::lock(tx).await?.ok_or(StoreError::Malformed { column: "audit_head" })?;
    // There is nothing that a salt would have to hide.
    head.record(tx, EventType::UserDeleted, Some(user_id), &event, event.id.to_string()).await?;
    head.keep(tx).await
}

/// Waits for the sealer and keeps it waiting: it is done with what it has read, or has yet to read what is left.
/// Whoever erases holds this.
pub(crate) async fn lock_end(tx: &mut AnyConnection) -> Result<(), StoreError> {
    Head::lock(tx).await.map(drop)
}
