//! `POST /tokens/validate`: the question that every API call of every customer asks.

use std::sync::Arc;

use auth_api::{ErrorBody, ErrorCode, InvalidReply, RateLimit, ValidClient, ValidReply, ValidateRequest};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use domain::{ClientInfo, Timestamp};
use http::{HeaderValue, StatusCode, header};
use limiter::Quota;
use web::Context;

use super::caller::{ProfileRead, RequiredScope as _, Validating};
use super::limits;
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
    _: Validating,
    Extension(context): Extension<Arc<Context>>,
    web::Json(request): web::Json<ValidateRequest>,
) -> Response {
    let client = client(request.client, &context);
    let audience = request.audience.as_deref().map_or(Audience::General, Audience::Named);
    let outcome = auth.validator.validate(&request.token, audience, &client).await;
    let refusal = |message: &str, code| InvalidReply {
        valid: false,
        error: message.to_owned(),
        code,
        request_id: context.request_id.clone(),
        retry_after: None,
        reset_at: None,
        rate_limit: None,
    };
    let invalid = |message, code| {
        let challenge = HeaderValue::from_static(r#"Bearer realm="alternatefutures", error="invalid_token""#);
        let reply = refusal(message, code);
        (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)], Json(reply)).into_response()
    };
    match outcome {
        Ok(Validated { credential, quota }) => {
            limits::show_credential(&auth, &context, quota);
            let mut reply = valid_reply(&credential, quota);
            if request.with_user {
                add_user(&auth, &credential, &mut reply).await;
            }
            ([(header::CONTENT_TYPE, JSON)], reply).into_response()
        }
        Err(Rejection::Invalid) => invalid("This token is not valid", ErrorCode::InvalidToken),
        Err(Rejection::Expired) => invalid("This token has expired", ErrorCode::InvalidToken),
        Err(Rejection::SessionEnded) => invalid("This session has been ended", ErrorCode::InvalidToken),
        Err(Rejection::IpNotAllowed) => {
            invalid("This token may not be used from this address", ErrorCode::IpNotAllowed)
        }
        Err(Rejection::Limited { quota, retry_at }) => {
            limits::show_credential(&auth, &context, quota);
            let seconds = seconds_until(retry_at, auth.clock.now());
            let reply = InvalidReply {
                retry_after: Some(seconds),
                reset_at: Some(retry_at),
                rate_limit: Some(rate_limit(quota)),
                ..refusal("This token has made too many requests", ErrorCode::RateLimitExceeded)
            };
            (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, seconds)], Json(reply)).into_response()
        }
        Err(Rejection::Unavailable(error)) => internal(error).into_response(),
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A [`ValidReply`] in JSON. All of it but its last field is the same each time and is kept with the cached credential.
fn valid_reply(credential: &Credential, quota: Quota) -> Vec<u8> {
    const LAST_FIELD: &[u8] = br#""rateLimit":"#;
    let constant = credential.description.get_or_init(|| {
        let reply = ValidReply {
            valid: true,
            kind: credential.id.kind(),
            narrowed: credential.narrowed().is_some(),
            user_id: credential.user_id.clone(),
            token_id: credential.id.as_str().to_owned(),
            name: credential.name.clone(),
            scopes: credential.scopes.clone(),
            email: credential.email.clone(),
            display_name: credential.display_name.clone(),
            avatar_url: credential.avatar_url.clone(),
            expires_at: credential.expires_at,
            rate_limit: rate_limit(quota),
            user: None,
        };
        let mut json = serde_json::to_vec(&reply).expect("texts, numbers and lists are JSON");
        let last = json.windows(LAST_FIELD.len()).rposition(|text| text == LAST_FIELD).expect("it is the last field");
        json.truncate(last + LAST_FIELD.len());
        json.into()
    });
    let mut json = Vec::with_capacity(constant.len() + 96);
    json.extend_from_slice(constant);
    serde_json::to_writer(&mut json, &rate_limit(quota)).expect("memory takes what is written");
    json.push(b'}');
    json
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
            .or_else(|| Some(context.request_id.clone())),
    }
}

pub(super) fn rate_limit(quota: Quota) -> RateLimit {
    RateLimit { limit: quota.limit, remaining: quota.remaining, reset_at: quota.reset_at }
}

/// Rounded up, so that a client that waits them is never early.
fn seconds_until(at: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(at.since(now).as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1)
}
