//! Key pairs that sign access and narrowed JWTs.

use domain::audit::EventType;
use domain::{AppId, DigestKeyId, KeyId, Timestamp};
use sqlx::AnyExecutor;
use sqlx::any::AnyRow;

use crate::audit::{NewEvent, record};
use crate::rows::Columns;
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// A key pair; the private half is sealed, and the store cannot open it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// The `kid` of RFC 7517.
    pub id: KeyId,
    /// The public key, as its maker writes it.
    pub public_key: String,
    /// The private key, sealed.
    pub sealed_private_key: String,
    /// Names the key that opens the seal.
    pub seal_key: DigestKeyId,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it verifies; `None` for the newest.
    pub retires_at: Option<Timestamp>,
}

impl SigningKey {
    fn from_row(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.parsed("kid")?,
            public_key: row.text("public_key")?,
            sealed_private_key: row.text("sealed_private_key")?,
            seal_key: row.parsed("seal_key")?,
            created_at: row.time("created_at")?,
            retires_at: row.opt_time("retires_at")?,
        })
    }
}

impl Store {
    /// All keys, newest first.
    pub async fn list_signing_keys(&self) -> Result<Vec<SigningKey>, StoreError> {
        list(self.reader()).await
    }

    /// Adds the key if `newest` is still the newest one (`None`: if there is none), and returns the keys that there
    /// are, newest first: of several instances that try at once all get the same. Those before it verify until
    /// `others_until` at the longest; `signing_key.added` is written where there are such.
    pub async fn add_signing_key(
        &self,
        key: &SigningKey,
        newest: Option<&KeyId>,
        others_until: Timestamp,
        event: &NewEvent,
    ) -> Result<Vec<SigningKey>, StoreError> {
        transaction!(self, |tx| {
            // There may be no row yet to lock, so the app's stands for it.
            sqlx::query("UPDATE apps SET lock_version = lock_version + 1 WHERE id = $1")
                .bind(AppId::default_app().as_str())
                .execute(&mut *tx)
                .await?;
            let keys = list(&mut *tx).await?;
            if keys.first().map(|known| &known.id) != newest {
                return Ok(keys);
            }
            sqlx::query("UPDATE signing_keys SET retires_at = $1 WHERE retires_at IS NULL OR retires_at > $1")
                .bind(others_until.as_millis())
                .execute(&mut *tx)
                .await?;
            sqlx::query(
                "INSERT INTO signing_keys (kid, public_key, sealed_private_key, seal_key, created_at) \
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(key.id.as_str())
            .bind(key.public_key.as_str())
            .bind(key.sealed_private_key.as_str())
            .bind(key.seal_key.as_str())
            .bind(key.created_at.as_millis())
            .execute(&mut *tx)
            .await?;
            if !keys.is_empty() {
                let event = event.clone().with("kid", key.id.as_str());
                record(tx, EventType::SigningKeyAdded, None, &event).await?;
            }
            list(tx).await
        })
    }

    /// Deletes at most `limit` keys that stopped verifying before `retired_before`, and returns how many.
    pub async fn purge_signing_keys(&self, retired_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.purge(
            "DELETE FROM signing_keys WHERE kid IN (SELECT kid FROM signing_keys WHERE retires_at < $1 LIMIT $2)",
            retired_before,
            limit,
        )
        .await
    }
}

async fn list(executor: impl AnyExecutor<'_>) -> Result<Vec<SigningKey>, StoreError> {
    // A clock that was set back must not make a later key an earlier one.
    let rows = sqlx::query(
        "SELECT kid, public_key, sealed_private_key, seal_key, created_at, retires_at FROM signing_keys \
         ORDER BY CASE WHEN retires_at IS NULL THEN 0 ELSE 1 END, created_at DESC, kid DESC",
    )
    .fetch_all(executor)
    .await?;
    rows.iter().map(SigningKey::from_row).collect()
}
