//! What operators do with accounts, and how they find what they look for.

use std::time::Duration;

use domain::audit::EventType;
use domain::{AuthMethodId, TokenId, UserId};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::audit::{Event, NewEvent, event_columns, record};
use crate::owed_marks::{MarkedCredential, owe};
use crate::rows::{Columns as _, app};
use crate::sign_in::{MethodType, WayIn, find_user_id};
use crate::tokens::{Token, token_columns, tokens_with_present_secret};
use crate::transaction::transaction;
use crate::users::{self, User, user_columns};
use crate::{Store, StoreError, methods, sessions};

/// An account that an operator makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// Its id.
    pub id: UserId,
    /// The name that others see.
    pub display_name: Option<String>,
    /// E-mail address and phone number; the operator vouches that they are the user's.
    pub ways_in: Vec<(AuthMethodId, WayIn)>,
}

/// What became of an account that was to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewUserOutcome {
    /// It exists.
    Created(Box<User>),
    /// There is a user with this id already, or one whose deletion is not over.
    IdTaken,
    /// One of the ways in is this user's.
    WayInTaken(UserId),
}

/// What became of shutting an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DisableOutcome {
    /// It is shut from now on.
    Disabled {
        /// How many sessions have ended; more than 10,000 are 10,000.
        sessions_ended: u32,
    },
    /// It was shut before.
    AlreadyDisabled,
    /// There is no such user.
    NoUser,
}

macro_rules! newest_users {
    ($which:literal) => {
        concat!(
            "SELECT ",
            user_columns!(),
            " FROM users u WHERE ",
            $which,
            "u.deleted_at IS NULL ORDER BY u.created_at DESC, u.id DESC LIMIT $1"
        )
    };
}

macro_rules! everybodys_events {
    ($which_in_what_order:literal) => {
        concat!("SELECT ", event_columns!(), " FROM audit_events WHERE ", $which_in_what_order)
    };
}

/// Sealed events that are looked through for one kind by one statement: a rare kind takes many short ones rather than
/// one that reads the whole chain.
const STRETCH: i64 = 20_000;

impl Store {
    /// Makes an account and writes `user.created`.
    pub async fn create_user(&self, new: &NewUser, event: &NewEvent) -> Result<NewUserOutcome, StoreError> {
        transaction!(self, |tx| { add_user(tx, new, event).await })
    }

    /// The user whom this way in leads to.
    pub async fn find_user_by_way_in(&self, way_in: &WayIn) -> Result<Option<User>, StoreError> {
        let row = sqlx::query(concat!(
            "SELECT ",
            user_columns!(),
            " FROM users u JOIN auth_methods m ON m.user_id = u.id \
             WHERE m.app_id = $1 AND m.type = $2 AND m.provider = $3 AND m.identifier = $4"
        ))
        .bind(app())
        .bind(way_in.method.as_str())
        .bind(way_in.provider.as_deref().unwrap_or_default())
        .bind(way_in.identifier.as_str())
        .fetch_optional(self.reader())
        .await?;
        row.as_ref().map(User::from_row).transpose()
    }

    /// At most `limit` users, newest first; of the disabled ones only, if so wanted.
    pub async fn list_users(&self, only_disabled: bool, limit: u32) -> Result<Vec<User>, StoreError> {
        // An index for each: few disabled ones among many would otherwise be looked for among all.
        let text = if only_disabled { newest_users!("u.disabled_at IS NOT NULL AND ") } else { newest_users!("") };
        let rows = sqlx::query(text).bind(i64::from(limit)).fetch_all(self.reader()).await?;
        rows.iter().map(User::from_row).collect()
    }

    /// Shuts an account: its sessions end, its tokens are refused, nobody signs in to it. Writes `user.disabled`, and one
    /// `session.ended` with the number of sessions. What it does does not grow with the account.
    pub async fn disable_user(
        &self,
        id: &UserId,
        new_event: impl Fn() -> NewEvent + Sync,
    ) -> Result<DisableOutcome, StoreError> {
        transaction!(self, |tx| {
            let event = new_event();
            match users::lock(tx, id).await? {
                None => return Ok(DisableOutcome::NoUser),
                Some(user) if user.disabled_at.is_some() => return Ok(DisableOutcome::AlreadyDisabled),
                Some(_) => {}
            }
            set_disabled_at(tx, id, Some(event.at.as_millis()), &event).await?;
            record(tx, EventType::UserDisabled, Some(id), &event).await?;
            owe(tx, &MarkedCredential::Owner(id.clone()), event.at).await?;
            let sessions_ended = sessions::end_all(tx, id, None, &new_event()).await?;
            Ok(DisableOutcome::Disabled { sessions_ended })
        })
    }

    /// Opens an account again and writes `user.enabled`: its tokens work again, its sessions stay ended. False when it
    /// was open; `None` when there is no such user.
    pub async fn enable_user(&self, id: &UserId, event: &NewEvent) -> Result<Option<bool>, StoreError> {
        transaction!(self, |tx| {
            let Some(user) = users::lock(tx, id).await? else { return Ok(None) };
            if user.disabled_at.is_none() {
                return Ok(Some(false));
            }
            set_disabled_at(tx, id, None, event).await?;
            record(tx, EventType::UserEnabled, Some(id), event).await?;
            Ok(Some(true))
        })
    }

    /// The token with this id, whosever it is.
    pub async fn find_anybodys_token(&self, id: &TokenId) -> Result<Option<Token>, StoreError> {
        let row = sqlx::query(concat!("SELECT ", token_columns!(), tokens_with_present_secret!(), "WHERE t.id = $1"))
            .bind(id.as_str())
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(Token::from_row).transpose()
    }

