//! `/auth/email/*`, `/auth/refresh`, `/auth/logout`.

use std::sync::Arc;

use auth_api::{
    CodeSentReply, EmailRequest, EmailVerifyRequest, ErrorBody, LogoutRequest, MessageReply, RefreshRequest,
    SessionReply, SignInReply,
};
use axum::extract::State;
use axum::{Extension, Json};
use domain::{EmailAddress, OneTimeCode, SentCode};
use web::{ApiError, Context};

use super::caller::Session;
use super::limits::{self, Standard, Strict};
use super::oauth::read_challenge;
use crate::sign_in::CODE_LIFETIME;
use crate::sign_in::allowance::Told;
use crate::sign_in::code::Typed;
use crate::sign_in::email::{self, SignInTo};
use crate::{AuthService, sessions};

/// Send a sign-in code by e-mail. Known and unknown addresses are answered alike.
#[utoipa::path(post, path = "/auth/email/request", tag = "sign-in", request_body = EmailRequest,
    responses((status = 200, body = CodeSentReply), (status = 400, body = ErrorBody), (status = 429, body = ErrorBody),
              (status = 502, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(super) async fn request_email_code(
    State(auth): State<Arc<AuthService>>,
    _: Strict,
    Extension(context): Extension<Arc<Context>>,
    web::Json(request): web::Json<EmailRequest>,
) -> Result<Json<CodeSentReply>, ApiError> {
    let address = address(&request.email)?;
    let challenge = read_challenge("codeChallenge", request.code_challenge.as_deref())?;
    // By mailbox as well, or many addresses together could flood one. Nobody is refused for it, or they could shut out
    // its owner: see `store::ENOUGH_TIME`.
    let mailbox = format!("mailbox:{}", address.mailbox());
    let has_room = limits::has_room(&auth, &mailbox, auth.config.limits.strict).await?;
    let to = SignInTo::App { challenge };
    let (flow, told) = email::request(&auth, context.client(), &address, &to, has_room).await?;
    let message = match told {
        Told::Sent => "If the address is right, a code is on its way",
        Told::SentUnlessNew => {
            "If this address has signed in here before, a code is on its way; for new ones there is none before tomorrow"
        }
    };
    Ok(Json(CodeSentReply {
        success: true,
        message: message.to_owned(),
        expires_in: CODE_LIFETIME.as_secs(),
        flow_id: Some(flow.expose().to_owned()),
    }))
}

/// Sign in with a code.
#[utoipa::path(post, path = "/auth/email/verify", tag = "sign-in", request_body = EmailVerifyRequest,
    responses((status = 200, body = SignInReply), (status = 400, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub(super) async fn verify_email_code(
    State(auth): State<Arc<AuthService>>,
    _: Strict,
    Extension(context): Extension<Arc<Context>>,
    web::Json(request): web::Json<EmailVerifyRequest>,
) -> Result<Json<SignInReply>, ApiError> {
    let address = address(&request.email)?;
    let code = sent_code(&request.code)?;
    let typed = Typed { code: &code, flow: request.flow_id.as_deref() };
    email::verify(&auth, context.client(), &address, &typed).await.map(Json)
}

/// The code in a request to sign in or to link.
pub(super) fn sent_code(text: &str) -> Result<SentCode, ApiError> {
    text.parse().map_err(|error| ApiError::validation("code", error))
}

/// The code in a request to prove again who one is.
pub(super) fn typed_code(text: &str) -> Result<OneTimeCode, ApiError> {
    text.parse().map_err(|error| ApiError::validation("code", error))
}

/// The address in a request.
pub(super) fn address(text: &str) -> Result<EmailAddress, ApiError> {
    text.parse().map_err(|error| ApiError::validation("email", error))
}

/// Renew a session: a new pair of tokens for a refresh token, which is good once.
#[utoipa::path(post, path = "/auth/refresh", tag = "sessions", request_body = RefreshRequest,
    responses((status = 200, body = SessionReply), (status = 401, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub(super) async fn refresh(
    State(auth): State<Arc<AuthService>>,
    _: Standard,
    Extension(context): Extension<Arc<Context>>,
    web::Json(request): web::Json<RefreshRequest>,
) -> Result<Json<SessionReply>, ApiError> {
    sessions::refresh(&auth, context.client(), &request.refresh_token).await.map(Json)
}

/// End the session, and that of the refresh token if it is one's own too; the refresh token alone is enough, also when
/// its time is over. When the reply is out, their tokens are dead.
#[utoipa::path(post, path = "/auth/logout", tag = "sessions", request_body = Option<LogoutRequest>,
    responses((status = 200, body = MessageReply), (status = 401, body = ErrorBody)))]
pub(super) async fn logout(
    State(auth): State<Arc<AuthService>>,
    session: Result<Session, ApiError>,
    Extension(context): Extension<Arc<Context>>,
    web::JsonOrDefault(request): web::JsonOrDefault<LogoutRequest>,
) -> Result<Json<MessageReply>, ApiError> {
    let refresh_token = request.refresh_token.as_deref();
    match (session, refresh_token) {
        (Ok(Session(session)), _) => sessions::logout(&auth, &session, refresh_token).await?,
        // Without a live access JWT, which has been counted by address.
        (Err(error), Some(refresh_token)) if error.code().status() == 401 => {
            sessions::logout_by_refresh(&auth, context.client(), refresh_token).await?.ok_or(error)?;
        }
        (Err(error), _) => return Err(error),
    }
    Ok(Json(MessageReply { success: true, message: "You are signed out".to_owned() }))
}
