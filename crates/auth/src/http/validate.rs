//! `POST /tokens/validate`: the question that every API call of every customer asks.

use std::sync::Arc;

use auth_api::{ErrorBody, ErrorCode, InvalidReply, ValidClient, ValidReply, ValidateRequest};
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::{ClientInfo, Timestamp};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Body;
use web::Context;

use super::caller::{ProfileRead, RequiredScope as _};
use super::validate_reply::{self as reply, Limited};
use super::{caller, limits};
use crate::tokens::{Audience, Credential, Rejection, Validated};
use crate::{AuthService, internal};

/// The route's path.
pub(super) const PATH: &str = "/tokens/validate";

/// Is this token good, whose is it, and may it make a request now? Counts the request in the token's window.
#[utoipa::path(post, path = "/tokens/validate", tag = "tokens", request_body = ValidateRequest,
    responses((status = 200, body = ValidReply), (status = 401, body = InvalidReply), (status = 429, body = InvalidReply),
              (status = 400, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(super) async fn validate(
    State(auth): State<Arc<AuthService>>,
    Extension(context): Extension<Arc<Context>>,
    request: Request,
) -> Response {
    answer(&auth, &context, request).await
}

/// What [`validate`] answers, for whoever calls it without a router.
pub(super) async fn answer<B: Body<Data = Bytes>>(
    auth: &Arc<AuthService>,
    context: &Context,
    request: http::Request<B>,
) -> Response {
    let (parts, body) = request.into_parts();
    if let Err(error) = caller::may_validate(auth, context, &parts.headers).await {
        return error.into_response();
    }
    let request: ValidateRequest = match web::read_json(&parts.headers, body).await {
        Ok(request) => request,
        Err(error) => return error.into_response(),
    };
    // They have been read, and there is room for the reply's.
    let mut headers = parts.headers;
    headers.clear();
    let client = client(request.client, context);
    let audience = request.audience.as_deref().map_or(Audience::General, Audience::Named);
    match auth.validator.validate(&request.token, audience, &client).await {
        Ok(Validated { credential, quota }) => {
            limits::show_credential(auth, context, quota);
            let mut json = reply::valid(&credential, quota);
            if request.with_user {
                add_user(auth, &credential, &mut json).await;
            }
            if request.with_bounds {
                reply::add_bounds(&credential, &mut json);
            }
            respond(StatusCode::OK, headers, json)
        }
        Err(rejection) => refuse(auth, context, headers, rejection),
    }
}

fn refuse(auth: &AuthService, context: &Context, headers: HeaderMap, rejection: Rejection) -> Response {
    let id = &context.request_id;
    let (message, code) = match rejection {
        Rejection::Invalid => ("This token is not valid", ErrorCode::InvalidToken),
        Rejection::Expired => ("This token has expired", ErrorCode::InvalidToken),
        Rejection::SessionEnded => ("This session has been ended", ErrorCode::InvalidToken),
        Rejection::IpNotAllowed => ("This token may not be used from this address", ErrorCode::IpNotAllowed),
        Rejection::Limited { quota, retry_at } => {
            limits::show_credential(auth, context, quota);
            let retry_after = seconds_until(retry_at, auth.clock.now());
            let limited = Limited { retry_after, reset_at: retry_at, quota };
            let message = "This token has made too many requests";
            let json = reply::invalid(message, ErrorCode::RateLimitExceeded, id, Some(&limited));
            let mut response = respond(StatusCode::TOO_MANY_REQUESTS, headers, json);
            response.headers_mut().insert(header::RETRY_AFTER, retry_after.into());
            return response;
        }
        Rejection::Unavailable(error) => return internal(error).into_response(),
    };
    let mut response = respond(StatusCode::UNAUTHORIZED, headers, reply::invalid(message, code, id, None));
    let challenge = HeaderValue::from_static(r#"Bearer realm="alternatefutures", error="invalid_token""#);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

fn respond(status: StatusCode, mut headers: HeaderMap, json: Vec<u8>) -> Response {
    let mut response = Response::new(axum::body::Body::from(json));
    *response.status_mut() = status;
    headers.insert(header::CONTENT_TYPE, JSON);
    *response.headers_mut() = headers;
    response
}

/// Adds what `GET /auth/me` would say to the credential's holder. Where that would be a refusal or fails, it adds
/// nothing: the asker asks there, and is told.
async fn add_user(auth: &AuthService, credential: &Credential, reply: &mut Vec<u8>) {
    if !credential.scopes.allow(ProfileRead::SCOPE) {
        return;
    }
    let described = match auth.description(&credential.user_id) {
        Some(kept) => Some(kept),
        None => Box::pin(auth.describe(&credential.user_id)).await.ok().flatten(),
    };
    if let Some(described) = described {
        reply.pop();
        reply.extend_from_slice(br#","user":"#);
        reply.extend_from_slice(&described.json);
        reply.push(b'}');
    }
}

/// The end user's side, as far as the asking service tells; its own address is not the end user's.
fn client(told: Option<ValidClient>, context: &Context) -> ClientInfo {
    let told = told.unwrap_or_default();
    ClientInfo {
        ip: told.ip.and_then(|ip| ip.parse().ok()),
        user_agent: told.user_agent.as_deref().and_then(ClientInfo::clean_user_agent),
        request_id: told
            .request_id
            .filter(|id| ClientInfo::is_sane_request_id(id))
            .or_else(|| Some(context.request_id.to_string())),
    }
}

/// Rounded up, so that a client that waits them is never early.
fn seconds_until(at: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(at.since(now).as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1)
}
