//! Ending a session.

use domain::EventId;
use web::ApiError;

use crate::principal::OwnSession;
use crate::{AuthService, internal};

/// Ends the caller's session: when this returns, neither its access nor its refresh JWT is accepted.
pub(crate) async fn logout(auth: &AuthService, caller: &OwnSession) -> Result<(), ApiError> {
    let event_id = auth.chance.with(|rng| EventId::generate(rng));
    let event = caller.principal.event(event_id, auth.clock.now());
    // Before the commit, so that a caller who hangs up in between cannot leave a dead session in a cache.
    auth.distrust_session(&caller.session_id);
    auth.store.end_session(&caller.principal.user_id, &caller.session_id, &event).await.map_err(internal)?;
    Ok(())
}
