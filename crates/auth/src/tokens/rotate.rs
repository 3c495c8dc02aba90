//! Giving a token a new secret.

use std::time::Duration;

use domain::token::TokenSecret;
use domain::{EventId, TokenId};
use store::{MarkedCredential, Token};
use web::ApiError;

use super::create::new_secret;
use crate::principal::Principal;
use crate::{AuthService, internal};

/// The longest time for which an old secret goes on working.
const MAX_GRACE_SECONDS: i64 = 7 * 24 * 60 * 60;

/// Reads `graceSeconds`; absent is 0.
pub(crate) fn grace(seconds: Option<i64>) -> Result<Duration, ApiError> {
    let seconds = seconds.unwrap_or(0);
    if !(0..=MAX_GRACE_SECONDS).contains(&seconds) {
        return Err(ApiError::validation("graceSeconds", "must be between 0 and 604800"));
    }
    Ok(Duration::from_secs(seconds.unsigned_abs()))
}

/// A new secret for the caller's token, which keeps its id, name, scopes, expiry and window. Its older secrets stop
/// working after the grace; with none, when this returns.
pub(crate) async fn rotate(
    auth: &AuthService,
    caller: &Principal,
    id: &TokenId,
    grace: Duration,
) -> Result<(Token, TokenSecret), ApiError> {
    let token = auth.store.find_token(&caller.user_id, id).await.map_err(internal)?.ok_or_else(ApiError::not_found)?;
    // A new secret for a token that may do more, or lives longer, would be a way around one's own bounds.
    caller.may_mint(&token.scopes, token.expires_at)?;
    let (secret, new_secret) = new_secret(auth).await?;
    let event_id = auth.chance.with(|rng| EventId::generate(rng));
    let event = caller.event(event_id, auth.clock.now());
    let rotating = auth.store.rotate_token(&caller.user_id, id, &new_secret, grace, &event);
    let rotated = auth.revoking(&[MarkedCredential::Token(id.clone())], rotating).await?;
    rotated.map(|token| (token, secret)).ok_or_else(ApiError::not_found)
}
