//! `/auth/sms/*`.

use std::sync::Arc;

use auth_api::{CodeSentReply, ErrorBody, SignInReply, SmsRequest, SmsVerifyRequest};
use axum::extract::State;
use axum::{Extension, Json};
use domain::PhoneNumber;
use web::{ApiError, Context};

use super::limits::{self, Strict};
use super::sign_in::sent_code;
use crate::AuthService;
use crate::sign_in::allowance::Told;
use crate::sign_in::code::Typed;
use crate::sign_in::{CODE_LIFETIME, sms};

/// Send a sign-in code by SMS. Known and unknown numbers are answered alike.
#[utoipa::path(post, path = "/auth/sms/request", tag = "sign-in", request_body = SmsRequest,
    responses((status = 200, body = CodeSentReply), (status = 400, body = ErrorBody), (status = 429, body = ErrorBody),
              (status = 502, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(super) async fn request_sms_code(
    State(auth): State<Arc<AuthService>>,
    _: Strict,
    Extension(context): Extension<Arc<Context>>,
    web::Json(request): web::Json<SmsRequest>,
) -> Result<Json<CodeSentReply>, ApiError> {
    let phone = recipient(&auth, &request.phone)?;
    // By number as well, or many addresses together could flood one, at our cost.
    let has_room = limits::has_room(&auth, &format!("phone:{phone}"), auth.config.limits.strict).await?;
    let (flow, told) = sms::request(&auth, context.client(), &phone, None, has_room).await?;
    let message = match told {
        Told::Sent => "If the number is right, a code is on its way",
        Told::SentUnlessNew => {
            "If this number has signed in here before, a code is on its way; for new ones there is none before tomorrow"
        }
    };
    Ok(Json(CodeSentReply {
        success: true,
        message: message.to_owned(),
        expires_in: CODE_LIFETIME.as_secs(),
        flow_id: Some(flow.expose().to_owned()),
    }))
}

/// Sign in with a code from an SMS.
#[utoipa::path(post, path = "/auth/sms/verify", tag = "sign-in", request_body = SmsVerifyRequest,
    responses((status = 200, body = SignInReply), (status = 400, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub(super) async fn verify_sms_code(
    State(auth): State<Arc<AuthService>>,
    _: Strict,
    Extension(context): Extension<Arc<Context>>,
    web::Json(request): web::Json<SmsVerifyRequest>,
) -> Result<Json<SignInReply>, ApiError> {
    let phone = number(&request.phone)?;
    let code = sent_code(&request.code)?;
    let typed = Typed { code: &code, flow: request.flow_id.as_deref() };
    sms::verify(&auth, context.client(), &phone, &typed).await.map(Json)
}

/// The number in a request to send something there.
pub(super) fn recipient(auth: &AuthService, text: &str) -> Result<PhoneNumber, ApiError> {
    let phone = number(text)?;
    sms::require_configured(auth)?;
    sms::require_reachable(auth, &phone)?;
    Ok(phone)
}

/// The number in a request.
pub(super) fn number(text: &str) -> Result<PhoneNumber, ApiError> {
    text.parse().map_err(|error| ApiError::validation("phone", error))
}
