//! Making a token.

use std::time::Duration;

use auth_api::{CreateTokenRequest, ErrorCode};
use domain::token::{Kind, TokenSecret};
use domain::{
    AllowedIps, EventId, Limit, Scopes, Timestamp, TokenId, TokenName, TokenNameError, TokenSecretId, UserId,
};
use store::{CreationLimits, CreationOutcome, NewToken, NewTokenSecret, Token};
use web::ApiError;

use super::in_the_making::Making;
use crate::principal::Principal;
use crate::{AuthService, internal};

/// A token lives at most ten years, unless it has no end at all.
const MAX_LIFETIME: Duration = Duration::from_hours(24 * 3653);

/// What the caller wants, checked.
pub(crate) struct Wish {
    name: TokenName,
    expires_at: Option<Timestamp>,
    scopes: Scopes,
    allowed_ips: Option<AllowedIps>,
}

impl Wish {
    /// Checks the request, and that it asks for nothing that its caller does not have.
    pub(crate) fn read(request: CreateTokenRequest, caller: &Principal, now: Timestamp) -> Result<Self, ApiError> {
        let name = read_name(&request.name)?;
        let expires_at = request.expires_at.map(|expires_at| expires_at.0);
        check_expiry(expires_at, now)?;
        // Leaving scopes, expiry or networks out asks for all there is; whoever has less than all must say how much.
        let scopes = request.scopes.unwrap_or_else(Scopes::all);
        let allowed_ips = request.allowed_ips;
        caller.may_mint(&scopes, expires_at, allowed_ips.as_ref())?;
        Ok(Self { name, expires_at, scopes, allowed_ips })
    }
}

/// Checks a token's name.
pub(crate) fn read_name(name: &str) -> Result<TokenName, ApiError> {
    name.parse().map_err(|error: TokenNameError| ApiError::new(ErrorCode::InvalidTokenName, error.to_string()))
}

/// Checks when a token is to end.
pub(crate) fn check_expiry(expires_at: Option<Timestamp>, now: Timestamp) -> Result<(), ApiError> {
    if expires_at.is_some_and(|end| end <= now) {
        return Err(ApiError::validation("expiresAt", "must be in the future"));
    }
    if expires_at.is_some_and(|end| end > now.plus(MAX_LIFETIME)) {
        return Err(ApiError::validation("expiresAt", "must be at most ten years ahead"));
    }
    Ok(())
}

/// Creates the token and returns its secret, which is kept nowhere.
pub(crate) async fn create(
    auth: &AuthService,
    caller: &Principal,
    wish: Wish,
) -> Result<(Token, TokenSecret), ApiError> {
    let now = auth.clock.now();
    let limits = creation_limits(auth);
    ensure_recently_proved(auth, caller).await?;
    // The database decides below; asking first spares those who are over a limit, and us, a bcrypt hash.
    ensure_may_create(auth, &caller.user_id, now).await??;
    let _making = begin_making(auth, &caller.user_id, now)?;

    let (secret, kept) = new_secret(auth).await?;
    // What the caller came by may have ended while the hash was made.
    let now = auth.clock.now();
    let (token_id, event_id) = auth.chance.with(|rng| (TokenId::generate(rng), EventId::generate(rng)));
    let event = caller.event(event_id, now);
    let token = NewToken {
        id: token_id,
        user_id: caller.user_id.clone(),
        name: wish.name,
        scopes: wish.scopes,
        allowed_ips: wish.allowed_ips,
        expires_at: wish.expires_at,
        secret: kept,
    };
    match auth.store.create_token_by(caller.shown().as_ref(), &token, &limits, &event).await.map_err(internal)? {
        CreationOutcome::Created(token) => Ok((*token, secret)),
        refusal => Err(refused(&refusal, now)),
    }
}

/// Where tokens want a recent proof, a caller by a session needs one. The database decides when the token is made; asking
/// first spares those who have none, and us, a bcrypt hash.
pub(super) async fn ensure_recently_proved(auth: &AuthService, caller: &Principal) -> Result<(), ApiError> {
    let Some(session_id) = &caller.actor.session_id else { return Ok(()) };
    let now = auth.clock.now();
    auth.store.check_proof_for_tokens(&caller.user_id, session_id, now).await.map_err(internal)
}

/// Whether the user is within the limits now; the outer error is a failure to find out.
pub(crate) async fn ensure_may_create(
    auth: &AuthService,
    user_id: &UserId,
    now: Timestamp,
) -> Result<Result<(), ApiError>, ApiError> {
    if let Err(refusal) = ensure_within_creations(auth, user_id, now).await? {
        return Ok(Err(refusal));
    }
    let limits = creation_limits(auth);
    let state = auth.store.creation_state(user_id, limits.creations.window, now).await.map_err(internal)?;
    Ok(if state.active >= limits.max_active { Err(too_many_active()) } else { Ok(()) })
}

/// The same without the limit of active tokens: whether the user may have one more secret made today.
pub(super) async fn ensure_within_creations(
    auth: &AuthService,
    user_id: &UserId,
    now: Timestamp,
) -> Result<Result<(), ApiError>, ApiError> {
    let creations = creation_limits(auth).creations;
    let reset_at = auth.store.creation_reset(user_id, creations, now).await.map_err(internal)?;
    Ok(reset_at.map_or(Ok(()), |reset_at| Err(too_many_today(reset_at, now))))
}

/// To be held while a secret is hashed and kept.
pub(super) fn begin_making<'a>(
    auth: &'a AuthService,
    user_id: &UserId,
    now: Timestamp,
) -> Result<Making<'a>, ApiError> {
    auth.in_the_making.begin(user_id, creation_limits(auth).creations.count).ok_or_else(|| {
        let message = "You are creating as many tokens at once as one may in a day";
        ApiError::rate_limited(message, now.plus(Duration::from_secs(1)), now)
    })
}

/// Why a token was not created.
pub(crate) fn refused(outcome: &CreationOutcome, now: Timestamp) -> ApiError {
    match outcome {
        CreationOutcome::CreationLimit { reset_at } => too_many_today(*reset_at, now),
        CreationOutcome::TooManyActive => too_many_active(),
        CreationOutcome::CallerReplaced => {
            ApiError::new(ErrorCode::Forbidden, "A secret that has been replaced creates no tokens")
        }
        // No 401 of another code: the backend would take it for a refusal of its own, and count it as an outage.
        CreationOutcome::CallerGone | CreationOutcome::NoUser | CreationOutcome::Created(_) => caller_gone(),
    }
}

pub(crate) fn creation_limits(auth: &AuthService) -> CreationLimits {
    let limits = &auth.config.limits;
    CreationLimits { creations: Limit::per_day(limits.creations_per_day), max_active: limits.max_active_tokens }
}

/// What the caller called by was good, and has ended while they waited.
pub(super) fn caller_gone() -> ApiError {
    ApiError::new(ErrorCode::InvalidToken, "This token is not valid")
}

pub(super) fn too_many_today(reset_at: Timestamp, now: Timestamp) -> ApiError {
    ApiError::rate_limited("You have created as many tokens as one may in a day", reset_at, now)
}

fn too_many_active() -> ApiError {
    ApiError::new(ErrorCode::MaxTokensExceeded, "You have as many active tokens as one may have; delete one first")
}

/// A secret and what is kept of it.
pub(crate) async fn new_secret(auth: &AuthService) -> Result<(TokenSecret, NewTokenSecret), ApiError> {
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
