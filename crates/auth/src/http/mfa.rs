//! `/account/mfa/*` and `/auth/mfa/verify`.

use std::sync::Arc;

use auth_api::{
    ErrorBody, MessageReply, MfaCodeRequest, MfaEnabledReply, MfaSetupReply, MfaStatusReply, MfaVerifyRequest,
    SessionReply,
};
use axum::extract::State;
use axum::{Extension, Json};
use web::{ApiError, Context};

use super::caller::{RecentSession, Session};
use super::limits::Strict;
use crate::AuthService;
use crate::second_factor::{self, ShownCode};
use crate::sign_in::mfa_digest;

/// Begin with a second factor: a secret for an authenticator app. It is asked for once it is enabled.
#[utoipa::path(post, path = "/account/mfa/setup", tag = "account",
    responses((status = 200, body = MfaSetupReply), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
              (status = 409, body = ErrorBody)))]
pub(super) async fn setup(
    State(auth): State<Arc<AuthService>>,
    RecentSession(me): RecentSession,
) -> Result<Json<MfaSetupReply>, ApiError> {
    second_factor::setup(&auth, &me.principal).await.map(Json)
}

/// Enable the second factor with a code of the authenticator app.
#[utoipa::path(post, path = "/account/mfa/enable", tag = "account", request_body = MfaCodeRequest,
    responses((status = 200, body = MfaEnabledReply), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
              (status = 403, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(super) async fn enable(
    State(auth): State<Arc<AuthService>>,
    RecentSession(me): RecentSession,
    web::Json(request): web::Json<MfaCodeRequest>,
) -> Result<Json<MfaEnabledReply>, ApiError> {
    let code = ShownCode::read(&request.code).ok().filter(ShownCode::is_of_app);
    let code =
        code.ok_or_else(|| ApiError::validation("code", "must be the six digits that the authenticator app shows"))?;
    second_factor::enable(&auth, &me.principal, &code).await.map(Json)
}

/// Disable the second factor with a code of the authenticator app or a backup code.
#[utoipa::path(post, path = "/account/mfa/disable", tag = "account", request_body = MfaCodeRequest,
    responses((status = 200, body = MessageReply), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
              (status = 403, body = ErrorBody), (status = 409, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub(super) async fn disable(
    State(auth): State<Arc<AuthService>>,
    RecentSession(me): RecentSession,
    web::Json(request): web::Json<MfaCodeRequest>,
) -> Result<Json<MessageReply>, ApiError> {
    let code = ShownCode::read(&request.code)?;
    second_factor::disable(&auth, &me.principal, &code).await?;
    Ok(Json(MessageReply { success: true, message: "The second factor is disabled".to_owned() }))
}

/// One's second factor.
#[utoipa::path(get, path = "/account/mfa", tag = "account",
    responses((status = 200, body = MfaStatusReply), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(super) async fn status(
    State(auth): State<Arc<AuthService>>,
    Session(me): Session,
) -> Result<Json<MfaStatusReply>, ApiError> {
    second_factor::status(&auth, &me.principal).await.map(Json)
}

/// Get new backup codes, with a code of the authenticator app or one of the old ones. The old ones end with it.
#[utoipa::path(post, path = "/account/mfa/backup-codes", tag = "account", request_body = MfaCodeRequest,
    responses((status = 200, body = MfaEnabledReply), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
              (status = 403, body = ErrorBody), (status = 409, body = ErrorBody), (status = 429, body = ErrorBody),
              (status = 503, body = ErrorBody)))]
pub(super) async fn backup_codes(
    State(auth): State<Arc<AuthService>>,
    RecentSession(me): RecentSession,
    web::Json(request): web::Json<MfaCodeRequest>,
) -> Result<Json<MfaEnabledReply>, ApiError> {
    let code = ShownCode::read(&request.code)?;
    second_factor::replace_backup_codes(&auth, &me.principal, &code).await.map(Json)
}

/// Finish a sign-in with the second factor.
#[utoipa::path(post, path = "/auth/mfa/verify", tag = "sign-in", request_body = MfaVerifyRequest,
    responses((status = 200, body = SessionReply), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
              (status = 429, body = ErrorBody)))]
pub(super) async fn verify(
    State(auth): State<Arc<AuthService>>,
    _: Strict,
    Extension(context): Extension<Arc<Context>>,
    web::Json(request): web::Json<MfaVerifyRequest>,
) -> Result<Json<SessionReply>, ApiError> {
    let code = ShownCode::read(&request.code)?;
    let token = request.mfa_token.parse().map_err(|_| second_factor::unknown())?;
    let admitted = second_factor::admit(&auth, mfa_digest(&auth, &token), &code).await?;
    second_factor::finish(&auth, context.client(), &admitted, &code).await.map(Json)
}
