//! Making a token.

use std::time::Duration;

use auth_api::{CreateTokenRequest, ErrorCode};
use domain::token::{Kind, TokenSecret};
use domain::{EventId, Limit, Scopes, Timestamp, TokenId, TokenName, TokenNameError, TokenSecretId};
use store::{CreationLimits, CreationOutcome, NewToken, NewTokenSecret, Token};
use web::ApiError;

use crate::principal::Principal;
use crate::{AuthService, internal};

/// A token lives at most ten years, unless it has no end at all.
const MAX_LIFETIME: Duration = Duration::from_hours(24 * 3653);

/// What the caller wants, checked.
pub(crate) struct Wish {
    name: TokenName,
    expires_at: Option<Timestamp>,
    scopes: Scopes,
}

impl Wish {
    /// Checks the request, and that it asks for nothing that its caller does not have.
    pub(crate) fn read(request: CreateTokenRequest, caller: &Principal, now: Timestamp) -> Result<Self, ApiError> {
        let name = request
            .name
            .parse()
            .map_err(|error: TokenNameError| ApiError::new(ErrorCode::InvalidTokenName, error.to_string()))?;
        let expires_at = request.expires_at.map(|expires_at| expires_at.0);
        if expires_at.is_some_and(|end| end <= now) {
            return Err(ApiError::validation("expiresAt", "must be in the future"));
        }
        if expires_at.is_some_and(|end| end > now.plus(MAX_LIFETIME)) {
            return Err(ApiError::validation("expiresAt", "must be at most ten years ahead"));
        }
        // Leaving scopes or expiry out asks for all there is; somebody who has less than all must say how much.
        let scopes = request.scopes.unwrap_or_else(Scopes::all);
        caller.may_mint(&scopes, expires_at)?;
        Ok(Self { name, expires_at, scopes })
    }
}

/// Creates the token and returns its secret, which is kept nowhere.
pub(crate) async fn create(
    auth: &AuthService,
    caller: &Principal,
    wish: Wish,
) -> Result<(Token, TokenSecret), ApiError> {
    let now = auth.clock.now();
    let limits = creation_limits(auth);
    // The database decides below; asking first spares those who are over a limit, and us, a bcrypt hash.
    let state = auth.store.creation_state(&caller.user_id, limits.creations.window, now).await.map_err(internal)?;
    if state.used >= limits.creations.count {
        return Err(too_many_today(state.oldest.unwrap_or(now).plus(limits.creations.window), now));
    }
    if state.active >= limits.max_active {
        return Err(too_many_active());
    }

    let (secret, kept) = new_secret(auth).await?;
    let (token_id, event_id) = auth.chance.with(|rng| (TokenId::generate(rng), EventId::generate(rng)));
    let event = caller.event(event_id, now);
    let token = NewToken {
        id: token_id,
        user_id: caller.user_id.clone(),
        name: wish.name,
        scopes: wish.scopes,
        expires_at: wish.expires_at,
        secret: kept,
    };
    match auth.store.create_token(&token, &limits, &event).await.map_err(internal)? {
        CreationOutcome::Created(token) => Ok((*token, secret)),
        CreationOutcome::CreationLimit { reset_at } => Err(too_many_today(reset_at, now)),
        CreationOutcome::TooManyActive => Err(too_many_active()),
        CreationOutcome::NoUser => Err(ApiError::unauthorized()),
    }
}

pub(super) fn creation_limits(auth: &AuthService) -> CreationLimits {
    let limits = &auth.config.limits;
    CreationLimits { creations: Limit::per_day(limits.creations_per_day), max_active: limits.max_active_tokens }
}

fn too_many_today(reset_at: Timestamp, now: Timestamp) -> ApiError {
    ApiError::rate_limited("You have created as many tokens as one may in a day", reset_at, now)
}

fn too_many_active() -> ApiError {
    ApiError::new(ErrorCode::MaxTokensExceeded, "You have as many active tokens as one may have; delete one first")
}

/// A secret and what is kept of it.
pub(super) async fn new_secret(auth: &AuthService) -> Result<(TokenSecret, NewTokenSecret), ApiError> {
    let (secret, id) = auth.chance.with(|rng| (TokenSecret::generate(Kind::Live, rng), TokenSecretId::generate(rng)));
    let hash = auth.hasher.hash(&secret).await.map_err(|error| ApiError::internal(&error))?;
    let digests = &auth.validator.token_digests;
    let kept = NewTokenSecret {
        id,
        hash,
        digest: digests.digest(&[secret.expose()]),
        seal_key: digests.id().clone(),
        prefix: secret.prefix().to_owned(),
    };
    Ok((secret, kept))
}
