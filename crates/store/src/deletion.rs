//! The end of an account. All access ends in one short transaction, whose work does not grow with the account. What the
//! account leaves goes in batches, each a transaction of its own: whoever is cut off begins again and finds less, and
//! several may be at it at once.
//!
//! What is written beside a deletion either waits for the user's row, and finds them gone; or was committed before the
//! deletion, so that the batches find it; or is an audit event that was committed after it, which the sealer blanks, for
//! every event is sealed after its commit. Once every transaction that was open at the time is over the
//! batches run once more, and then the user's row goes, with whatever else refers to it.

use std::time::Duration;

use domain::audit::EventType;
use domain::{EventId, Timestamp, UserId};

use crate::audit::NewEvent;
use crate::chain;
use crate::owed_marks::{MarkedCredential, owe};
use crate::rows::{Columns, app};
use crate::transaction::transaction;
use crate::{Store, StoreError, notices, users};

/// After so long no transaction is open any more that was when the deletion was committed: an instance gives one up
/// after its statement timeout, PostgreSQL ends one that is idle for as long, each a few seconds; with room for clocks
/// that do not agree.
pub(crate) const SETTLED_AFTER: Duration = Duration::from_mins(1);

/// Of rows with a user's id, and a key. By the key alone, where it is one: with the user's id beside it, SQLite takes that
/// one's index, and every batch reads all rows of the user.
macro_rules! of_user {
    ($table:literal, $key:literal) => {
        concat!("DELETE FROM ", $table, " WHERE ", of_user!(@some $table, $key))
    };
    ($table:literal, $key:literal within a user) => {
        concat!("DELETE FROM ", $table, " WHERE user_id = $1 AND ", of_user!(@some $table, $key))
    };
    (@some $table:literal, $key:literal) => {
        concat!($key, " IN (SELECT ", $key, " FROM ", $table, " WHERE user_id = $1 LIMIT $2)")
    };
}
pub(crate) use of_user;
/// Of rows under an address, without a user's id. Whoever proves the address after the deletion is somebody new.
macro_rules! of_address {
    ($table:literal, $key:literal, $match:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE ",
            $key,
            " IN (SELECT c.",
            $key,
            " FROM deleted_addresses a \
             JOIN users u ON u.id = a.user_id JOIN ",
            $table,
            " c ON ",
            $match,
            " AND c.created_at <= u.deleted_at \
             WHERE a.user_id = $1 LIMIT $2)"
        )
    };
}

/// What an account leaves in other tables, most of what would be worth something first; each of at most `$2` rows.
const ROWS: [&str; 20] = [
    of_address!(
        "one_time_codes",
        "id",
        "c.app_id = u.app_id AND c.purpose IN ('sign_in.email', 'sign_in.sms') AND c.subject = a.identifier"
    ),
    of_address!(
        "exchange_codes",
        "digest",
        "c.identifier = a.identifier AND c.type = a.type AND c.provider = a.provider"
    ),
    of_address!("exchange_codes", "digest", "c.email = a.identifier AND a.type = 'email'"),
    of_address!("mail_links", "digest", "c.app_id = u.app_id AND a.type = 'email' AND c.subject = a.identifier"),
    of_address!("wallet_challenges", "digest", "c.address = a.identifier AND a.type = 'wallet'"),
    of_user!("mfa_challenges", "digest"),
    of_user!("totp_factors", "user_id"),
    of_user!("totp_guesses", "guesser"),
    of_user!("backup_codes", "digest" within a user),
    of_user!("link_codes", "type" within a user),
    of_user!("oauth_states", "digest"),
    of_user!("oauth_proofs", "digest"),
    of_user!("wallet_challenges", "digest"),
    of_user!("pairing_forms", "digest"),
    of_user!("pairings", "id"),
    of_user!("undo_links", "digest"),
    of_user!("known_devices", "digest" within a user),
    of_user!("security_mail_budgets", "recipient" within a user),
    of_user!("sessions", "id"),
    // With their secrets.
    of_user!("personal_access_tokens", "id"),
];

/// Of an event, what says more than who did what and when.
macro_rules! has_particulars {
    () => {
        "(ip IS NOT NULL OR user_agent IS NOT NULL OR request_id IS NOT NULL OR metadata <> '{}')"
    };
}

