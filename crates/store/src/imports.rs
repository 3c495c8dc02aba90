//! Tokens of an older system.

use domain::audit::EventType;
use domain::{Digest, DigestKeyId, Scopes, Timestamp, TokenId, TokenName, TokenSecretId, UserId};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use crate::audit::{NewEvent, record};
use crate::operators::{NewUser, NewUserOutcome, add_user};
use crate::rows::{Columns, app, millis};
use crate::tokens::{NewTokenSecret, insert_secret};
use crate::transaction::transaction;
use crate::{Store, StoreError, users};

/// A token that is about to be imported, without its hash, which takes long to make.
#[derive(Debug, Clone)]
pub struct Import {
    /// The id it has had, and keeps.
    pub id: TokenId,
    /// Whose it is.
    pub user_id: UserId,
    /// The user to create if there is none with that id; `None` refuses the token.
    pub owner: Option<NewUser>,
    /// Its name.
    pub name: TokenName,
    /// What it may do.
    pub scopes: Scopes,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// The id of its secret.
    pub secret_id: TokenSecretId,
    /// The keyed digest by which it is found.
    pub digest: Digest,
    /// The key of the digest.
    pub seal_key: DigestKeyId,
    /// The first characters.
    pub prefix: String,
    /// The hint, of a token whose form is not ours.
    pub hint: Option<String>,
}

/// What became of one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportOutcome {
    /// It works from now on. Whether its owner had to be created.
    Imported {
        /// Whether there was no such user before.
        user_created: bool,
    },
    /// It was imported before, and may have been rotated since.
    AlreadyThere,
    /// It was imported before and deleted since; it stays deleted.
    DeletedSince,
    /// There is no such user, and none is to be created, or can be while the last one with this id is being deleted.
    NoUser,
    /// Another token has this id.
    IdTaken,
    /// The same secret is kept as another token, which has this id.
    SecretTaken(TokenId),
    /// The owner's address is another user's way in.
    AddressTaken(UserId),
}

/// A secret whose form is not ours, as far as instances keep it in mind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OlderSecret {
    /// Where it stands among all of them.
    pub place: OlderSecretPlace,
    /// The first 64 bits of its keyed digest.
    pub digest_start: u64,
    /// Its hint, if its digest was made under another key than the one that was asked for.
    pub foreign_hint: Option<String>,
}

/// A place among the secrets whose form is not ours, in the order in which they were imported; by default before all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OlderSecretPlace {
    batch: i64,
    secret_id: String,
}

impl Store {
    /// What is known of these tokens before their hashes are made, in the same order; `None` for those that can be
    /// imported. Nothing is changed.
    pub async fn preview_import(&self, imports: &[Import]) -> Result<Vec<Option<ImportOutcome>>, StoreError> {
        let mut connection = self.snapshot().await?;
        let mut known = Vec::with_capacity(imports.len());
        for import in imports {
            known.push(find_known(&mut connection, import).await?);
        }
        Ok(known)
    }

    /// Imports these tokens, each with its bcrypt hash, in one transaction, creates the owners that are missing where
    /// that is wanted, writes `token.imported` for each, with an event of `new_event`'s (each of its own id), and
    /// returns what became of them, in the same order. One import is at this point at a time.
    pub async fn import_tokens(
        &self,
        imports: &[(Import, String)],
        new_event: impl Fn() -> NewEvent + Sync,
    ) -> Result<Vec<ImportOutcome>, StoreError> {
        transaction!(self, |tx| {
            let generation: i64 = sqlx::query("UPDATE apps SET imports = imports + 1 WHERE id = $1 RETURNING imports")
                .bind(app())
                .fetch_one(&mut *tx)
                .await?
                .try_get("imports")?;
            let mut outcomes = Vec::with_capacity(imports.len());
            for (import, hash) in imports {
                let outcome = match find_known(&mut *tx, import).await? {
                    Some(known) => known,
                    None => insert(&mut *tx, import, hash, generation, &new_event).await?,
                };
                outcomes.push(outcome);
            }
            Ok(outcomes)
        })
    }

    /// The last batch that has been imported; 0 before the first. It grows when there is something to be read by
    /// [`older_secrets`](Self::older_secrets).
    pub async fn last_import(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT imports FROM apps WHERE id = $1").bind(app()).fetch_one(self.reader()).await?;
        row.int("imports")
    }

    /// At most `limit` secrets whose form is not ours, in the order of their places, from that on which follows `after`.
    /// Batches are committed one after the other, so nothing is added before a place that has been read.
    pub async fn older_secrets(
        &self,
        after: &OlderSecretPlace,
        present: &DigestKeyId,
        limit: u32,
    ) -> Result<Vec<OlderSecret>, StoreError> {
        // The first comparison is within the second; by it SQLite knows that the partial index will do.
        let rows = sqlx::query(
            "SELECT id, imported_in, SUBSTR(digest, 1, 16) AS digest_start, \
             CASE WHEN seal_key = $1 THEN NULL ELSE hint END AS foreign_hint FROM token_secrets \
             WHERE imported_in >= $2 AND (imported_in, id) > ($2, $3) ORDER BY imported_in, id LIMIT $4",
        )
        .bind(present.as_str())
        .bind(after.batch)
        .bind(after.secret_id.as_str())
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        let secret = |row: &AnyRow| {
            let digest_start = u64::from_str_radix(&row.text("digest_start")?, 16);
            Ok(OlderSecret {
                place: OlderSecretPlace { batch: row.int("imported_in")?, secret_id: row.text("id")? },
                digest_start: digest_start.map_err(|_| StoreError::Malformed { column: "digest" })?,
                foreign_hint: row.opt_text("foreign_hint")?,
            })
        };
        rows.iter().map(secret).collect()
    }
}

