//! The link in a mail by which whoever reads it ends all access to the account, without signing in.

use domain::audit::EventType;
use domain::{Digest, Timestamp, UserId};
use sqlx::AnyConnection;

use crate::audit::{NewEvent, record};
use crate::deletion::of_user;
use crate::owed_marks::{MarkedCredential, owe};
use crate::rows::Columns;
use crate::transaction::transaction;
use crate::{Store, StoreError, sessions, users};

/// Of rows that end in a session by a way in of the user's, without the user's id.
macro_rules! of_way_in {
    ($table:literal, $key:literal, $match:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE ",
            $key,
            " IN (SELECT c.",
            $key,
            " FROM auth_methods m JOIN ",
            $table,
            " c ON ",
            $match,
            " WHERE m.user_id = $1 LIMIT $2)"
        )
    };
}

/// What lets somebody in besides sessions, or soon would, and with what they are known; each of at most `$2` rows.
const ENDED: [&str; 12] = [
    // With their secrets.
    of_user!("personal_access_tokens", "id"),
    of_user!("pairings", "id"),
    of_user!("pairing_forms", "digest"),
    of_user!("mfa_challenges", "digest"),
    of_user!("link_codes", "type" within a user),
    of_user!("oauth_states", "digest"),
    of_user!("oauth_proofs", "digest"),
    // A code or link that was sent before: whoever reads the mailbox asks for another.
    of_way_in!(
        "one_time_codes",
        "id",
        "c.app_id = m.app_id AND c.purpose IN ('sign_in.email', 'sign_in.sms') AND c.subject = m.identifier"
    ),
    of_way_in!(
        "exchange_codes",
        "digest",
        "c.identifier = m.identifier AND c.type = m.type AND c.provider = m.provider"
    ),
    of_way_in!("exchange_codes", "digest", "c.email = m.identifier AND m.type = 'email'"),
    of_user!("wallet_challenges", "digest"),
    // Whoever signs in next is told of, whatever they sign in with.
    of_user!("known_devices", "digest" within a user),
];

/// What became of ending all access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecureOutcome {
    /// Everything has ended, and the link is spent.
    Ended {
        /// How many sessions have; more than 10,000 are 10,000.
        sessions: u32,
        /// How many tokens have, with those of earlier batches.
        tokens: u64,
    },
    /// A batch has ended, and there is more; the link is not spent.
    More {
        /// How many tokens have ended so far.
        tokens: u64,
    },
    /// There is no such link, it is too old, or it was used.
    NoLink,
}

impl Store {
    /// Whose account the link is about, if it works.
    pub async fn find_undo_link(&self, digest: &Digest, now: Timestamp) -> Result<Option<UserId>, StoreError> {
        find(self.reader(), digest, now).await
    }

    /// Ends everything that lets anybody in to the account, at most `batch` rows of each kind in one transaction. The
    /// last one, with the user's row locked, finds nothing left, ends all sessions, spends the link and writes
    /// `user.secured`: whoever is cut off before may use the link again.
    pub async fn secure_user(
        &self,
        digest: &Digest,
        tokens_before: u64,
        batch: u32,
        new_event: impl Fn() -> NewEvent + Sync,
    ) -> Result<SecureOutcome, StoreError> {
        transaction!(self, |tx| {
            let event = new_event();
            let Some(user_id) = find(&mut *tx, digest, event.at).await? else { return Ok(SecureOutcome::NoLink) };
            if users::lock(tx, &user_id).await?.is_none() {
                return Ok(SecureOutcome::NoLink);
            }
            owe(tx, &MarkedCredential::Owner(user_id.clone()), event.at).await?;
            let (mut tokens, mut is_more) = (tokens_before, false);
            for (place, statement) in ENDED.into_iter().enumerate() {
                let ended = sqlx::query(statement).bind(user_id.as_str()).bind(i64::from(batch)).execute(&mut *tx);
                let ended = ended.await?.rows_affected();
                tokens += if place == 0 { ended } else { 0 };
                is_more |= ended >= u64::from(batch);
            }
            if is_more {
                return Ok(SecureOutcome::More { tokens });
            }
            // Two who press the button at once: the second finds nothing, since the first had the user's row.
            let spent = sqlx::query("DELETE FROM undo_links WHERE digest = $1")
                .bind(digest.to_string())
                .execute(&mut *tx)
                .await?;
            if spent.rows_affected() == 0 {
                return Ok(SecureOutcome::NoLink);
            }
            let sessions = sessions::end_all(tx, &user_id, None, &new_event()).await?;
            let event = event.with("sessions", &sessions.to_string()).with("tokens", &tokens.to_string());
            record(tx, EventType::UserSecured, Some(&user_id), &event).await?;
            Ok(SecureOutcome::Ended { sessions, tokens })
        })
    }

    /// Deletes at most `limit` links that stopped working before `over_before`, and returns how many.
    pub async fn purge_undo_links(&self, over_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.purge(
            "DELETE FROM undo_links WHERE digest IN \
             (SELECT digest FROM undo_links WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
            over_before,
            limit,
        )
        .await
    }
}

async fn find(
    executor: impl sqlx::AnyExecutor<'_>,
    digest: &Digest,
    now: Timestamp,
) -> Result<Option<UserId>, StoreError> {
    let row = sqlx::query("SELECT user_id FROM undo_links WHERE digest = $1 AND expires_at > $2")
        .bind(digest.to_string())
        .bind(now.as_millis())
        .fetch_optional(executor)
        .await?;
    row.map(|row| row.parsed("user_id")).transpose()
}

/// Keeps a link.
pub(crate) async fn insert(
    tx: &mut AnyConnection,
    user_id: &UserId,
    digest: &Digest,
    at: Timestamp,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO undo_links (digest, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)")
        .bind(digest.to_string())
        .bind(user_id.as_str())
        .bind(at.as_millis())
        .bind(expires_at.as_millis())
        .execute(tx)
        .await?;
    Ok(())
}
