//! When and from where tokens are used. Written seconds later, in batches: it may lag.

use std::collections::BTreeMap;

use domain::audit::{Actor, EventType};
use domain::{ClientInfo, EventId, Timestamp, TokenId};
use sqlx::AnyConnection;

use crate::audit::{NewEvent, record};
use crate::rows::{Columns, ip};
use crate::transaction::transaction;
use crate::{Store, StoreError};

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

impl Store {
    /// Notes when and from where tokens were last used, and writes `token.used` where the address is not the last one.
    /// Never sets a token back; those that are gone are passed over.
    pub async fn record_token_uses(&self, uses: &[TokenUse]) -> Result<(), StoreError> {
        // In one order on every instance, so that two batches cannot wait for each other.
        let mut uses: Vec<_> = uses.iter().collect();
        uses.sort_by(|a, b| (&a.token_id, a.at).cmp(&(&b.token_id, b.at)));
        transaction!(self, |tx| {
            for token_use in &uses {
                record_use(tx, token_use).await?;
            }
            Ok(())
        })
    }
}

async fn record_use(tx: &mut AnyConnection, token_use: &TokenUse) -> Result<(), StoreError> {
    let at = token_use.at.as_millis();
    let address = ip(&token_use.client);
    // `last_used_ip` comes back as it was: the second statement changes it.
    let row = sqlx::query(
        "UPDATE personal_access_tokens \
         SET last_used_at = CASE WHEN last_used_at > $1 THEN last_used_at ELSE $1 END \
         WHERE id = $2 RETURNING user_id, name, last_used_at, last_used_ip",
    )
    .bind(at)
    .bind(token_use.token_id.as_str())
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(()) };
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
    record(tx, EventType::TokenUsed, Some(&row.parsed("user_id")?), &event).await
}
