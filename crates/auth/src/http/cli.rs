//! `/auth/cli/*`: a command line asks to be let in, a person decides, the command line fetches its token.

use std::sync::Arc;

use auth_api::{
    CliApproveRequest, CliDecidedReply, CliDenyRequest, CliPendingReply, CliPollRequest, CliStartReply,
    CliStartRequest, CliTokenReply, ErrorBody, ErrorCode,
};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use domain::PairingId;
use http::StatusCode;
use store::Decision;
use web::{ApiError, Context};

use super::caller::Session;
use super::limits::{Failures, Standard};
use crate::AuthService;
use crate::pairing::{self, LIFETIME, Poll, Started};
use crate::tokens::read_name;

/// Ask to be let in. Somebody approves on the page at `verificationUrl`; meanwhile the program polls.
#[utoipa::path(post, path = "/auth/cli/start", tag = "pairing", security(()), request_body = Option<CliStartRequest>,
    responses((status = 200, body = CliStartReply), (status = 400, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub(super) async fn start(
    State(auth): State<Arc<AuthService>>,
    _: Standard,
    Extension(context): Extension<Arc<Context>>,
    web::JsonOrDefault(request): web::JsonOrDefault<CliStartRequest>,
) -> Result<Json<CliStartReply>, ApiError> {
    let name = request.name.as_deref().map(read_name).transpose()?;
    let Started { id, poll_secret, user_code, pairing_page, .. } =
        pairing::start(&auth, context.client(), name, request.scopes).await?;
    Ok(Json(CliStartReply {
        success: true,
        verification_session_id: id.to_string(),
        poll_secret: poll_secret.expose().to_owned(),
        verification_url: pairing_page,
        user_code: user_code.to_string(),
        expires_in: LIFETIME.as_secs(),
    }))
}

/// Let the program in: its next poll fetches a token of the caller's.
#[utoipa::path(post, path = "/auth/cli/approve", tag = "pairing", request_body = CliApproveRequest,
    responses((status = 200, body = CliDecidedReply), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
              (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
              (status = 429, body = ErrorBody)))]
pub(super) async fn approve(
    State(auth): State<Arc<AuthService>>,
    Session(session): Session,
    web::Json(request): web::Json<CliApproveRequest>,
) -> Result<Json<CliDecidedReply>, ApiError> {
    let expires_at = request.expires_at.map(|expires_at| expires_at.0);
    let approval = pairing::approval(request.name.as_deref(), None, expires_at, auth.clock.now())?;
    let id = pairing_id(request.verification_session_id)?;
    pairing::decide(&auth, &session.principal, &id, &Decision::Approve(approval)).await?;
    Ok(Json(CliDecidedReply { success: true }))
}

/// Refuse the program.
#[utoipa::path(post, path = "/auth/cli/deny", tag = "pairing", request_body = CliDenyRequest,
    responses((status = 200, body = CliDecidedReply), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
              (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(super) async fn deny(
    State(auth): State<Arc<AuthService>>,
    Session(session): Session,
    web::Json(request): web::Json<CliDenyRequest>,
) -> Result<Json<CliDecidedReply>, ApiError> {
    let id = pairing_id(request.verification_session_id)?;
    pairing::decide(&auth, &session.principal, &id, &Decision::Deny).await?;
    Ok(Json(CliDecidedReply { success: true }))
}

/// How far is the pairing? Once it is approved, one poll gets the token. Polls a second or more apart are never limited.
#[utoipa::path(post, path = "/auth/cli/poll", tag = "pairing", security(()), request_body = CliPollRequest,
    responses((status = 200, body = CliTokenReply), (status = 202, body = CliPendingReply),
              (status = 400, body = ErrorBody, description = "`INVALID_STATE`: denied; `CODE_EXPIRED`: too old; \
               `MAX_TOKENS_EXCEEDED`: whoever approved has too many tokens"),
              (status = 401, body = ErrorBody, description = "`INVALID_TOKEN`: the secret is wrong"),
              (status = 404, body = ErrorBody, description = "unknown, or the token has been fetched"),
              (status = 429, body = ErrorBody)))]
pub(super) async fn poll(
    State(auth): State<Arc<AuthService>>,
    failures: Failures,
    Extension(context): Extension<Arc<Context>>,
    web::Json(request): web::Json<CliPollRequest>,
) -> Result<Response, ApiError> {
    let poll = match request.verification_session_id.parse() {
        Ok(id) => pairing::poll(&auth, context.client(), &id, &request.poll_secret).await?,
        Err(_) => Poll::Unknown,
    };
    match poll {
        Poll::Pending => {
            Ok((StatusCode::ACCEPTED, Json(CliPendingReply { status: "pending".to_owned() })).into_response())
        }
        Poll::Token(_, secret) => {
            Ok(Json(CliTokenReply { success: true, token: secret.expose().to_owned() }).into_response())
        }
        Poll::Denied => Err(ApiError::new(ErrorCode::InvalidState, "Access was denied")),
        Poll::Expired => Err(ApiError::new(ErrorCode::CodeExpired, "This request is too old; start again")),
        Poll::TooSoon { retry_at } => {
            Err(ApiError::rate_limited("Ask once a second at most", retry_at, auth.clock.now()))
        }
        Poll::Refused(error) => Err(error),
        Poll::Used | Poll::Unknown => {
            failures.count(&auth, &context).await?;
            Err(ApiError::not_found())
        }
        Poll::WrongSecret => {
            failures.count(&auth, &context).await?;
            Err(ApiError::new(ErrorCode::InvalidToken, "This is not the secret of that session"))
        }
    }
}

/// What cannot be an id names nothing.
fn pairing_id(text: String) -> Result<PairingId, ApiError> {
    text.try_into().map_err(|_| ApiError::not_found())
}
