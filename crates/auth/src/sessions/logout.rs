//! Ending a session.

use domain::EventId;
use store::MarkedCredential;
use web::ApiError;

use crate::AuthService;
use crate::principal::OwnSession;

/// Ends the caller's session: when this returns, neither its access nor its refresh JWT is accepted.
pub(crate) async fn logout(auth: &AuthService, caller: &OwnSession) -> Result<(), ApiError> {
    let event_id = auth.chance.with(|rng| EventId::generate(rng));
    let event = caller.principal.event(event_id, auth.clock.now());
    let ending = auth.store.end_session(&caller.principal.user_id, &caller.session_id, &event);
    auth.revoking(&[MarkedCredential::Session(caller.session_id.clone())], ending).await?;
    Ok(())
}
