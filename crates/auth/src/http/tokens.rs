//! `/tokens` and `/auth/pat/create`.

use std::sync::Arc;

use auth_api::{
    CreateTokenRequest, CreatedToken, ErrorBody, LegacyTokenCreatedReply, LimitsReply, MessageReply,
    RotateTokenRequest, TokenCreatedReply, TokensReply,
};
use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use domain::TokenId;
use domain::token::TokenSecret;
use http::StatusCode;
use http::request::Parts;
use store::Token;
use web::ApiError;

use super::caller::{Session, TokensRead, TokensWrite, User};
use crate::{AuthService, tokens};

/// Create a token. This is the only reply that ever shows it.
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = CreateTokenRequest,
    responses((status = 201, body = TokenCreatedReply), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
              (status = 403, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub(super) async fn create(
    State(auth): State<Arc<AuthService>>,
    User { principal, .. }: User<TokensWrite>,
    web::Json(request): web::Json<CreateTokenRequest>,
) -> Result<(StatusCode, Json<TokenCreatedReply>), ApiError> {
    let wish = tokens::Wish::read(request, &principal, auth.clock.now())?;
    let (token, secret) = tokens::create(&auth, &principal, wish).await?;
    Ok((StatusCode::CREATED, Json(created(token, &secret))))
}

/// Create a token, by the name that the older command line knows.
#[utoipa::path(post, path = "/auth/pat/create", tag = "tokens", request_body = CreateTokenRequest,
    responses((status = 201, body = LegacyTokenCreatedReply), (status = 400, body = ErrorBody),
              (status = 401, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub(super) async fn create_for_cli(
    State(auth): State<Arc<AuthService>>,
    Session(session): Session,
    web::Json(request): web::Json<CreateTokenRequest>,
) -> Result<(StatusCode, Json<LegacyTokenCreatedReply>), ApiError> {
    let wish = tokens::Wish::read(request, &session.principal, auth.clock.now())?;
    let (token, secret) = tokens::create(&auth, &session.principal, wish).await?;
    let reply = LegacyTokenCreatedReply { success: true, token: secret.expose().to_owned(), id: token.id };
    Ok((StatusCode::CREATED, Json(reply)))
}

/// List one's tokens, newest first.
#[utoipa::path(get, path = "/tokens", tag = "tokens",
    responses((status = 200, body = TokensReply), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(super) async fn list(
    State(auth): State<Arc<AuthService>>,
    User { principal, .. }: User<TokensRead>,
) -> Result<Json<TokensReply>, ApiError> {
    tokens::list(&auth, &principal).await.map(Json)
}

/// How many tokens one may still create or rotate. Asking costs nothing.
#[utoipa::path(get, path = "/tokens/limits", tag = "tokens",
    responses((status = 200, body = LimitsReply), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(super) async fn limits(
    State(auth): State<Arc<AuthService>>,
    User { principal, .. }: User<TokensRead>,
) -> Result<Json<LimitsReply>, ApiError> {
    tokens::limits(&auth, &principal).await.map(Json)
}

/// Give a token a new secret; the old one works for the grace. Counts as a creation. By a token's own secret only the
/// present one may: one that was replaced is 403.
#[utoipa::path(post, path = "/tokens/{id}/rotate", tag = "tokens", params(("id" = String, Path)),
    request_body = Option<RotateTokenRequest>,
    responses((status = 201, body = TokenCreatedReply), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
              (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub(super) async fn rotate(
    State(auth): State<Arc<AuthService>>,
    User { principal, .. }: User<TokensWrite>,
    Id(id): Id,
    web::JsonOrDefault(request): web::JsonOrDefault<RotateTokenRequest>,
) -> Result<(StatusCode, Json<TokenCreatedReply>), ApiError> {
    let grace = tokens::grace(request.grace_seconds)?;
    let (token, secret) = tokens::rotate(&auth, &principal, &id, grace).await?;
    Ok((StatusCode::CREATED, Json(created(token, &secret))))
}

/// Delete a token. When the reply is out, no instance accepts it any more.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "tokens", params(("id" = String, Path)),
    responses((status = 200, body = MessageReply), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
              (status = 404, body = ErrorBody)))]
pub(super) async fn delete(
    State(auth): State<Arc<AuthService>>,
    User { principal, .. }: User<TokensWrite>,
    Id(id): Id,
) -> Result<Json<MessageReply>, ApiError> {
    tokens::delete(&auth, &principal, &id).await?;
    Ok(Json(MessageReply { success: true, message: "The token has been deleted".to_owned() }))
}

/// The path's id. What cannot be one, and what is not even text, names nothing.
pub(super) struct Id(TokenId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| ApiError::not_found())?;
        text.try_into().map(Self).map_err(|_| ApiError::not_found())
    }
}

fn created(token: Token, secret: &TokenSecret) -> TokenCreatedReply {
    TokenCreatedReply {
        success: true,
        token: CreatedToken {
            id: token.id,
            name: token.name.to_string(),
            token: secret.expose().to_owned(),
            scopes: token.scopes,
            allowed_ips: token.allowed_ips,
            expires_at: token.expires_at,
            created_at: token.created_at,
            updated_at: token.updated_at,
            last_used_at: token.last_used_at,
        },
    }
}
