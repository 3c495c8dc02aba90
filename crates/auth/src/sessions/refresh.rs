//! Renewing a session.

use std::time::Duration;

use auth_api::{ErrorCode, SessionReply};
use domain::audit::Actor;
use domain::{ClientInfo, EventId};
use limiter::Marked;
use store::{MarkedCredential, NewEvent, Refresh, RefreshOutcome};
use web::ApiError;

use super::session_reply;
use crate::{AuthService, internal};

/// A client that lost the reply may ask again for this long and gets the very same pair.
const GRACE: Duration = Duration::from_secs(15);

/// A new pair for a refresh JWT, once. An old one that comes back ends its session: somebody holds a copy, and nobody
/// can tell who.
pub(crate) async fn refresh(
    auth: &AuthService,
    client: &ClientInfo,
    refresh_jwt: &str,
) -> Result<SessionReply, ApiError> {
    let now = auth.clock.now();
    let invalid = || ApiError::new(ErrorCode::InvalidToken, "This refresh token is not valid");
    let claims = auth.refresh_key.verify(refresh_jwt).ok_or_else(invalid)?;
    let generation = claims.generation().ok_or_else(invalid)?;
    if now >= claims.expires_at() {
        return Err(expired());
    }

    let key = format!("user:{}:refresh", claims.user_id);
    auth.admit_from_anywhere(&key, auth.config.limits.standard).await?;

    let refresh = Refresh {
        presented: auth.refresh_key.digest(&claims.session_id, generation),
        session_id: claims.session_id,
        user_id: claims.user_id,
        grace: GRACE,
        expires_at: now.plus(auth.config.refresh_lifetime),
    };
    let event = NewEvent {
        id: auth.chance.with(|rng| EventId::generate(rng)),
        at: now,
        actor: Actor { session_id: Some(refresh.session_id.clone()), ..Actor::default() },
        client: client.clone(),
        metadata: std::collections::BTreeMap::new(),
    };
    // Before the commit, so that a caller who hangs up in between cannot leave a dead session in a cache.
    let session = [MarkedCredential::Session(refresh.session_id.clone())];
    let _: Marked = auth.mark(&session).await;
    let digest_of = |session: &store::Session| auth.refresh_key.digest(&session.id, session.generation);
    match auth.store.refresh_session(&refresh, digest_of, &event).await.map_err(internal)? {
        RefreshOutcome::Rotated(renewed) | RefreshOutcome::Replayed(renewed) => {
            let (session, user) = *renewed;
            Ok(session_reply(auth, &session, user))
        }
        RefreshOutcome::Reused => {
            auth.make_known(&session).await;
            Err(ApiError::new(
                ErrorCode::RefreshReused,
                "This refresh token was used before; its session has been ended",
            ))
        }
        RefreshOutcome::Expired => Err(expired()),
        RefreshOutcome::Disabled => Err(invalid()),
        RefreshOutcome::Gone => Err(ApiError::new(ErrorCode::SessionRevoked, "This session has been ended")),
    }
}

fn expired() -> ApiError {
    ApiError::new(ErrorCode::TokenExpired, "This session is over; sign in again")
}