/// Why this token is not imported, if so.
async fn find_known(connection: &mut AnyConnection, import: &Import) -> Result<Option<ImportOutcome>, StoreError> {
    let was_imported = sqlx::query("SELECT token_id FROM imported_tokens WHERE token_id = $1")
        .bind(import.id.as_str())
        .fetch_optional(&mut *connection)
        .await?
        .is_some();
    let present = sqlx::query(
        "SELECT t.user_id, t.version, s.digest, s.seal_key FROM personal_access_tokens t \
         JOIN token_secrets s ON s.token_id = t.id AND s.valid_until IS NULL WHERE t.id = $1",
    )
    .bind(import.id.as_str())
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(row) = present {
        let seal_key: DigestKeyId = row.parsed("seal_key")?;
        let same_owner = row.text("user_id")? == import.user_id.as_str();
        // Rotated, or sealed under another key: its secret cannot be compared.
        let cannot_tell = row.int("version")? > 1 || seal_key != import.seal_key;
        let is_it = same_owner && (cannot_tell || row.parsed::<Digest>("digest")? == import.digest);
        let outcome = if was_imported && is_it { ImportOutcome::AlreadyThere } else { ImportOutcome::IdTaken };
        return Ok(Some(outcome));
    }
    if was_imported {
        return Ok(Some(ImportOutcome::DeletedSince));
    }
    let same_secret = sqlx::query("SELECT token_id FROM token_secrets WHERE digest = $1")
        .bind(import.digest.to_string())
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(row) = same_secret {
        return Ok(Some(ImportOutcome::SecretTaken(row.parsed("token_id")?)));
    }
    if import.owner.is_none() && !has_user(connection, &import.user_id).await? {
        return Ok(Some(ImportOutcome::NoUser));
    }
    Ok(None)
}

async fn has_user(connection: &mut AnyConnection, id: &UserId) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT id FROM users WHERE id = $1 AND deleted_at IS NULL")
        .bind(id.as_str())
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

async fn insert(
    tx: &mut AnyConnection,
    import: &Import,
    hash: &str,
    generation: i64,
    new_event: &(impl Fn() -> NewEvent + Sync),
) -> Result<ImportOutcome, StoreError> {
    let mut user_created = false;
    if let Some(owner) = &import.owner {
        match add_user(tx, owner, &new_event()).await? {
            NewUserOutcome::Created(_) => user_created = true,
            NewUserOutcome::IdTaken => {}
            NewUserOutcome::WayInTaken(user_id) => return Ok(ImportOutcome::AddressTaken(user_id)),
        }
    }
    // Whoever has the id may be being deleted.
    if users::lock(tx, &import.user_id).await?.is_none() {
        return Ok(ImportOutcome::NoUser);
    }
    let event = new_event().with("tokenId", import.id.as_str()).with("name", import.name.as_str());
    sqlx::query(
        "INSERT INTO personal_access_tokens (id, app_id, user_id, name, scopes, expires_at, last_used_at, \
         created_at, updated_at, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, 1)",
    )
    .bind(import.id.as_str())
    .bind(app())
    .bind(import.user_id.as_str())
    .bind(import.name.as_str())
    .bind(import.scopes.to_string())
    .bind(millis(import.expires_at))
    .bind(millis(import.last_used_at))
    .bind(import.created_at.as_millis())
    .execute(&mut *tx)
    .await?;
    let secret = NewTokenSecret {
        id: import.secret_id.clone(),
        hash: hash.to_owned(),
        digest: import.digest,
        seal_key: import.seal_key.clone(),
        prefix: import.prefix.clone(),
    };
    insert_secret(tx, &import.id, &secret, event.at).await?;
    if let Some(hint) = &import.hint {
        sqlx::query("UPDATE token_secrets SET hint = $1, imported_in = $2 WHERE id = $3")
            .bind(hint.as_str())
            .bind(generation)
            .bind(import.secret_id.as_str())
            .execute(&mut *tx)
            .await?;
    }
    sqlx::query("INSERT INTO imported_tokens (token_id, app_id, imported_at) VALUES ($1, $2, $3)")
        .bind(import.id.as_str())
        .bind(app())
        .bind(event.at.as_millis())
        .execute(&mut *tx)
        .await?;
    record(tx, EventType::TokenImported, Some(&import.user_id), &event).await?;
    Ok(ImportOutcome::Imported { user_created })
}
