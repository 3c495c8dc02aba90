//! Secrets that are kept sealed, and what keeps them readable when the seal's key changes.

use domain::DigestKeyId;

use crate::rows::Columns;
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// Where a sealed secret is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedIn {
    /// The private half of a signing key; its name is the key's id.
    SigningKey,
    /// The secret of a second factor; its name is its user's id.
    SecondFactor,
}

/// A secret that was sealed under another key than the present one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignSeal {
    /// Where it is.
    pub kept_in: SealedIn,
    /// What it was bound to when it was sealed.
    pub name: String,
    /// The sealed secret.
    pub sealed: String,
}

impl SealedIn {
    const ALL: [Self; 2] = [Self::SigningKey, Self::SecondFactor];

    const fn select(self) -> &'static str {
        match self {
            Self::SigningKey => {
                "SELECT kid AS name, sealed_private_key AS sealed FROM signing_keys WHERE seal_key <> $1 ORDER BY kid"
            }
            Self::SecondFactor => {
                "SELECT user_id AS name, sealed_secret AS sealed FROM totp_factors WHERE seal_key <> $1 \
                 ORDER BY user_id"
            }
        }
    }

    const fn update(self) -> &'static str {
        match self {
            Self::SigningKey => {
                "UPDATE signing_keys SET sealed_private_key = $1, seal_key = $2 \
                 WHERE kid = $3 AND sealed_private_key = $4"
            }
            Self::SecondFactor => {
                "UPDATE totp_factors SET sealed_secret = $1, seal_key = $2 WHERE user_id = $3 AND sealed_secret = $4"
            }
        }
    }
}

impl Store {
    /// Everything that is sealed under another key than `present`, in one order on every instance, so that two that seal
    /// it anew do not wait for each other.
    pub async fn list_foreign_seals(&self, present: &DigestKeyId) -> Result<Vec<ForeignSeal>, StoreError> {
        let mut found = Vec::new();
        for kept_in in SealedIn::ALL {
            let rows = sqlx::query(kept_in.select()).bind(present.as_str()).fetch_all(self.reader()).await?;
            for row in rows {
                found.push(ForeignSeal { kept_in, name: row.text("name")?, sealed: row.text("sealed")? });
            }
        }
        Ok(found)
    }

    /// Puts secrets that were sealed anew in the place of what they were; one that somebody changed meanwhile stays as
    /// it is.
    pub async fn reseal(&self, secrets: &[(ForeignSeal, String)], key: &DigestKeyId) -> Result<(), StoreError> {
        transaction!(self, |tx| {
            for (old, sealed) in secrets {
                sqlx::query(old.kept_in.update())
                    .bind(sealed.as_str())
                    .bind(key.as_str())
                    .bind(old.name.as_str())
                    .bind(old.sealed.as_str())
                    .execute(&mut *tx)
                    .await?;
            }
            Ok(())
        })
    }
}
