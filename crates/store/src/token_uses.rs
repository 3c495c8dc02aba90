//! When and from where tokens are used. Written seconds later, in batches: it may lag.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use domain::audit::{Actor, EventType};
use domain::{ClientInfo, EventId, Timestamp, TokenId, UserId};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe};

use crate::audit::{NewEvent, record};
use crate::rows::{Columns, ip};
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// How many uses a statement notes. Few sizes, so that few statements are prepared; what is missing to the next of them
/// is filled up with the last use.
const SIZES: [usize; 3] = [1, 8, 64];

/// `last_used_ip` comes back as it was, for this does not change it.
static NOTE: LazyLock<[Arc<str>; SIZES.len()]> = LazyLock::new(|| {
    SIZES.map(|size| {
        let rows: Vec<_> =
            (0..size).map(|row| format!("(${}, CAST(${} AS BIGINT))", 2 * row + 1, 2 * row + 2)).collect();
        let rows = rows.join(", ");
        // Columns of VALUES have these names in both databases.
        format!(
            "UPDATE personal_access_tokens AS t \
             SET last_used_at = CASE WHEN t.last_used_at > v.column2 THEN t.last_used_at ELSE v.column2 END \
             FROM (VALUES {rows}) AS v WHERE t.id = v.column1 \
             RETURNING id, user_id, name, last_used_at, last_used_ip"
        )
        .into()
    })
});

/// A use of a token that was admitted some seconds ago.
#[derive(Debug, Clone)]
pub struct TokenUse {
    /// The token.
    pub token_id: TokenId,
    /// When.
    pub at: Timestamp,
    /// From where.
    pub client: ClientInfo,
    /// The id of `token.used`, in case the address is a new one.
    pub event_id: EventId,
}

/// Of what is noted about uses, so many events of a kind are written for a user in 24 hours: each use may be one, and
/// the log keeps them for ever. Instances that write at once may each write one more.
pub const NOTED_PER_DAY: i64 = 1_000;
const DAY: Duration = Duration::from_hours(24);

impl Store {
    /// Writes `token.rate_limited`, unless [`NOTED_PER_DAY`] are there.
    pub async fn record_token_limited(&self, user_id: &UserId, event: &NewEvent) -> Result<(), StoreError> {
        transaction!(self, |tx| { record_some(tx, EventType::TokenLimited, user_id, event).await })
    }

    /// Notes when and from where tokens were last used, and writes `token.used` where the address is not the last one
    /// and fewer than [`NOTED_PER_DAY`] are there.
    /// Never sets a token back; those that are gone are passed over.
    pub async fn record_token_uses(&self, uses: &[TokenUse]) -> Result<(), StoreError> {
        // In one order on every instance, so that two batches cannot wait for each other.
        let mut uses: Vec<_> = uses.iter().collect();
        uses.sort_by(|a, b| (&a.token_id, a.at).cmp(&(&b.token_id, b.at)));
        transaction!(self, |tx| {
            // Each statement notes one use of a token: of two, nobody knows which would count.
            for different in uses.chunk_by(|a, b| a.token_id != b.token_id) {
                for some in different.chunks(SIZES[SIZES.len() - 1]) {
                    let rows = note(tx, some).await?;
                    for token_use in some {
                        if let Some(row) = rows.get(&token_use.token_id) {
                            note_address(tx, token_use, row).await?;
                        }
                    }
                }
            }
            Ok(())
        })
    }
}

/// Notes when these different tokens were used, at most as many as one statement takes; returns the rows of those that
/// are there.
async fn note(tx: &mut AnyConnection, uses: &[&TokenUse]) -> Result<HashMap<TokenId, AnyRow>, StoreError> {
    let place = SIZES.iter().position(|&size| size >= uses.len()).expect("nobody notes more at once");
    let mut query = sqlx::query(AssertSqlSafe(Arc::clone(&NOTE[place])));
    for token_use in uses.iter().chain(uses.last().into_iter().cycle()).take(SIZES[place]) {
        query = query.bind(token_use.token_id.as_str()).bind(token_use.at.as_millis());
    }
    let rows = query.fetch_all(tx).await?;
    rows.into_iter().map(|row| Ok((row.parsed("id")?, row))).collect()
}

/// Writes `token.used` where the address is not the last one.
async fn note_address(tx: &mut AnyConnection, token_use: &TokenUse, row: &AnyRow) -> Result<(), StoreError> {
    let at = token_use.at.as_millis();
    let address = ip(&token_use.client);
    if address.is_none() || address == row.opt_text("last_used_ip")? {
        return Ok(());
    }
    if row.int("last_used_at")? == at {
        sqlx::query("UPDATE personal_access_tokens SET last_used_ip = $1 WHERE id = $2")
            .bind(address)
            .bind(token_use.token_id.as_str())
            .execute(&mut *tx)
            .await?;
    }
    let event = NewEvent {
        id: token_use.event_id.clone(),
        at: token_use.at,
        actor: Actor { token_id: Some(token_use.token_id.clone()), ..Actor::default() },
        client: token_use.client.clone(),
        metadata: BTreeMap::new(),
    }
    .with("tokenId", token_use.token_id.as_str())
    .with("name", &row.text("name")?);
    record_some(tx, EventType::TokenUsed, &row.parsed("user_id")?, &event).await
}

/// Writes the event unless [`NOTED_PER_DAY`] of the kind are there.
async fn record_some(
    tx: &mut AnyConnection,
    kind: EventType,
    user_id: &UserId,
    event: &NewEvent,
) -> Result<(), StoreError> {
    let last = sqlx::query(
        "SELECT at FROM audit_events WHERE user_id = $1 AND type = $2 AND at > $3 ORDER BY at DESC LIMIT 1 OFFSET $4",
    )
    .bind(user_id.as_str())
    .bind(kind.as_str())
    .bind(event.at.minus(DAY).as_millis())
    .bind(NOTED_PER_DAY - 1)
    .fetch_optional(&mut *tx)
    .await?;
    if last.is_some() {
        return Ok(());
    }
    record(tx, kind, Some(user_id), event).await
}
