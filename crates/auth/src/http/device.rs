//! `/oauth/*` in the words of the RFCs: forms in, JSON with underscores out, errors as RFC 6749 §5.2 has them.

use std::sync::Arc;

use auth_api::{DeviceAuthorizationReply, DeviceAuthorizationRequest, OAuthErrorReply, OAuthTokenReply};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use domain::{Scopes, TokenName};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use web::{ApiError, Context};

use super::limits::{Failures, Standard};
use crate::AuthService;
use crate::pairing::{self, LIFETIME, POLL_INTERVAL, Poll, Started};

/// The grant of RFC 8628 §3.4.
const DEVICE_CODE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Between the pairing's id and its secret in a `device_code`; in neither of them.
const SEPARATOR: char = '.';

/// An error of these routes.
pub(super) enum OAuthError {
    /// 400 with a code of RFC 6749 §5.2 or RFC 8628 §3.5.
    Refused(&'static str, String),
    /// What every route may answer: too many requests, or our own failure.
    Api(ApiError),
}

impl OAuthError {
    fn refused(error: &'static str, description: impl Into<String>) -> Self {
        Self::Refused(error, description.into())
    }
}

impl From<ApiError> for OAuthError {
    fn from(error: ApiError) -> Self {
        match error.code().status() {
            400 | 413 | 415 => Self::refused("invalid_request", error.message()),
            _ => Self::Api(error),
        }
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(error, error_description) => {
                let body = OAuthErrorReply { error: error.to_owned(), error_description };
                (StatusCode::BAD_REQUEST, UNCACHED, Json(body)).into_response()
            }
            Self::Api(error) => error.into_response(),
        }
    }
}

/// RFC 6749 §5.1 wants both.
const UNCACHED: [(header::HeaderName, HeaderValue); 2] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::PRAGMA, HeaderValue::from_static("no-cache")),
];

/// Start device authorization (RFC 8628 §3.1): the same pairing as that of `/auth/cli/start`.
#[utoipa::path(post, path = "/oauth/device_authorization", tag = "pairing", security(()),
    request_body(content = DeviceAuthorizationRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = DeviceAuthorizationReply), (status = 400, body = OAuthErrorReply)))]
pub(super) async fn authorize_device(
    State(auth): State<Arc<AuthService>>,
    _: Standard,
    Extension(context): Extension<Arc<Context>>,
    request: Result<web::Form<DeviceAuthorizationRequest>, ApiError>,
) -> Result<Response, OAuthError> {
    let web::Form(request) = request?;
    let scopes: Option<Scopes> = match request.scope.as_deref().map(str::trim) {
        None | Some("") => None,
        Some(text) => {
            let scopes =
                text.parse().map_err(|error| OAuthError::refused("invalid_scope", format!("scope {error}")))?;
            Some(scopes)
        }
    };
    let name = request.client_id.as_deref().and_then(name_of_client);
    let Started { id, poll_secret, user_code, page, pairing_page } =
        pairing::start(&auth, &context.client, name, scopes).await?;
    let reply = DeviceAuthorizationReply {
        device_code: format!("{id}{SEPARATOR}{}", poll_secret.expose()),
        user_code: user_code.to_string(),
        verification_uri: page,
        verification_uri_complete: pairing_page,
        expires_in: LIFETIME.as_secs(),
        interval: POLL_INTERVAL.as_secs(),
    };
    Ok((UNCACHED, Json(reply)).into_response())
}

/// The client's name as a token's: people see it, and the token gets it. What no name may contain becomes a hyphen.
fn name_of_client(client_id: &str) -> Option<TokenName> {
    let harmless = |c: char| if c.is_ascii_alphanumeric() || " ._-".contains(c) { c } else { '-' };
    client_id.trim().chars().map(harmless).take(100).collect::<String>().parse().ok()
}

/// What any grant may send; each looks at its own.
#[derive(Deserialize, utoipa::ToSchema)]
pub(super) struct TokenRequest {
    /// Which grant is used.
    grant_type: Option<String>,
    /// RFC 8628: what `/oauth/device_authorization` replied.
    device_code: Option<String>,
}

/// Exchange a grant for a token (RFC 6749 §3.2): `device_code` of RFC 8628.
#[utoipa::path(post, path = "/oauth/token", tag = "pairing", security(()),
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = OAuthTokenReply),
              (status = 400, body = OAuthErrorReply, description = "`authorization_pending`, `slow_down`, \
               `access_denied`, `expired_token`, `invalid_grant`, `unsupported_grant_type`, `invalid_request`")))]
pub(super) async fn token(
    State(auth): State<Arc<AuthService>>,
    failures: Failures,
    Extension(context): Extension<Arc<Context>>,
    request: Result<web::Form<TokenRequest>, ApiError>,
) -> Result<Response, OAuthError> {
    let web::Form(request) = request?;
    match request.grant_type.as_deref() {
        Some(DEVICE_CODE_GRANT) => device_token(&auth, &context, &failures, request.device_code).await,
        Some(_) => Err(OAuthError::refused("unsupported_grant_type", "This grant_type is not supported")),
        None => Err(OAuthError::refused("invalid_request", "grant_type is required")),
    }
}

/// RFC 8628 §3.4 and §3.5. `client_id` need not be named again: the device code is secret, and bound to one pairing.
async fn device_token(
    auth: &AuthService,
    context: &Context,
    failures: &Failures,
    device_code: Option<String>,
) -> Result<Response, OAuthError> {
    let device_code = device_code.ok_or_else(|| OAuthError::refused("invalid_request", "device_code is required"))?;
    let parts = device_code.split_once(SEPARATOR).and_then(|(id, secret)| Some((id.parse().ok()?, secret)));
    let poll = match parts {
        Some((id, secret)) => pairing::poll(auth, &context.client, &id, secret).await?,
        None => Poll::Unknown,
    };
    let (error, description) = match poll {
        Poll::Token(token, secret) => {
            let left = |end: domain::Timestamp| end.since(auth.clock.now()).as_secs();
            let reply = OAuthTokenReply {
                access_token: secret.expose().to_owned(),
                token_type: "Bearer".to_owned(),
                scope: token.scopes.to_string(),
                expires_in: token.expires_at.map(left),
            };
            return Ok((UNCACHED, Json(reply)).into_response());
        }
        Poll::Pending => ("authorization_pending", "Nobody has decided yet"),
        Poll::TooSoon { .. } => ("slow_down", "Wait longer between two polls"),
        Poll::Denied => ("access_denied", "Access was denied"),
        Poll::Expired => ("expired_token", "The device code is too old; start again"),
        Poll::Refused(error) => return Err(OAuthError::refused("access_denied", error.message())),
        Poll::Used | Poll::WrongSecret | Poll::Unknown => {
            failures.count(auth, context).await?;
            ("invalid_grant", "The device code is unknown or has been used")
        }
    };
    Err(OAuthError::refused(error, description))
}
