//! Ending a session.

use std::collections::BTreeMap;

use domain::audit::Actor;
use domain::{ClientInfo, EventId};
use store::{MarkedCredential, NewEvent};
use web::ApiError;

use crate::AuthService;
use crate::principal::OwnSession;

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
        let ending = auth.store.end_session(&caller.principal.user_id, id, &event);
        auth.revoking(&[MarkedCredential::Session(id.clone())], ending).await?;
    }
    Ok(())
}

/// Ends the session of this refresh JWT, for a client whose access JWT is over; whether it is on is not told. An old
/// one of the session does, and one whose time is over: whoever has it was signed in, and can do no more than that by
/// it. `None` when it is no refresh JWT of ours.
pub(crate) async fn logout_by_refresh(
    auth: &AuthService,
    client: &ClientInfo,
    refresh_jwt: &str,
) -> Result<Option<()>, ApiError> {
    let Some(claims) = auth.refresh_key.verify(refresh_jwt) else { return Ok(None) };
    let event = NewEvent {
        id: auth.chance.with(|rng| EventId::generate(rng)),
        at: auth.clock.now(),
        actor: Actor { session_id: Some(claims.session_id.clone()), ..Actor::default() },
        client: client.clone(),
        metadata: BTreeMap::new(),
    };
    let ending = auth.store.end_session(&claims.user_id, &claims.session_id, &event);
    auth.revoking(&[MarkedCredential::Session(claims.session_id.clone())], ending).await?;
    Ok(Some(()))
}
