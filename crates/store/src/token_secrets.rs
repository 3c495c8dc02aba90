//! Finding a token by its secret.

use domain::{Digest, DigestKeyId, Timestamp, TokenId, TokenSecretId};
use sqlx::any::AnyRow;

use crate::rows::Columns;
use crate::tokens::Token;
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// A token found by one of its secrets. Neither need be valid any more: the caller checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundToken {
    /// The token.
    pub token: Token,
    /// The secret that led to it.
    pub secret: TokenSecret,
    /// Whose it is.
    pub owner: TokenOwner,
}

/// A secret as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSecret {
    /// Its id.
    pub id: TokenSecretId,
    /// The bcrypt hash: the verifier of record.
    pub hash: String,
    /// The keyed digest.
    pub digest: Digest,
    /// The key of the digest.
    pub seal_key: DigestKeyId,
    /// When it stops working because a rotation replaced it; `None` for the present one.
    pub valid_until: Option<Timestamp>,
}

/// What a valid token tells about its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenOwner {
    /// The primary e-mail address.
    pub email: Option<String>,
    /// The name that others see.
    pub display_name: Option<String>,
    /// A picture.
    pub avatar_url: Option<String>,
    /// When an operator shut the account.
    pub disabled_at: Option<Timestamp>,
}

/// What is kept of a secret in clear, by which the few rows are found that it may belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretTrace {
    /// The first characters of a token of our form.
    Prefix(String),
    /// The hint of a token of another form.
    Hint(String),
}

macro_rules! found_token {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            $crate::tokens::token_columns!(),
            ", s.id AS secret_id, s.hash, s.digest, s.seal_key, s.valid_until, \
             u.email, u.display_name, u.avatar_url, u.disabled_at",
            $crate::tokens::tokens_with_present_secret!(),
            "JOIN token_secrets s ON s.token_id = t.id WHERE ",
            $condition
        )
    };
}
pub(crate) use found_token;

impl FoundToken {
    pub(crate) fn from_row(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            token: Token::from_row(row)?,
            secret: TokenSecret {
                id: row.parsed("secret_id")?,
                hash: row.text("hash")?,
                digest: row.parsed("digest")?,
                seal_key: row.parsed("seal_key")?,
                valid_until: row.opt_time("valid_until")?,
            },
            owner: TokenOwner {
                email: row.opt_text("email")?,
                display_name: row.opt_text("display_name")?,
                avatar_url: row.opt_text("avatar_url")?,
                disabled_at: row.opt_time("disabled_at")?,
            },
        })
    }
}

impl Store {
    /// The token with this secret, if it still has it.
    pub async fn find_token_by_secret(&self, id: &TokenSecretId) -> Result<Option<FoundToken>, StoreError> {
        let row = sqlx::query(found_token!("s.id = $1")).bind(id.as_str()).fetch_optional(self.reader()).await?;
        row.as_ref().map(FoundToken::from_row).transpose()
    }

    /// The token with that of its secrets which ends first: the present one, unless a rotation has left another that
    /// still works at `now`.
    pub async fn find_token_by_first_secret_to_end(
        &self,
        id: &TokenId,
        now: Timestamp,
    ) -> Result<Option<FoundToken>, StoreError> {
        // Where NULL belongs in an order, the databases do not agree.
        let row = sqlx::query(found_token!(
            "t.id = $1 AND (s.valid_until IS NULL OR s.valid_until > $2) \
             ORDER BY CASE WHEN s.valid_until IS NULL THEN 1 ELSE 0 END, s.valid_until LIMIT 1"
        ))
        .bind(id.as_str())
        .bind(now.as_millis())
        .fetch_optional(self.reader())
        .await?;
        row.as_ref().map(FoundToken::from_row).transpose()
    }

    /// At most `limit` tokens that may have the secret that this was found out of, and whose digest was made under
    /// another key than `present`, by the secrets' ids, from that on which follows `after`. Whether one of them is
    /// meant, only its hash can tell.
    pub async fn find_token_candidates(
        &self,
        trace: &SecretTrace,
        present: &DigestKeyId,
        after: Option<&TokenSecretId>,
        limit: u32,
    ) -> Result<Vec<FoundToken>, StoreError> {
        let (query, trace) = match trace {
            SecretTrace::Prefix(prefix) => (
                found_token!(
                    "s.prefix = $1 AND s.hint IS NULL AND s.seal_key <> $2 AND s.id > $3 ORDER BY s.id LIMIT $4"
                ),
                prefix,
            ),
            SecretTrace::Hint(hint) => {
                (found_token!("s.hint = $1 AND s.seal_key <> $2 AND s.id > $3 ORDER BY s.id LIMIT $4"), hint)
            }
        };
        let rows = sqlx::query(query)
            .bind(trace.as_str())
            .bind(present.as_str())
            // No id is empty.
            .bind(after.map_or("", TokenSecretId::as_str))
            .bind(i64::from(limit))
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(FoundToken::from_row).collect()
    }

    /// Whether any secret is still sealed under another key than `present`.
    pub async fn has_foreign_seals(&self, present: &DigestKeyId) -> Result<bool, StoreError> {
        // The two ends of the index; `<>` would read the whole table when there is none.
        let row = sqlx::query(
            "SELECT (SELECT MIN(seal_key) FROM token_secrets) AS lowest, \
             (SELECT MAX(seal_key) FROM token_secrets) AS highest",
        )
        .fetch_one(self.reader())
        .await?;
        let ends = [row.opt_text("lowest")?, row.opt_text("highest")?];
        Ok(ends.iter().flatten().any(|end| end != present.as_str()))
    }

    /// Seals a secret anew after its hash has been checked; false when it is gone.
    pub async fn reseal_token_secret(
        &self,
        id: &TokenSecretId,
        digest: &Digest,
        seal_key: &DigestKeyId,
    ) -> Result<bool, StoreError> {
        transaction!(self, |tx| {
            let updated = sqlx::query("UPDATE token_secrets SET digest = $1, seal_key = $2 WHERE id = $3")
                .bind(digest.to_string())
                .bind(seal_key.as_str())
                .bind(id.as_str())
                .execute(&mut *tx)
                .await?;
            Ok(updated.rows_affected() > 0)
        })
    }
}
