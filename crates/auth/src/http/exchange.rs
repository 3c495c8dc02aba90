//! `POST /auth/exchange`.

use std::sync::Arc;

use auth_api::{ErrorBody, ExchangeRequest, SignInReply};
use axum::extract::State;
use axum::{Extension, Json};
use domain::MalformedCodeVerifier;
use web::{ApiError, Context};

use super::limits::Standard;
use crate::AuthService;
use crate::sign_in::exchange;

/// Exchange the one-time code that a browser brought to the app for a session.
#[utoipa::path(post, path = "/auth/exchange", tag = "sign-in", request_body = ExchangeRequest,
    responses((status = 200, body = SignInReply), (status = 400, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub(super) async fn exchange(
    State(auth): State<Arc<AuthService>>,
    _: Standard,
    Extension(context): Extension<Arc<Context>>,
    web::Json(request): web::Json<ExchangeRequest>,
) -> Result<Json<SignInReply>, ApiError> {
    let code = request.code.parse().map_err(|_| exchange::invalid())?;
    let verifier = request.code_verifier.map(|text| text.parse()).transpose();
    let verifier = verifier.map_err(|error: MalformedCodeVerifier| ApiError::validation("codeVerifier", error))?;
    exchange::exchange(&auth, context.client(), &code, verifier.as_ref()).await.map(Json)
}