/// A deletion that is under way, and how far this run of it is. Another run begins at the beginning.
#[derive(Debug, Clone)]
pub struct Deletion {
    user_id: UserId,
    /// Whether nobody can write anything any more that began before the deletion.
    is_settled: bool,
    next: Step,
}

#[derive(Debug, Clone)]
enum Step {
    /// The rows of this place in [`ROWS`].
    Rows(usize),
    /// The particulars of the events after this one.
    Events { at: i64, id: String },
    /// The user's own row.
    User,
}

impl Deletion {
    /// A first run, for whoever has just deleted the user.
    #[must_use]
    pub const fn of(user_id: UserId) -> Self {
        Self { user_id, is_settled: false, next: Step::Rows(0) }
    }

    /// By what it empties the tables, one after the other.
    #[must_use]
    pub const fn statements(&self) -> &'static [&'static str] {
        &ROWS
    }

    /// Whose it is.
    #[must_use]
    pub const fn user_id(&self) -> &UserId {
        &self.user_id
    }
}

impl Store {
    /// Ends the account: from the commit on there is no such user, nothing of theirs is accepted, and their addresses
    /// are free. Writes `user.deleted`, with no word of from where, and owes a mark for everything of theirs. `false`
    /// when there is no such user. What they leave goes by [`delete_batch`](Self::delete_batch).
    pub async fn delete_user(&self, user_id: &UserId, event: &NewEvent) -> Result<bool, StoreError> {
        transaction!(self, |tx| {
            if users::lock(tx, user_id).await?.is_none() {
                return Ok(false);
            }
            self.require_proof(tx, user_id, event).await?;
            // Disabled as well: a program of an older version beside this one knows no more than that.
            sqlx::query(
                "UPDATE users SET deleted_at = $1, disabled_at = $1, updated_at = $1, session_epoch = session_epoch + 1, \
                 email = NULL, phone = NULL, display_name = NULL, avatar_url = NULL, wallet_address = NULL, \
                 email_verified = 0, phone_verified = 0, last_login_at = NULL WHERE id = $2",
            )
            .bind(event.at.as_millis())
            .bind(user_id.as_str())
            .execute(&mut *tx)
            .await?;
            sqlx::query(
                "DELETE FROM one_time_codes WHERE app_id = $1 AND purpose IN ('sign_in.email', 'sign_in.sms') \
                 AND subject IN (SELECT identifier FROM auth_methods WHERE user_id = $2)",
            )
            .bind(app())
            .bind(user_id.as_str())
            .execute(&mut *tx)
            .await?;
            // With the addresses still there, and from where it was asked for, which no event says.
            notices::write(tx, EventType::UserDeleted, user_id, event).await?;
            for statement in [
                "INSERT INTO deleted_addresses (user_id, type, provider, identifier) \
                 SELECT user_id, type, provider, identifier FROM auth_methods WHERE user_id = $1",
                "DELETE FROM auth_methods WHERE user_id = $1",
            ] {
                sqlx::query(statement).bind(user_id.as_str()).execute(&mut *tx).await?;
            }
            owe(tx, &MarkedCredential::Owner(user_id.clone()), event.at).await?;
            chain::record_deletion(tx, user_id, event).await?;
            Ok(true)
        })
    }

    /// At most `limit` deletions that have something to do now: those that have not run through once, and those whose
    /// last run is due.
    pub async fn deletions_due(&self, now: Timestamp, limit: u32) -> Result<Vec<Deletion>, StoreError> {
        let settled = now.minus(SETTLED_AFTER).as_millis();
        let rows = sqlx::query(
            "SELECT id, deleted_at FROM users WHERE deleted_at IS NOT NULL AND (erased_at IS NULL OR deleted_at <= $1) \
             ORDER BY deleted_at, id LIMIT $2",
        )
        .bind(settled)
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        let deletion = |row: &sqlx::any::AnyRow| {
            Ok(Deletion { is_settled: row.int("deleted_at")? <= settled, ..Deletion::of(row.parsed("id")?) })
        };
        rows.iter().map(deletion).collect()
    }

