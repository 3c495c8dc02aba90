//! Sessions: signed-in devices, and the families of their refresh tokens.

use std::net::IpAddr;
use std::time::Duration;

use domain::audit::EventType;
use domain::{AuthMethodId, ClientInfo, Digest, SessionId, Timestamp, UserId};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::audit::{NewEvent, record};
use crate::owed_marks::{MarkedCredential, owe};
use crate::rows::{Columns, app, ip};
use crate::transaction::transaction;
use crate::users::{self, User, user_columns};
use crate::{Store, StoreError};

/// One signed-in device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id; also the family of all refresh tokens that follow from one sign-in.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// How often its tokens have been renewed.
    pub generation: i64,
    /// When the user signed in.
    pub created_at: Timestamp,
    /// When it was last used, a few seconds behind.
    pub last_seen_at: Timestamp,
    /// When its present refresh token was issued.
    pub rotated_at: Timestamp,
    /// When its present refresh token stops working.
    pub expires_at: Timestamp,
    /// When it ends however often it is renewed.
    pub absolute_expires_at: Timestamp,
    /// The address it was begun from.
    pub ip: Option<IpAddr>,
    /// The program it was begun with.
    pub user_agent: Option<String>,
}

/// A session that is about to begin.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// The keyed digest of its first refresh token, that of generation 0.
    pub refresh_digest: Digest,
    /// When that stops working.
    pub expires_at: Timestamp,
    /// When the session ends however often it is renewed.
    pub absolute_expires_at: Timestamp,
}

/// A refresh token that was presented. Its signature has been checked, so it is one that was issued for this session.
#[derive(Debug, Clone)]
pub struct Refresh {
    /// The session it names.
    pub session_id: SessionId,
    /// The user it names.
    pub user_id: UserId,
    /// Its keyed digest.
    pub presented: Digest,
    /// For how long the token before the present one is answered with the present pair, for clients that lost a reply.
    pub grace: Duration,
    /// When the next refresh token stops working, unless the session ends earlier.
    pub expires_at: Timestamp,
}

/// What became of a refresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// The session is of the next generation.
    Rotated(Box<(Session, User)>),
    /// The token before the present one, within the grace: issue the present pair again, nothing has changed.
    Replayed(Box<(Session, User)>),
    /// An older one: somebody holds a copy. The session is gone.
    Reused,
    /// The user is disabled.
    Disabled,
    /// The session's time is over.
    Expired,
    /// There is no such session of this user.
    Gone,
}

macro_rules! session_columns {
    () => {
        "s.id, s.user_id, s.generation, s.created_at, s.last_seen_at, s.rotated_at, s.expires_at, \
         s.absolute_expires_at, s.ip, s.user_agent, s.refresh_digest, s.previous_refresh_digest, \
         s.rotated_ip, s.rotated_user_agent"
    };
}

/// With the user, if they are there and have not ended the session together with all others.
macro_rules! live {
    () => {
        "JOIN users u ON u.id = s.user_id AND u.deleted_at IS NULL AND u.session_epoch = s.epoch "
    };
}

/// How many of the sessions that end together are counted.
const COUNTED: i64 = 10_000;
/// Sessions of one way in that end one by one; where there are more, all others of the user end.
const ENDED_SINGLY: i64 = 500;

impl Session {
    fn from_row(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.parsed("id")?,
            user_id: row.parsed("user_id")?,
            generation: row.int("generation")?,
            created_at: row.time("created_at")?,
            last_seen_at: row.time("last_seen_at")?,
            rotated_at: row.time("rotated_at")?,
            expires_at: row.time("expires_at")?,
            absolute_expires_at: row.time("absolute_expires_at")?,
            ip: row.opt_parsed("ip")?,
            user_agent: row.opt_text("user_agent")?,
        })
    }

    /// Whether it is still on at this moment.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at && now < self.absolute_expires_at
    }
}

impl Store {
    /// The session with this id, ended by time or not, and its user, disabled or not.
    pub async fn find_session(&self, id: &SessionId) -> Result<Option<(Session, User)>, StoreError> {
        let row = sqlx::query(concat!(
            "SELECT ",
            session_columns!(),
            ", ",
            user_columns!(),
            " FROM sessions s ",
            live!(),
            "WHERE s.id = $1"
        ))
        .bind(id.as_str())
        .fetch_optional(self.reader())
        .await?;
        row.map(|row| Ok((Session::from_row(&row)?, User::from_row(&row)?))).transpose()
    }

