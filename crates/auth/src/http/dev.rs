//! What exists in `afd dev` only.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use web::ApiError;

use crate::AuthService;
use crate::notify::OutboxMail;

/// What would have been sent to people, newest first.
#[derive(Serialize)]
pub(super) struct OutboxReply {
    messages: Vec<OutboxMail>,
}

pub(super) async fn outbox(State(auth): State<Arc<AuthService>>) -> Result<Json<OutboxReply>, ApiError> {
    let outbox = auth.outbox.as_ref().ok_or_else(ApiError::not_found)?;
    Ok(Json(OutboxReply { messages: outbox.mails() }))
}