    /// At most `limit` tokens, whosever they are, newest first, expired ones included.
    pub async fn list_everybodys_tokens(&self, limit: u32) -> Result<Vec<Token>, StoreError> {
        let rows = sqlx::query(concat!(
            "SELECT ",
            token_columns!(),
            tokens_with_present_secret!(),
            "ORDER BY t.created_at DESC, t.id DESC LIMIT $1"
        ))
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(Token::from_row).collect()
    }

    /// At most `limit` events, whomever they concern, of one kind if one is given, newest first: those that are not
    /// sealed yet, then the chain from its end.
    pub async fn list_everybodys_events(&self, kind: Option<EventType>, limit: u32) -> Result<Vec<Event>, StoreError> {
        let limit = i64::from(limit);
        let mut rows = match kind {
            None => {
                let unsealed = everybodys_events!("seq IS NULL ORDER BY at DESC, id DESC LIMIT $1");
                sqlx::query(unsealed).bind(limit).fetch_all(self.reader()).await?
            }
            Some(kind) => {
                let unsealed = everybodys_events!("seq IS NULL AND type = $2 ORDER BY at DESC, id DESC LIMIT $1");
                sqlx::query(unsealed).bind(limit).bind(kind.as_str()).fetch_all(self.reader()).await?
            }
        };
        let missing = |rows: &[AnyRow]| limit.saturating_sub(i64::try_from(rows.len()).unwrap_or(i64::MAX));
        match kind {
            None => {
                let sealed = everybodys_events!("seq IS NOT NULL ORDER BY seq DESC LIMIT $1");
                rows.extend(sqlx::query(sealed).bind(missing(&rows)).fetch_all(self.reader()).await?);
            }
            Some(kind) => {
                let ends = sqlx::query(
                    "SELECT (SELECT MIN(seq) FROM audit_events WHERE seq IS NOT NULL) AS first, \
                     (SELECT MAX(seq) FROM audit_events WHERE seq IS NOT NULL) AS last",
                )
                .fetch_one(self.reader())
                .await?;
                let first = ends.opt_int("first")?.unwrap_or(0);
                let mut last = ends.opt_int("last")?.unwrap_or(-1);
                while last >= first && missing(&rows) > 0 {
                    let sealed = everybodys_events!("seq > $2 AND seq <= $3 AND type = $4 ORDER BY seq DESC LIMIT $1");
                    let stretch =
                        sqlx::query(sealed).bind(missing(&rows)).bind(last - STRETCH).bind(last).bind(kind.as_str());
                    rows.extend(stretch.fetch_all(self.reader()).await?);
                    last -= STRETCH;
                }
            }
        }
        let mut events = rows.iter().map(Event::from_row).collect::<Result<Vec<_>, _>>()?;
        // An event that was sealed between the two queries is in both.
        let mut seen = std::collections::HashSet::new();
        events.retain(|event| seen.insert(event.id.clone()));
        Ok(events)
    }
}

/// Makes an account within the transaction and writes `user.created`.
pub(crate) async fn add_user(
    tx: &mut AnyConnection,
    new: &NewUser,
    event: &NewEvent,
) -> Result<NewUserOutcome, StoreError> {
    if users::is_taken(tx, &new.id).await? {
        return Ok(NewUserOutcome::IdTaken);
    }
    for (_, way_in) in &new.ways_in {
        if let Some(owner) = find_user_id(tx, way_in).await? {
            return Ok(NewUserOutcome::WayInTaken(owner));
        }
    }
    // Whoever had the id before is gone, and so is what their events said. That this account is younger than all of those,
    // whatever the clock says now, tells the chain that these are not its own.
    let newest = sqlx::query("SELECT MAX(at) AS newest FROM audit_events WHERE user_id = $1")
        .bind(new.id.as_str())
        .fetch_one(&mut *tx)
        .await?
        .opt_time("newest")?;
    let created_at = newest.map_or(event.at, |newest| event.at.max(newest.plus(Duration::from_millis(1))));
    let by = |method| new.ways_in.iter().find(|(_, way_in)| way_in.method == method);
    let (email, phone) = (by(MethodType::Email), by(MethodType::Sms));
    sqlx::query(
        "INSERT INTO users (id, app_id, email, phone, display_name, email_verified, phone_verified, created_at, \
         updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
    )
    .bind(new.id.as_str())
    .bind(app())
    .bind(email.map(|(_, way_in)| way_in.identifier.as_str()))
    .bind(phone.map(|(_, way_in)| way_in.identifier.as_str()))
    .bind(new.display_name.as_deref())
    .bind(i64::from(email.is_some()))
    .bind(i64::from(phone.is_some()))
    .bind(created_at.as_millis())
    .execute(&mut *tx)
    .await?;
    for (id, way_in) in &new.ways_in {
        methods::insert(tx, id, &new.id, way_in, event.at).await?;
    }
    record(tx, EventType::UserCreated, Some(&new.id), event).await?;
    let user = users::lock(tx, &new.id).await?.ok_or(StoreError::Malformed { column: "users.id" })?;
    Ok(NewUserOutcome::Created(Box::new(user)))
}

async fn set_disabled_at(
    tx: &mut AnyConnection,
    id: &UserId,
    disabled_at: Option<i64>,
    event: &NewEvent,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE users SET disabled_at = $1, updated_at = $2 WHERE id = $3")
        .bind(disabled_at)
        .bind(event.at.as_millis())
        .bind(id.as_str())
        .execute(tx)
        .await?;
    Ok(())
}