    /// Does the next at most `batch` rows of a deletion in one transaction, and returns how many it changed; `None`
    /// when this run is over.
    pub async fn delete_batch(
        &self,
        deletion: &mut Deletion,
        batch: u32,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let user_id = deletion.user_id.clone();
        match &deletion.next {
            Step::Rows(place) => {
                let (place, statement) = (*place, ROWS[*place]);
                let deleted = transaction!(self, |tx| {
                    if !users::lock_deleted(tx, &user_id).await? {
                        return Ok(0);
                    }
                    let deleted =
                        sqlx::query(statement).bind(user_id.as_str()).bind(i64::from(batch)).execute(&mut *tx).await?;
                    Ok(deleted.rows_affected())
                })?;
                // With the user's row locked, fewer means that none is left.
                if deleted < u64::from(batch) {
                    let next = place + 1;
                    let events = Step::Events { at: i64::MIN, id: String::new() };
                    deletion.next = if next < ROWS.len() { Step::Rows(next) } else { events };
                }
                Ok(Some(deleted))
            }
            Step::Events { at, id } => {
                let (at, id) = (*at, id.clone());
                let page = self.page_of_events(&user_id, (at, &id), batch).await?;
                let erased = match &page.last {
                    Some(last) if page.has_particulars => self.erase_between(&user_id, (at, &id), last).await?,
                    _ => 0,
                };
                deletion.next = match page.last {
                    Some((at, id)) => Step::Events { at, id: id.to_string() },
                    None => Step::User,
                };
                Ok(Some(erased))
            }
            Step::User => {
                let statement = if deletion.is_settled {
                    // The few things that came since go with it: ON DELETE CASCADE.
                    "DELETE FROM users WHERE id = $1 AND deleted_at <= $2"
                } else {
                    "UPDATE users SET erased_at = $2 WHERE id = $1 AND deleted_at IS NOT NULL"
                };
                transaction!(self, |tx| {
                    sqlx::query(statement).bind(user_id.as_str()).bind(now.as_millis()).execute(&mut *tx).await?;
                    Ok(None)
                })
            }
        }
    }

    /// The user's next events in their order, and whether any of them has particulars. Read beside the writers: most
    /// pages of a second run need no more.
    async fn page_of_events(&self, user_id: &UserId, after: (i64, &str), batch: u32) -> Result<Page, StoreError> {
        let rows = sqlx::query(concat!(
            "SELECT at, id, CASE WHEN ",
            has_particulars!(),
            " THEN 1 ELSE 0 END AS has_particulars FROM audit_events \
             WHERE user_id = $1 AND (at, id) > ($2, $3) ORDER BY at, id LIMIT $4"
        ))
        .bind(user_id.as_str())
        .bind(after.0)
        .bind(after.1)
        .bind(i64::from(batch))
        .fetch_all(self.reader())
        .await?;
        let mut page = Page { last: None, has_particulars: false };
        for row in &rows {
            page.has_particulars |= row.flag("has_particulars")?;
        }
        if let Some(row) = rows.last() {
            page.last = Some((row.int("at")?, row.parsed("id")?));
        }
        Ok(page)
    }

    /// Erases the particulars of the user's events after the one and up to the other. What has none keeps its salt: it
    /// was sealed as it is.
    async fn erase_between(
        &self,
        user_id: &UserId,
        after: (i64, &str),
        last: &(i64, EventId),
    ) -> Result<u64, StoreError> {
        transaction!(self, |tx| {
            if !users::lock_deleted(tx, user_id).await? {
                return Ok(0);
            }
            chain::lock_end(tx).await?;
            let erased = sqlx::query(concat!(
                "UPDATE audit_events SET ip = NULL, user_agent = NULL, request_id = NULL, metadata = '{}', \
                 particulars_salt = NULL \
                 WHERE user_id = $1 AND (at, id) > ($2, $3) AND (at, id) <= ($4, $5) AND ",
                has_particulars!()
            ))
            .bind(user_id.as_str())
            .bind(after.0)
            .bind(after.1)
            .bind(last.0)
            .bind(last.1.as_str())
            .execute(&mut *tx)
            .await?;
            Ok(erased.rows_affected())
        })
    }
}

/// Some events, in their order.
struct Page {
    /// The last of them; `None` when there are none.
    last: Option<(i64, EventId)>,
    has_particulars: bool,
}
