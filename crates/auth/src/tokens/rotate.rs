//! Giving a token a new secret.

use std::time::Duration;

use auth_api::ErrorCode;
use domain::token::TokenSecret;
use domain::{EventId, TokenId};
use store::{MarkedCredential, RotationOutcome, RotationTerms, Shown, Token};
use web::ApiError;

use super::create::{
    begin_making, caller_gone, creation_limits, ensure_recently_proved, ensure_within_creations, new_secret,
    too_many_today,
};
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
/// working after the grace; with none, when this returns. Counts as a creation, for it costs as much.
pub(crate) async fn rotate(
    auth: &AuthService,
    caller: &Principal,
    id: &TokenId,
    grace: Duration,
) -> Result<(Token, TokenSecret), ApiError> {
    let token = auth.store.find_token(&caller.user_id, id).await.map_err(internal)?.ok_or_else(ApiError::not_found)?;
    // A new secret for a token that may do more, or lives longer, would be a way around one's own bounds.
    caller.may_mint(&token.scopes, token.expires_at, token.allowed_ips.as_ref())?;
    ensure_recently_proved(auth, caller).await?;
    let shown = caller.shown();
    // The database decides below; asking first spares those who may not, and us, a bcrypt hash.
    if let Some(Shown::Secret(secret_id)) = &shown {
        let found = auth.store.find_token_by_secret(secret_id).await.map_err(internal)?;
        if found.ok_or_else(caller_gone)?.secret.valid_until.is_some() {
            return Err(replaced());
        }
    }
    ensure_within_creations(auth, &caller.user_id, auth.clock.now()).await??;
    let _making = begin_making(auth, &caller.user_id, auth.clock.now())?;

    let (secret, new_secret) = new_secret(auth).await?;
    let now = auth.clock.now();
    let event = caller.event(auth.chance.with(|rng| EventId::generate(rng)), now);
    let terms = RotationTerms { creations: creation_limits(auth).creations, shown };
    let rotating = auth.store.rotate_token_within(&caller.user_id, id, &new_secret, grace, &terms, &event);
    match auth.revoking(&[MarkedCredential::Token(id.clone())], rotating).await? {
        RotationOutcome::Rotated(token) => Ok((*token, secret)),
        RotationOutcome::CreationLimit { reset_at } => Err(too_many_today(reset_at, now)),
        RotationOutcome::Replaced => Err(replaced()),
        RotationOutcome::Gone => Err(caller_gone()),
        RotationOutcome::NoToken => Err(ApiError::not_found()),
    }
}

fn replaced() -> ApiError {
    ApiError::new(ErrorCode::Forbidden, "A secret that has been replaced cannot replace another")
}
