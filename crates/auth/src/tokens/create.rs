//! Making a token.

use std::time::Duration;

use auth_api::{CreateTokenRequest, ErrorCode};
use domain::audit::EventType;
use domain::token::{Kind, TokenSecret};
use domain::{AppId, EventId, Scopes, Timestamp, TokenId, TokenName, TokenSecretId};
use store::{CreateToken, NewSecret, NewToken, Quotas, Token, TokenCreation};
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
        let name =
            request.name.parse().map_err(|error: domain::TokenNameError| ApiError::new(ErrorCode::InvalidTokenName, error.to_string()))?;
        let expires_at = request.expires_at.map(|expires_at| expires_at.0);
        if expires_at.is_some_and(|end| end <= now) {
            return Err(ApiError::validation("expiresAt", "must be in the future"));
        }
        if expires_at.is_some_and(|end| end > now.plus(MAX_LIFETIME)) {
            return Err(ApiError::validation("expiresAt", "must be at most ten years ahead"));
        }
        // Leaving scopes or expiry out asks for all there is; somebody who has less than all must say how much.
        let scopes = request.scopes.unwrap_or_else(Scopes::all);
        if let Some(bounds) = &caller.bounds {
            if !bounds.scopes.contain(&scopes) {
                return Err(ApiError::new(ErrorCode::Forbidden, "A token cannot create one that may do more than itself"));
            }
            if bounds.expires_at.is_some_and(|end| expires_at.is_none_or(|wanted| wanted > end)) {
                return Err(ApiError::new(ErrorCode::Forbidden, "A token cannot create one that lives longer than itself"));
            }
        }
        Ok(Self { name, expires_at, scopes })
    }
}

/// Creates the token and returns its secret, which is kept nowhere.
pub(crate) async fn create(auth: &AuthService, caller: &Principal, wish: Wish) -> Result<(Token, TokenSecret), ApiError> {
    let now = auth.clock.now();
    let quotas = Quotas {
        creations_per_day: auth.config.limits.creations_per_day,
        max_active: auth.config.limits.max_active_tokens,
    };
    // The database decides below; asking first spares those who are over their limit, and us, a bcrypt hash.
    let state = auth.store.creation_state(&caller.user_id, now).await.map_err(internal)?;
    if let Some(refusal) = state.refusal(&quotas) {
        return Err(refused(refusal, now));
    }

    let (secret, new_secret) = new_secret(auth, now).await?;
    let (token_id, event_id) = auth.chance.with(|rng| (TokenId::generate(rng), EventId::generate(rng)));
    let event = caller
        .event(event_id, EventType::TokenCreated, now)
        .with("tokenId", token_id.as_str())
        .with("name", wish.name.as_str())
        .with("scopes", wish.scopes.to_string());
    let creation = CreateToken {
        token: NewToken {
            id: token_id,
            app_id: AppId::default_app(),
            user_id: caller.user_id.clone(),
            name: wish.name,
            scopes: wish.scopes,
            expires_at: wish.expires_at,
            created_at: now,
        },
        secret: new_secret,
        quotas,
        event,
    };
    match auth.store.create_token(creation).await.map_err(internal)? {
        TokenCreation::Created(token) => Ok((token, secret)),
        refusal => Err(refused(refusal, now)),
    }
}

/// A secret and what is kept of it.
pub(super) async fn new_secret(auth: &AuthService, now: Timestamp) -> Result<(TokenSecret, NewSecret), ApiError> {
    let (secret, id) =
        auth.chance.with(|rng| (TokenSecret::generate(Kind::Live, rng), TokenSecretId::generate(rng)));
    let hash = auth.hasher.hash(&secret).await.map_err(|error| ApiError::internal(&error))?;
    let kept = NewSecret {
        id,
        hash,
        digest: auth.token_digests.digest(&[secret.expose()]),
        seal_key: auth.token_digests.id().clone(),
        prefix: secret.prefix().to_owned(),
        created_at: now,
    };
    Ok((secret, kept))
}
