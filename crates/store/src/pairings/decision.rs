//! What somebody decides about a program that waits to be let in.

use domain::audit::EventType;
use domain::{PairingId, Scopes, SessionId, Timestamp, TokenName, UserId};
use sqlx::AnyConnection;

use super::{Pairing, PairingStatus, find};
use crate::audit::{NewEvent, record};
use crate::rows::millis;
use crate::shown::{Shown, Standing, standing};
use crate::tokens::{self, CreationLimits, CreationOutcome};
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// What somebody decides about a pairing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Let the program in.
    Approve(Approval),
    /// Refuse.
    Deny,
}

/// On what terms a program is let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Approval {
    /// The token's name, if not the one that the program gave.
    pub name: Option<TokenName>,
    /// What is left of the scopes that the program asked for; `None` for all of them.
    pub scopes: Option<Scopes>,
    /// When the token ends.
    pub expires_at: Option<Timestamp>,
}

/// What became of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecisionOutcome {
    /// It stands.
    Decided,
    /// There is no such pairing.
    Unknown,
    /// The pairing's time is over.
    Expired,
    /// Somebody has decided before.
    AlreadyDecided,
    /// The scopes are wider than those that the program asked for; nothing was decided.
    Wider,
    /// The user could not have the token; nothing was decided.
    Refused(CreationOutcome),
}

impl Store {
    /// Decides about a pending pairing for this user; writes `pairing.approved` or `pairing.denied`. Approving asks
    /// whether the user may have one more token; what counts is the answer when the token is minted.
    pub async fn decide_pairing(
        &self,
        id: &PairingId,
        user_id: &UserId,
        decision: &Decision,
        limits: &CreationLimits,
        event: &NewEvent,
    ) -> Result<DecisionOutcome, StoreError> {
        transaction!(self, |tx| { decide(self, tx, id, user_id, decision, limits, event).await })
    }
}

/// Decides within the transaction of whatever proved who decides.
pub(crate) async fn decide(
    store: &Store,
    tx: &mut AnyConnection,
    id: &PairingId,
    user_id: &UserId,
    decision: &Decision,
    limits: &CreationLimits,
    event: &NewEvent,
) -> Result<DecisionOutcome, StoreError> {
    let Some(row) = find(&mut *tx, id).await? else { return Ok(DecisionOutcome::Unknown) };
    let pairing = Pairing::from_row(&row)?;
    if pairing.status != PairingStatus::Pending {
        return Ok(DecisionOutcome::AlreadyDecided);
    }
    if pairing.expires_at <= event.at {
        return Ok(DecisionOutcome::Expired);
    }
    let (status, kind, approval) = match decision {
        Decision::Approve(approval) => {
            if approval.scopes.as_ref().is_some_and(|scopes| !pairing.scopes.contain(scopes)) {
                return Ok(DecisionOutcome::Wider);
            }
            if let Some(refusal) = tokens::refusal(tx, user_id, limits, event.at).await? {
                return Ok(DecisionOutcome::Refused(refusal));
            }
            let session = event.actor.session_id.clone().map(Shown::Session);
            if standing(tx, session.as_ref(), user_id, event.at).await? == Standing::Gone {
                return Ok(DecisionOutcome::Refused(CreationOutcome::CallerGone));
            }
            store.require_proof_for_tokens(tx, user_id, event).await?;
            (PairingStatus::Approved, EventType::PairingApproved, approval.clone())
        }
        Decision::Deny => (PairingStatus::Denied, EventType::PairingDenied, Approval::default()),
    };
    let token_name = approval.name.as_ref().unwrap_or(&pairing.name);
    let decided = sqlx::query(
        "UPDATE pairings SET status = $1, user_id = $2, token_name = $3, token_expires_at = $4, decided_at = $5, \
         session_id = $6, token_scopes = $7 WHERE id = $8 AND status = 'pending'",
    )
    .bind(status.as_str())
    .bind(user_id.as_str())
    .bind(token_name.as_str())
    .bind(millis(approval.expires_at))
    .bind(event.at.as_millis())
    .bind(event.actor.session_id.as_ref().map(SessionId::as_str))
    .bind(approval.scopes.map(|scopes| scopes.to_string()))
    .bind(id.as_str())
    .execute(&mut *tx)
    .await?;
    if decided.rows_affected() == 0 {
        return Ok(DecisionOutcome::AlreadyDecided);
    }
    let mut event = event.clone().with("pairingId", id.as_str()).with("name", token_name.as_str());
    if let Some(ip) = pairing.ip {
        event = event.with("askedFrom", &ip.to_string());
    }
    record(tx, kind, Some(user_id), &event).await?;
    Ok(DecisionOutcome::Decided)
}
