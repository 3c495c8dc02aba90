//! What a mail's link is about: whose account it opens, and the device that asked for it. The page that the link opens
//! says both before anything happens. Whether the link works is not said here: see [`links`](crate::links).

use domain::{CodeChallenge, Digest, Timestamp};
use sqlx::AnyConnection;

use crate::rows::{Columns, app, ip};
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// A link that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailLink {
    /// The keyed digest of its token.
    pub digest: Digest,
    /// The normalised address that it was sent to.
    pub subject: String,
    /// Who asked for it; without a request's id.
    pub asked_by: domain::ClientInfo,
    /// What binds the exchange that follows to the app that asked.
    pub challenge: Option<CodeChallenge>,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// When it stops working.
    pub expires_at: Timestamp,
}

impl Store {
    /// Keeps what a link is about. To be called before the link's secret is kept, or for a moment there would be a link
    /// that is bound to nobody.
    pub async fn put_mail_link(&self, link: &MailLink) -> Result<(), StoreError> {
        transaction!(self, |tx| {
            sqlx::query(
                "INSERT INTO mail_links (digest, app_id, subject, ip, user_agent, code_challenge, created_at, \
                 expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(link.digest.to_string())
            .bind(app())
            .bind(link.subject.as_str())
            .bind(ip(&link.asked_by))
            .bind(link.asked_by.user_agent.as_deref())
            .bind(link.challenge.map(|challenge| challenge.to_string()))
            .bind(link.asked_at.as_millis())
            .bind(link.expires_at.as_millis())
            .execute(&mut *tx)
            .await?;
            Ok(())
        })
    }

    /// What the link with this digest is about, used or not.
    pub async fn find_mail_link(&self, digest: &Digest) -> Result<Option<MailLink>, StoreError> {
        let row = sqlx::query(
            "SELECT subject, ip, user_agent, code_challenge, created_at, expires_at FROM mail_links \
             WHERE digest = $1 AND app_id = $2",
        )
        .bind(digest.to_string())
        .bind(app())
        .fetch_optional(self.reader())
        .await?;
        row.map(|row| {
            let asked_by = domain::ClientInfo {
                ip: row.opt_parsed("ip")?,
                user_agent: row.opt_text("user_agent")?,
                request_id: None,
            };
            Ok(MailLink {
                digest: *digest,
                subject: row.text("subject")?,
                asked_by,
                challenge: row.opt_parsed("code_challenge")?,
                asked_at: row.time("created_at")?,
                expires_at: row.time("expires_at")?,
            })
        })
        .transpose()
    }

    /// Deletes at most `limit` that expired before `over_before`, and returns how many.
    pub async fn purge_mail_links(&self, over_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.purge(
            "DELETE FROM mail_links WHERE digest IN \
                 (SELECT digest FROM mail_links WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
            over_before,
            limit,
        )
        .await
    }
}

/// What binds the exchange that follows a link, if the app that asked for it gave a challenge.
pub(crate) async fn challenge_of(tx: &mut AnyConnection, link: &Digest) -> Result<Option<CodeChallenge>, StoreError> {
    let row = sqlx::query("SELECT code_challenge FROM mail_links WHERE digest = $1 AND app_id = $2")
        .bind(link.to_string())
        .bind(app())
        .fetch_optional(tx)
        .await?;
    row.map_or(Ok(None), |row| row.opt_parsed("code_challenge"))
}