    /// Renews a session: of any number of parallel calls with one token, exactly one rotates. `digest_of` computes the
    /// keyed digest of the refresh token that belongs to a session as it is after the rotation, from its id, generation
    /// and `rotated_at`. Writes `session.refreshed`, `session.reuse_detected`, or, where the lost reply is asked for again
    /// by another program from elsewhere, `session.refresh_replayed`.
    pub async fn refresh_session(
        &self,
        refresh: &Refresh,
        digest_of: impl Fn(&Session) -> Digest + Sync,
        event: &NewEvent,
    ) -> Result<RefreshOutcome, StoreError> {
        let now = event.at;
        transaction!(self, |tx| {
            let Some(row) = lock(tx, refresh, now).await? else { return Ok(RefreshOutcome::Gone) };
            let (mut session, user) = (Session::from_row(&row)?, User::from_row(&row)?);
            let present: Digest = row.parsed("refresh_digest")?;
            let previous: Option<Digest> = row.opt_parsed("previous_refresh_digest")?;
            let event = event.clone().with("sessionId", session.id.as_str());

            if user.disabled_at.is_some() {
                return Ok(RefreshOutcome::Disabled);
            }
            if !session.is_live(now) {
                return Ok(RefreshOutcome::Expired);
            }
            if refresh.presented == present {
                session.generation += 1;
                session.rotated_at = now;
                session.expires_at = refresh.expires_at.min(session.absolute_expires_at);
                store_rotation(tx, &session, &digest_of(&session), &present, &event.client).await?;
                record(tx, EventType::SessionRefreshed, Some(&user.id), &event).await?;
                return Ok(RefreshOutcome::Rotated(Box::new((session, user))));
            }
            // Either way: a clock that was set back must not make the grace last until it has caught up.
            let apart = now.since(session.rotated_at).max(session.rotated_at.since(now));
            if previous == Some(refresh.presented) && apart <= refresh.grace {
                if is_from_elsewhere(&row, &event.client)? {
                    record(tx, EventType::SessionRefreshReplayed, Some(&user.id), &event).await?;
                }
                return Ok(RefreshOutcome::Replayed(Box::new((session, user))));
            }
            delete(tx, &session.id).await?;
            owe(tx, &MarkedCredential::Session(session.id.clone()), now).await?;
            record(tx, EventType::SessionReuseDetected, Some(&user.id), &event).await?;
            Ok(RefreshOutcome::Reused)
        })
    }

    /// Ends a session of this user's and writes `session.ended`.
    pub async fn end_session(
        &self,
        user_id: &UserId,
        id: &SessionId,
        event: &NewEvent,
    ) -> Result<Option<Session>, StoreError> {
        transaction!(self, |tx| {
            // Column by column: with `*`, old programs would fail once a migration adds one, since PostgreSQL keeps
            // their plans.
            let row = sqlx::query(
                "DELETE FROM sessions WHERE id = $1 AND user_id = $2 \
                 AND epoch = (SELECT session_epoch FROM users WHERE id = $2 AND deleted_at IS NULL) \
                 RETURNING id, user_id, generation, created_at, last_seen_at, rotated_at, expires_at, absolute_expires_at, ip, user_agent",
            )
            .bind(id.as_str())
            .bind(user_id.as_str())
            .fetch_optional(&mut *tx)
            .await?;
            let Some(row) = row else { return Ok(None) };
            let event = event.clone().with("sessionId", id.as_str());
            record(tx, EventType::SessionEnded, Some(user_id), &event).await?;
            owe(tx, &MarkedCredential::Session(id.clone()), event.at).await?;
            Session::from_row(&row).map(Some)
        })
    }

    /// The user's sessions that are not over, the one seen last first.
    pub async fn list_sessions(&self, user_id: &UserId, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        let _turn = self.list_turn(user_id).await?;
        let rows = sqlx::query(concat!(
            "SELECT ",
            session_columns!(),
            " FROM sessions s ",
            live!(),
            "WHERE s.user_id = $1 AND s.expires_at > $2 ORDER BY s.last_seen_at DESC, s.id"
        ))
        .bind(user_id.as_str())
        .bind(now.as_millis())
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(Session::from_row).collect()
    }

    /// Ends all of the user's sessions but `kept`, writes one `session.ended` with their number, and returns it. Their
    /// rows go by [`sweep_ended_sessions`](Self::sweep_ended_sessions). More than 10,000 are 10,000.
    pub async fn end_other_sessions(
        &self,
        user_id: &UserId,
        kept: &SessionId,
        event: &NewEvent,
    ) -> Result<u32, StoreError> {
        transaction!(self, |tx| {
            if users::lock(tx, user_id).await?.is_none() {
                return Ok(0);
            }
            end_all(tx, user_id, Some(kept), event).await
        })
    }

