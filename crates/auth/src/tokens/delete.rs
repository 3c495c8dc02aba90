//! Ending a token.

use domain::{EventId, TokenId};
use store::MarkedCredential;
use web::ApiError;

use crate::principal::Principal;
use crate::{AuthService, internal};

/// Deletes the caller's token: when this returns, no instance accepts it. Somebody else's is not found.
pub(crate) async fn delete(auth: &AuthService, caller: &Principal, id: &TokenId) -> Result<(), ApiError> {
    // Asked first, so that nobody can put marks on tokens that are not theirs.
    if auth.store.find_token(&caller.user_id, id).await.map_err(internal)?.is_none() {
        return Err(ApiError::not_found());
    }
    let event_id = auth.chance.with(|rng| EventId::generate(rng));
    let event = caller.event(event_id, auth.clock.now());
    let deleting = auth.store.delete_token(&caller.user_id, id, &event);
    auth.revoking(&[MarkedCredential::Token(id.clone())], deleting).await?.ok_or_else(ApiError::not_found)?;
    Ok(())
}
