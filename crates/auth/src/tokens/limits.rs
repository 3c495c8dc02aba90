//! How many tokens one may still make.

use auth_api::{LimitsReply, RateLimit, TokenLimit};
use web::ApiError;

use super::create::creation_limits;
use crate::principal::Principal;
use crate::{AuthService, internal};

/// Where the caller stands with the limits on creation. Reading consumes nothing.
pub(crate) async fn limits(auth: &AuthService, caller: &Principal) -> Result<LimitsReply, ApiError> {
    let now = auth.clock.now();
    let limits = creation_limits(auth);
    let window = limits.creations.window;
    let state = auth.store.creation_state(&caller.user_id, window, now).await.map_err(internal)?;
    Ok(LimitsReply {
        rate_limit: RateLimit {
            limit: limits.creations.count,
            remaining: limits.creations.count.saturating_sub(state.used),
            reset_at: state.oldest.unwrap_or(now).plus(window),
        },
        token_limit: TokenLimit { active: state.active, max: limits.max_active },
    })
}