    /// Removes at most `limit` sessions of users who have ended many at once, and returns how many; fewer only when
    /// the next user's are due, `None` when none are left.
    pub async fn sweep_ended_sessions(&self, limit: u32) -> Result<Option<u64>, StoreError> {
        let row = sqlx::query("SELECT id FROM users WHERE swept_epoch < session_epoch ORDER BY id LIMIT 1")
            .fetch_optional(self.reader())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let user_id: UserId = row.parsed("id")?;
        transaction!(self, |tx| {
            let Some(epoch) = lock_epoch(tx, &user_id).await? else { return Ok(Some(0)) };
            let swept = sqlx::query(
                "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE user_id = $1 AND epoch < $2 LIMIT $3)",
            )
            .bind(user_id.as_str())
            .bind(epoch)
            .bind(i64::from(limit))
            .execute(&mut *tx)
            .await?
            .rows_affected();
            // With the user's row locked, fewer means that none is left.
            if swept < u64::from(limit) {
                sqlx::query("UPDATE users SET swept_epoch = $1 WHERE id = $2")
                    .bind(epoch)
                    .bind(user_id.as_str())
                    .execute(&mut *tx)
                    .await?;
            }
            Ok(Some(swept))
        })
    }

    /// Notes when sessions were last used. Never sets one back; those that are gone are passed over.
    pub async fn touch_sessions(&self, seen: &[(SessionId, Timestamp)]) -> Result<(), StoreError> {
        // In one order on every instance, so that two batches cannot wait for each other.
        let mut seen: Vec<_> = seen.iter().collect();
        seen.sort();
        transaction!(self, |tx| {
            for (id, at) in &seen {
                sqlx::query("UPDATE sessions SET last_seen_at = $1 WHERE id = $2 AND last_seen_at < $1")
                    .bind(at.as_millis())
                    .bind(id.as_str())
                    .execute(&mut *tx)
                    .await?;
            }
            Ok(())
        })
    }
}

/// Ends all sessions of a user whose row is locked, or all but one, by one row; owes a mark for all of them, writes one
/// `session.ended` with their number if there were any, and returns it.
pub(crate) async fn end_all(
    tx: &mut AnyConnection,
    user_id: &UserId,
    kept: Option<&SessionId>,
    event: &NewEvent,
) -> Result<u32, StoreError> {
    let ended = end_epoch(tx, user_id, kept, event.at).await?;
    if ended > 0 {
        let event = event.clone().with("count", &ended.to_string());
        record(tx, EventType::SessionEnded, Some(user_id), &event).await?;
    }
    Ok(ended)
}

/// The same without an event.
async fn end_epoch(
    tx: &mut AnyConnection,
    user_id: &UserId,
    kept: Option<&SessionId>,
    at: Timestamp,
) -> Result<u32, StoreError> {
    let kept = kept.map_or("", SessionId::as_str);
    let Some(epoch) = lock_epoch(tx, user_id).await? else { return Ok(0) };
    let ended = sqlx::query(
        "SELECT COUNT(*) AS ended FROM \
         (SELECT id FROM sessions WHERE user_id = $1 AND epoch = $2 AND id <> $3 LIMIT $4) AS others",
    )
    .bind(user_id.as_str())
    .bind(epoch)
    .bind(kept)
    .bind(COUNTED)
    .fetch_one(&mut *tx)
    .await?
    .count("ended")?;
    if ended == 0 {
        return Ok(0);
    }
    sqlx::query("UPDATE users SET session_epoch = session_epoch + 1 WHERE id = $1")
        .bind(user_id.as_str())
        .execute(&mut *tx)
        .await?;
    sqlx::query("UPDATE sessions SET epoch = epoch + 1 WHERE id = $1 AND user_id = $2 AND epoch = $3")
        .bind(kept)
        .bind(user_id.as_str())
        .bind(epoch)
        .execute(&mut *tx)
        .await?;
    owe(tx, &MarkedCredential::Owner(user_id.clone()), at).await?;
    Ok(ended)
}

/// Ends the sessions that began with a way in of a user whose row is locked, but for the one that asks, and returns how
/// many. Also those of which an older version of this program did not write down with what they began. No event: that
/// of the way in says how many.
pub(crate) async fn end_begun_with(
    tx: &mut AnyConnection,
    user_id: &UserId,
    method_id: &AuthMethodId,
    kept: Option<&SessionId>,
    at: Timestamp,
) -> Result<u32, StoreError> {
    let mut ended = 0;
    // One after the other, each along the index.
    for statement in [
        "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions \
         WHERE user_id = $1 AND method_id = $2 AND id <> $3 LIMIT $4)",
        "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions \
         WHERE user_id = $1 AND method_id IS NULL AND $2 <> '' AND id <> $3 LIMIT $4)",
    ] {
        let rows = sqlx::query(statement)
            .bind(user_id.as_str())
            .bind(method_id.as_str())
            .bind(kept.map_or("", SessionId::as_str))
            .bind(ENDED_SINGLY)
            .execute(&mut *tx)
            .await?
            .rows_affected();
        ended += u32::try_from(rows).unwrap_or(u32::MAX);
        if rows >= ENDED_SINGLY.unsigned_abs() {
            return Ok(ended.saturating_add(end_epoch(tx, user_id, kept, at).await?));
        }
    }
    owe(tx, &MarkedCredential::Owner(user_id.clone()), at).await?;
    Ok(ended)
}

