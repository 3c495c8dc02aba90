//! `POST /tokens/report`: for whoever finds a token where it should not be.

use std::sync::Arc;

use auth_api::{ErrorBody, MessageReply, ReportLeakRequest};
use axum::extract::State;
use axum::{Extension, Json};
use http::StatusCode;
use secrecy::SecretString;
use web::{ApiError, Context};

use super::limits::Standard;
use crate::{AuthService, tokens};

/// Report a token that was found in the open. The reply is the same whether there is such a token or not; if there is,
/// it is revoked, and its owner gets a mail.
#[utoipa::path(post, path = "/tokens/report", tag = "guard", security(()), request_body = ReportLeakRequest,
    responses((status = 202, body = MessageReply), (status = 400, body = ErrorBody), (status = 429, body = ErrorBody),
              (status = 503, body = ErrorBody, description = "too many reports wait")))]
pub(super) async fn report(
    State(auth): State<Arc<AuthService>>,
    _: Standard,
    Extension(context): Extension<Arc<Context>>,
    web::Json(request): web::Json<ReportLeakRequest>,
) -> Result<(StatusCode, Json<MessageReply>), ApiError> {
    tokens::report(&auth, context.client(), SecretString::from(request.token), request.url.as_deref())?;
    let message = "Thank you. If this is one of our tokens, it is being dealt with".to_owned();
    Ok((StatusCode::ACCEPTED, Json(MessageReply { success: true, message })))
}
