//! Removing what is over, in small batches, so that no writer waits long.

use domain::audit::EventType;
use domain::{Timestamp, UserId};

use crate::audit::{NewEvent, record};
use crate::rows::Columns;
use crate::transaction::transaction;
use crate::{Store, StoreError};

impl Store {
    /// Deletes at most `limit` tokens that expired before `expired_before`, writes a `token.purged` for each with an
    /// event of `new_event`'s (each of its own id), and returns how many.
    pub async fn purge_tokens(
        &self,
        expired_before: Timestamp,
        limit: u32,
        new_event: impl Fn() -> NewEvent + Sync,
    ) -> Result<u64, StoreError> {
        transaction!(self, |tx| {
            let rows = sqlx::query(
                "DELETE FROM personal_access_tokens WHERE id IN (SELECT id FROM personal_access_tokens \
                 WHERE expires_at IS NOT NULL AND expires_at < $1 ORDER BY expires_at LIMIT $2) \
                 RETURNING id, user_id, name",
            )
            .bind(expired_before.as_millis())
            .bind(i64::from(limit))
            .fetch_all(&mut *tx)
            .await?;
            for row in &rows {
                let user_id: UserId = row.parsed("user_id")?;
                let event = new_event().with("tokenId", &row.text("id")?).with("name", &row.text("name")?);
                record(tx, EventType::TokenPurged, Some(&user_id), &event).await?;
            }
            Ok(rows.len() as u64)
        })
    }

    /// Deletes at most `limit` codes that were used or expired before `over_before`, writes one `codes.purged` with
    /// their number if there were any, and returns it.
    pub async fn purge_codes(&self, over_before: Timestamp, limit: u32, event: &NewEvent) -> Result<u64, StoreError> {
        transaction!(self, |tx| {
            let mut deleted = 0;
            // One after the other, each along its own index: for an `OR`, PostgreSQL first collects all that match.
            for delete in [
                "DELETE FROM one_time_codes WHERE id IN \
                 (SELECT id FROM one_time_codes WHERE consumed_at < $1 ORDER BY consumed_at LIMIT $2)",
                "DELETE FROM one_time_codes WHERE id IN \
                 (SELECT id FROM one_time_codes WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
            ] {
                deleted += sqlx::query(delete)
                    .bind(over_before.as_millis())
                    .bind(i64::from(limit).saturating_sub_unsigned(deleted))
                    .execute(&mut *tx)
                    .await?
                    .rows_affected();
            }
            if deleted > 0 {
                let event = event.clone().with("count", &deleted.to_string());
                record(tx, EventType::CodesPurged, None, &event).await?;
            }
            Ok(deleted)
        })
    }

    /// Deletes at most `limit` sessions whose time was over before `over_before`, and returns how many.
    pub async fn purge_sessions(&self, over_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        // `expires_at` is never after `absolute_expires_at`.
        self.purge(
            "DELETE FROM sessions WHERE id IN \
             (SELECT id FROM sessions WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
            over_before,
            limit,
        )
        .await
    }

    /// Runs a `DELETE` of at most `$2` rows that were over before `$1`, and returns how many it were.
    pub(crate) async fn purge(
        &self,
        delete: &'static str,
        over_before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        transaction!(self, |tx| {
            let deleted =
                sqlx::query(delete).bind(over_before.as_millis()).bind(i64::from(limit)).execute(&mut *tx).await?;
            Ok(deleted.rows_affected())
        })
    }
}
