//! Audit events: written with what they record, read by their user.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use domain::audit::{Actor, EventType};
use domain::{ClientInfo, EventId, Timestamp, UserId};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::rows::{Columns, app, ip};
use crate::transaction::transaction;
use crate::{Store, StoreError, notices};

/// An event that is about to be written. What it is and whom it concerns, the method that writes it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Its id.
    pub id: EventId,
    /// The moment of the change.
    pub at: Timestamp,
    /// By what means the user, or a service, acted.
    pub actor: Actor,
    /// From where.
    pub client: ClientInfo,
    /// What else is worth knowing; never a secret. The methods add the ids of what they change.
    pub metadata: BTreeMap<String, String>,
}

impl NewEvent {
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.metadata.insert(key.to_owned(), value.to_owned());
        self
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// What happened.
    pub kind: EventType,
    /// When.
    pub at: Timestamp,
    /// Whom it concerns; `None` for what the service does for itself.
    pub user_id: Option<UserId>,
    /// By what means the user, or a service, acted.
    pub actor: Actor,
    /// From where.
    pub client: ClientInfo,
    /// What else is worth knowing.
    pub metadata: BTreeMap<String, String>,
}

/// Some of a user's events, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<Cursor>,
}

/// A place between two events of one user. Events that are written later do not move it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    at: Timestamp,
    id: EventId,
}

/// Text that is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor that this service has given out")]
pub struct MalformedCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at.as_millis(), self.id)
    }
}

impl FromStr for Cursor {
    type Err = MalformedCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (at, id) = text.split_once('.').ok_or(MalformedCursor)?;
        Ok(Self {
            at: Timestamp::from_millis(at.parse().map_err(|_| MalformedCursor)?),
            id: id.parse().map_err(|_| MalformedCursor)?,
        })
    }
}

/// The columns of [`Event`].
macro_rules! event_columns {
    () => {
        "id, type, at, user_id, actor_session_id, actor_token_id, actor_service, ip, user_agent, request_id, metadata"
    };
}
pub(crate) use event_columns;

/// A page of one user's events. The pair is compared as one, so that both databases begin at its place in the index.
macro_rules! events_of {
    ($of_type:literal) => {
        concat!(
            "SELECT ",
            event_columns!(),
            " FROM audit_events WHERE user_id = $1 AND (at, id) < ($2, $3) ",
            $of_type,
            "ORDER BY at DESC, id DESC LIMIT $4"
        )
    };
}

impl Event {
    pub(crate) fn from_row(row: &AnyRow) -> Result<Self, StoreError> {
        let metadata = row.text("metadata")?;
        Ok(Self {
            id: row.parsed("id")?,
            kind: row.parsed("type")?,
            at: row.time("at")?,
            user_id: row.opt_parsed("user_id")?,
            actor: Actor {
                session_id: row.opt_parsed("actor_session_id")?,
                token_id: row.opt_parsed("actor_token_id")?,
                service: row.opt_text("actor_service")?,
            },
            client: ClientInfo {
                ip: row.opt_parsed("ip")?,
                user_agent: row.opt_text("user_agent")?,
                request_id: row.opt_text("request_id")?,
            },
            metadata: serde_json::from_str(&metadata).map_err(|_| StoreError::Malformed { column: "metadata" })?,
        })
    }
}

impl Store {
    /// Writes down something that changes no other row.
    pub async fn append_event(
        &self,
        kind: EventType,
        user_id: Option<&UserId>,
        event: &NewEvent,
    ) -> Result<(), StoreError> {
        transaction!(self, |tx| { record(tx, kind, user_id, event).await })
    }

    /// At most `limit` of the user's events, newest first, of one kind if one is given, from `after` on.
    pub async fn list_events(
        &self,
        user_id: &UserId,
        kind: Option<EventType>,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<EventPage, StoreError> {
        let _turn = self.list_turn(user_id).await?;
        // Two texts for two questions: with `$2 = '' OR type = $2` neither index would serve, and whoever asks for a
        // rare type would read all events of the user for a page.
        let text = if kind.is_some() { events_of!("AND type = $5 ") } else { events_of!("") };
        let mut query = sqlx::query(text)
            .bind(user_id.as_str())
            // Nothing is as late as the last millisecond.
            .bind(after.map_or(i64::MAX, |cursor| cursor.at.as_millis()))
            .bind(after.map_or("", |cursor| cursor.id.as_str()))
            // One more than asked for tells whether there is a next page.
            .bind(i64::from(limit) + 1);
        if let Some(kind) = kind {
            query = query.bind(kind.as_str());
        }
        let rows = query.fetch_all(self.reader()).await?;
        let mut events = rows.iter().map(Event::from_row).collect::<Result<Vec<_>, _>>()?;
        let more = events.len() > limit as usize;
        events.truncate(limit as usize);
        let next = events.last().filter(|_| more).map(|last| Cursor { at: last.at, id: last.id.clone() });
        Ok(EventPage { events, next })
    }
}

/// Writes an event within the transaction of what it records, and has its user told where they are to be. Of a user whose account has been deleted nothing but the
/// id is kept; of one whose account is being deleted at this very moment, the sealer sees to that.
pub(crate) async fn record(
    tx: &mut AnyConnection,
    kind: EventType,
    user_id: Option<&UserId>,
    event: &NewEvent,
) -> Result<(), StoreError> {
    let metadata = serde_json::Value::from_iter(event.metadata.clone()).to_string();
    sqlx::query(
        "INSERT INTO audit_events (id, app_id, user_id, type, at, actor_session_id, actor_token_id, actor_service, \
         ip, user_agent, request_id, metadata) SELECT $1, $2, $3, $4, $5, $6, $7, $8, \
         CASE WHEN gone = 0 THEN $9 END, CASE WHEN gone = 0 THEN $10 END, CASE WHEN gone = 0 THEN $11 END, \
         CASE WHEN gone = 0 THEN $12 ELSE '{}' END FROM (SELECT CASE \
         WHEN NOT EXISTS (SELECT 1 FROM users WHERE id = $3 AND deleted_at IS NULL) \
         AND EXISTS (SELECT 1 FROM audit_events WHERE user_id = $3 AND type = $13) THEN 1 ELSE 0 END AS gone) AS subject",
    )
    .bind(event.id.as_str())
    .bind(app())
    .bind(user_id.map(UserId::as_str))
    .bind(kind.as_str())
    .bind(event.at.as_millis())
    .bind(event.actor.session_id.as_ref().map(domain::SessionId::as_str))
    .bind(event.actor.token_id.as_ref().map(domain::TokenId::as_str))
    .bind(event.actor.service.as_deref())
    .bind(ip(&event.client))
    .bind(event.client.user_agent.as_deref())
    .bind(event.client.request_id.as_deref())
    .bind(metadata)
    .bind(EventType::UserDeleted.as_str())
    .execute(&mut *tx)
    .await?;
    match user_id {
        Some(user_id) if notices::is_told(kind, event) => notices::write(tx, kind, user_id, event).await,
        _ => Ok(()),
    }
}