/// Locks the user's row and returns the epoch of their sessions.
async fn lock_epoch(tx: &mut AnyConnection, user_id: &UserId) -> Result<Option<i64>, StoreError> {
    let row = sqlx::query("UPDATE users SET lock_version = lock_version + 1 WHERE id = $1 RETURNING session_epoch")
        .bind(user_id.as_str())
        .fetch_optional(tx)
        .await?;
    row.map(|row| row.int("session_epoch")).transpose()
}

/// Begins a session for the user, whose row the caller has locked, and who has just proved by this way in who they are.
pub(crate) async fn insert(
    tx: &mut AnyConnection,
    new: &NewSession,
    user_id: &UserId,
    method_id: Option<&AuthMethodId>,
    at: Timestamp,
    client: &ClientInfo,
    by_second_factor: bool,
) -> Result<Session, StoreError> {
    let session = Session {
        id: new.id.clone(),
        user_id: user_id.clone(),
        generation: 0,
        created_at: at,
        last_seen_at: at,
        rotated_at: at,
        expires_at: new.expires_at.min(new.absolute_expires_at),
        absolute_expires_at: new.absolute_expires_at,
        ip: client.ip,
        user_agent: client.user_agent.clone(),
    };
    sqlx::query(
        "INSERT INTO sessions (id, app_id, user_id, generation, refresh_digest, created_at, last_seen_at, rotated_at, \
         expires_at, absolute_expires_at, ip, user_agent, authenticated_at, second_factor_at, epoch, method_id) VALUES \
         ($1, $2, $3, 0, $4, $5, $5, $5, $6, $7, $8, $9, $5, $10, (SELECT session_epoch FROM users WHERE id = $3), $11)",
    )
    .bind(session.id.as_str())
    .bind(app())
    .bind(user_id.as_str())
    .bind(new.refresh_digest.to_string())
    .bind(at.as_millis())
    .bind(session.expires_at.as_millis())
    .bind(session.absolute_expires_at.as_millis())
    .bind(ip(client))
    .bind(session.user_agent.as_deref())
    .bind(by_second_factor.then_some(at.as_millis()))
    .bind(method_id.map(AuthMethodId::as_str))
    .execute(tx)
    .await?;
    Ok(session)
}

/// The session's row and its user's; until the end of the transaction nobody else gets past here with the same session.
async fn lock(tx: &mut AnyConnection, refresh: &Refresh, now: Timestamp) -> Result<Option<AnyRow>, StoreError> {
    sqlx::query(
        "UPDATE sessions SET last_seen_at = CASE WHEN last_seen_at < $1 THEN $1 ELSE last_seen_at END \
         WHERE id = $2 AND user_id = $3",
    )
    .bind(now.as_millis())
    .bind(refresh.session_id.as_str())
    .bind(refresh.user_id.as_str())
    .execute(&mut *tx)
    .await?;
    Ok(sqlx::query(concat!(
        "SELECT ",
        session_columns!(),
        ", ",
        user_columns!(),
        " FROM sessions s ",
        live!(),
        "WHERE s.id = $1 AND s.user_id = $2"
    ))
    .bind(refresh.session_id.as_str())
    .bind(refresh.user_id.as_str())
    .fetch_optional(tx)
    .await?)
}

async fn store_rotation(
    tx: &mut AnyConnection,
    session: &Session,
    digest: &Digest,
    previous: &Digest,
    client: &ClientInfo,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE sessions SET generation = $1, rotated_at = $2, expires_at = $3, refresh_digest = $4, \
         previous_refresh_digest = $5, rotated_ip = $6, rotated_user_agent = $7 WHERE id = $8",
    )
    .bind(session.generation)
    .bind(session.rotated_at.as_millis())
    .bind(session.expires_at.as_millis())
    .bind(digest.to_string())
    .bind(previous.to_string())
    .bind(ip(client))
    .bind(client.user_agent.as_deref())
    .bind(session.id.as_str())
    .execute(tx)
    .await?;
    Ok(())
}

/// Whether both the address and the program are others than those that the present pair was given to. One that changes
/// alone is a person on the way, or an update.
fn is_from_elsewhere(row: &AnyRow, client: &ClientInfo) -> Result<bool, StoreError> {
    let (address, program) = (row.opt_text("rotated_ip")?, row.opt_text("rotated_user_agent")?);
    Ok(address != ip(client) && program != client.user_agent)
}

async fn delete(tx: &mut AnyConnection, id: &SessionId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM sessions WHERE id = $1").bind(id.as_str()).execute(tx).await?;
    Ok(())
}
