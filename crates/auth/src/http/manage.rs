//! `/auth/sessions` and `/account/*`: for signed-in people only.

use std::sync::Arc;

use auth_api::{
    ErrorBody, MessageReply, MethodsReply, ProfileReply, ProfileRequest, SessionsEndedReply, SessionsReply,
};
use axum::Json;
use axum::extract::State;
use web::ApiError;

use super::caller::{RecentSession, Session};
use crate::{AuthService, account, sessions};

type Auth = State<Arc<AuthService>>;

fn done(message: &str) -> Json<MessageReply> {
    Json(MessageReply { success: true, message: message.to_owned() })
}

/// What cannot be an id names nothing.
fn id<T: TryFrom<String>>(text: String) -> Result<T, ApiError> {
    text.try_into().map_err(|_| ApiError::not_found())
}

/// Devices signed in.
#[utoipa::path(get, path = "/auth/sessions", tag = "sessions",
    responses((status = 200, body = SessionsReply), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(super) async fn list_sessions(State(auth): Auth, Session(me): Session) -> Result<Json<SessionsReply>, ApiError> {
    sessions::devices::list(&auth, &me).await.map(Json)
}

/// End all other sessions.
#[utoipa::path(delete, path = "/auth/sessions", tag = "sessions",
    responses((status = 200, body = SessionsEndedReply), (status = 401, body = ErrorBody)))]
pub(super) async fn end_sessions(
    State(auth): Auth,
    Session(me): Session,
) -> Result<Json<SessionsEndedReply>, ApiError> {
    let ended = sessions::devices::end_others(&auth, &me).await? as usize;
    Ok(Json(SessionsEndedReply { success: true, ended }))
}

/// End one session.
#[utoipa::path(delete, path = "/auth/sessions/{id}", tag = "sessions", params(("id" = String, Path)),
    responses((status = 200, body = MessageReply), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(super) async fn end_session(
    State(auth): Auth,
    Session(me): Session,
    web::Path(text): web::Path,
) -> Result<Json<MessageReply>, ApiError> {
    sessions::devices::end(&auth, &me, &id(text)?).await?;
    Ok(done("The session has been ended"))
}

/// One's profile.
#[utoipa::path(get, path = "/account/profile", tag = "account",
    responses((status = 200, body = ProfileReply), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(super) async fn profile(State(auth): Auth, Session(me): Session) -> Result<Json<ProfileReply>, ApiError> {
    Ok(Json(ProfileReply { user: account::me(&auth, &me.principal).await?.user }))
}

/// Change one's profile; null clears.
#[utoipa::path(patch, path = "/account/profile", tag = "account", request_body = ProfileRequest,
    responses((status = 200, body = ProfileReply), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)))]
pub(super) async fn change_profile(
    State(auth): Auth,
    Session(me): Session,
    web::Json(request): web::Json<ProfileRequest>,
) -> Result<Json<ProfileReply>, ApiError> {
    account::manage::change(&auth, &me.principal, request).await?;
    Ok(Json(ProfileReply { user: account::me(&auth, &me.principal).await?.user }))
}

/// Delete one's account and everything of it.
#[utoipa::path(delete, path = "/account/profile", tag = "account",
    responses((status = 200, body = MessageReply), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(super) async fn delete_account(
    State(auth): Auth,
    RecentSession(me): RecentSession,
) -> Result<Json<MessageReply>, ApiError> {
    account::manage::delete(&auth, &me.principal).await?;
    Ok(done("The account has been deleted"))
}

/// One's ways in.
#[utoipa::path(get, path = "/account/methods", tag = "account",
    responses((status = 200, body = MethodsReply), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(super) async fn methods(State(auth): Auth, Session(me): Session) -> Result<Json<MethodsReply>, ApiError> {
    account::manage::methods(&auth, &me.principal).await.map(Json)
}

/// Remove a way in; never the last.
#[utoipa::path(delete, path = "/account/methods/{id}", tag = "account", params(("id" = String, Path)),
    responses((status = 200, body = MessageReply), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
              (status = 404, body = ErrorBody)))]
pub(super) async fn unlink(
    State(auth): Auth,
    RecentSession(me): RecentSession,
    web::Path(text): web::Path,
) -> Result<Json<MessageReply>, ApiError> {
    account::manage::unlink(&auth, &me.principal, &id(text)?).await?;
    Ok(done("The way in has been removed"))
}

/// Make a way in the primary one.
#[utoipa::path(post, path = "/account/methods/{id}/set-primary", tag = "account", params(("id" = String, Path)),
    responses((status = 200, body = MessageReply), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(super) async fn set_primary(
    State(auth): Auth,
    RecentSession(me): RecentSession,
    web::Path(text): web::Path,
) -> Result<Json<MessageReply>, ApiError> {
    account::manage::set_primary(&auth, &me.principal, &id(text)?).await?;
    Ok(done("The way in is the primary one now"))
}
