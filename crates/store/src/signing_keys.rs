//! Signing keys of access JWTs.

use domain::{AppId, DigestKeyId, KeyId, Timestamp};
use sqlx::AnyExecutor;
use sqlx::any::AnyRow;

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
}

impl SigningKey {
    fn from_row(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.parsed("kid")?,
            public_key: row.text("public_key")?,
            sealed_private_key: row.text("sealed_private_key")?,
            seal_key: row.parsed("seal_key")?,
            created_at: row.time("created_at")?,
        })
    }
}

impl Store {
    /// All keys, newest first.
    pub async fn list_signing_keys(&self) -> Result<Vec<SigningKey>, StoreError> {
        list(self.reader()).await
    }

    /// Adds the key if it is the first under its seal, and returns the keys that there are, newest first: of several
    /// instances that start at once, on an empty database or after a change of the seal key, all get the same one.
    pub async fn add_first_signing_key(&self, key: &SigningKey) -> Result<Vec<SigningKey>, StoreError> {
        transaction!(self, |tx| {
            // There is no row yet to lock, so the app's stands for it.
            sqlx::query("UPDATE apps SET lock_version = lock_version + 1 WHERE id = $1")
                .bind(AppId::default_app().as_str())
                .execute(&mut *tx)
                .await?;
            let keys = list(&mut *tx).await?;
            if keys.iter().any(|known| known.seal_key == key.seal_key) {
                return Ok(keys);
            }
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
            list(tx).await
        })
    }
}

async fn list(executor: impl AnyExecutor<'_>) -> Result<Vec<SigningKey>, StoreError> {
    let rows = sqlx::query(
        "SELECT kid, public_key, sealed_private_key, seal_key, created_at FROM signing_keys \
         ORDER BY created_at DESC, kid DESC",
    )
    .fetch_all(executor)
    .await?;
    rows.iter().map(SigningKey::from_row).collect()
}
