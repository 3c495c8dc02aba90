//! Device authorization (RFC 8628): the same pairing as that of `/auth/cli/*`, in the words of OAuth.

use std::sync::Arc;

use auth_api::{DeviceAuthorizationReply, DeviceAuthorizationRequest, OAuthErrorReply, OAuthTokenReply};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use domain::{Scopes, TokenName};
use web::{ApiError, Context};

use super::limits::{Failures, Standard};
use super::oauth_error::{OAuthError, UNCACHED};
use crate::AuthService;
use crate::pairing::{self, LIFETIME, POLL_INTERVAL, Poll, Started};

/// Between the pairing's id and its secret in a `device_code`; in neither of them.
const SEPARATOR: char = '.';

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
        pairing::start(&auth, context.client(), name, scopes).await?;
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

/// RFC 8628 §3.4 and §3.5. `client_id` need not be named again: the device code is secret, and bound to one pairing.
pub(super) async fn device_token(
    auth: &AuthService,
    context: &Context,
    failures: &Failures,
    device_code: Option<&str>,
) -> Result<Response, OAuthError> {
    let device_code = device_code.ok_or_else(|| OAuthError::refused("invalid_request", "device_code is required"))?;
    let parts = device_code.split_once(SEPARATOR).and_then(|(id, secret)| Some((id.parse().ok()?, secret)));
    let poll = match parts {
        Some((id, secret)) => pairing::poll(auth, context.client(), &id, secret).await?,
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
