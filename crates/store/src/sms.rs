//! How many SMS were sent: each costs money, so the count outlives the process.

use crate::rows::app;
use crate::transaction::transaction;
use crate::{Store, StoreError};

impl Store {
    /// Counts one more SMS on this day, unless `cap` have been counted on it; says whether it was. Days before
    /// yesterday are forgotten.
    pub async fn count_sms(&self, day: i64, cap: u32) -> Result<bool, StoreError> {
        transaction!(self, |tx| {
            // Counting and checking are one statement, which parallel calls go through one after the other.
            let counted = sqlx::query(
                "INSERT INTO sms_days (app_id, day, sent) VALUES ($1, $2, 1) \
                 ON CONFLICT (app_id, day) DO UPDATE SET sent = sms_days.sent + 1 WHERE sms_days.sent < $3",
            )
            .bind(app())
            .bind(day)
            .bind(i64::from(cap))
            .execute(&mut *tx)
            .await?
            .rows_affected();
            sqlx::query("DELETE FROM sms_days WHERE app_id = $1 AND day < $2")
                .bind(app())
                .bind(day - 1)
                .execute(&mut *tx)
                .await?;
            Ok(counted > 0)
        })
    }
}
