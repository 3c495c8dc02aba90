//! A person lets a program in, or refuses.

use auth_api::ErrorCode;
use domain::{EventId, PairingId, Scopes, Timestamp};
use store::{Approval, Decision, DecisionOutcome};
use web::ApiError;

use crate::principal::Principal;
use crate::tokens::{check_expiry, creation_limits, read_name, refused};
use crate::{AuthService, internal};

/// Checks the terms on which a program is to be let in.
pub(crate) fn approval(
    name: Option<&str>,
    scopes: Option<Scopes>,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<Approval, ApiError> {
    let name = name.map(read_name).transpose()?;
    check_expiry(expires_at, now)?;
    Ok(Approval { name, scopes, expires_at })
}

/// Decides in the name of the caller, who has a session.
pub(crate) async fn decide(
    auth: &AuthService,
    caller: &Principal,
    id: &PairingId,
    decision: &Decision,
) -> Result<(), ApiError> {
    let now = auth.clock.now();
    let event = caller.event(auth.chance.with(|rng| EventId::generate(rng)), now);
    let limits = creation_limits(auth);
    let outcome = auth.store.decide_pairing(id, &caller.user_id, decision, &limits, &event).await.map_err(internal)?;
    decided(outcome, now)
}

/// What whoever decided is told.
pub(super) fn decided(outcome: DecisionOutcome, now: Timestamp) -> Result<(), ApiError> {
    match outcome {
        DecisionOutcome::Decided => Ok(()),
        DecisionOutcome::Unknown => Err(ApiError::not_found()),
        DecisionOutcome::Expired => {
            Err(ApiError::new(ErrorCode::CodeExpired, "This request is too old; start again in the program"))
        }
        DecisionOutcome::AlreadyDecided => {
            Err(ApiError::new(ErrorCode::Conflict, "This request has already been decided about"))
        }
        DecisionOutcome::Wider => {
            Err(ApiError::new(ErrorCode::ValidationError, "The program cannot be allowed more than it asks for"))
        }
        DecisionOutcome::Refused(refusal) => Err(refused(&refusal, now)),
    }
}
