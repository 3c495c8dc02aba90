//! Ending a session.

use domain::EventId;
use web::ApiError;

use crate::principal::OwnSession;
use crate::{AuthService, internal};

/// Ends the caller's session, and the one of `refresh_jwt` where that is another of theirs: when this returns, neither
/// access nor refresh JWT of either is accepted. What is no refresh JWT, or somebody else's, is passed over without a
/// word, since the answer must not tell which it was.
pub(crate) async fn logout(auth: &AuthService, caller: &OwnSession, refresh_jwt: Option<&str>) -> Result<(), ApiError> {
    let claims = refresh_jwt.and_then(|jwt| auth.refresh_key.verify(jwt));
    let other = claims.filter(|claims| claims.user_id == caller.principal.user_id).map(|claims| claims.session_id);
    let other = other.filter(|id| *id != caller.session_id);
    // The caller's own comes last: if the first cannot be ended, they can try again.
    for id in other.iter().chain([&caller.session_id]) {
        let event = caller.principal.event(auth.chance.with(|rng| EventId::generate(rng)), auth.clock.now());
        // Before the commit, so that a caller who hangs up in between cannot leave a dead session in a cache.
        auth.distrust_session(id);
        auth.store.end_session(&caller.principal.user_id, id, &event).await.map_err(internal)?;
    }
    Ok(())
}
