//! `POST /oauth/token` (RFC 6749 §3.2): the device grant of RFC 8628 and the token exchange of RFC 8693.

use std::sync::Arc;
use std::time::Duration;

use auth_api::{ErrorBody, OAuthErrorReply, OAuthTokenReply, TokenExchangeReply};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use domain::Scopes;
use url::Url;
use web::{ApiError, Context};

use super::caller::rejected;
use super::device::device_token;
use super::limits::{self, Failures};
use super::oauth_error::{OAuthError, UNCACHED};
use crate::AuthService;
use crate::tokens::{self, Exchange, NotExchanged, Rejection};

/// The grant of RFC 8628 §3.4.
const DEVICE_CODE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// The grant of RFC 8693 §2.1.
const TOKEN_EXCHANGE_GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 8693 §3: a token that opens something, of whatever form.
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// RFC 8693 §3: a JWT; what is issued is both.
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

const DEFAULT_SECONDS: u64 = 900;
const SECONDS: std::ops::RangeInclusive<u64> = 60..=3600;
/// Audiences and resources together.
const MAX_TARGETS: usize = 8;
const MAX_TARGET_BYTES: usize = 256;

/// What any grant may send; each looks at its own. `audience` and `resource` may be repeated, nothing else.
#[derive(Debug, Default, utoipa::ToSchema)]
pub(super) struct TokenRequest {
    /// Which grant is used.
    grant_type: Option<String>,
    /// RFC 8628: what `/oauth/device_authorization` replied.
    device_code: Option<String>,
    /// RFC 8693: a personal access token.
    subject_token: Option<String>,
    /// RFC 8693: `urn:ietf:params:oauth:token-type:access_token`.
    subject_token_type: Option<String>,
    /// RFC 8693: that, or `urn:ietf:params:oauth:token-type:jwt`.
    requested_token_type: Option<String>,
    /// RFC 8693: not supported.
    actor_token: Option<String>,
    /// RFC 8693: not supported.
    actor_token_type: Option<String>,
    /// RFC 8693: some of the token's scopes, separated by spaces; absent for all.
    scope: Option<String>,
    /// RFC 8693: for whom alone the narrowed token is to be good.
    audience: Vec<String>,
    /// RFC 8693: the same, as absolute URIs.
    resource: Vec<String>,
    /// For how many seconds: 60 to 3600, 900 if absent. It never outlives the personal access token.
    expires_in: Option<String>,
}

impl TokenRequest {
    fn read(fields: Vec<(String, String)>) -> Result<Self, OAuthError> {
        let mut request = Self::default();
        for (name, value) in fields {
            let field = match name.as_str() {
                "audience" if !value.is_empty() => {
                    request.audience.push(value);
                    continue;
                }
                "resource" if !value.is_empty() => {
                    request.resource.push(value);
                    continue;
                }
                "grant_type" => &mut request.grant_type,
                "device_code" => &mut request.device_code,
                "subject_token" => &mut request.subject_token,
                "subject_token_type" => &mut request.subject_token_type,
                "requested_token_type" => &mut request.requested_token_type,
                "actor_token" => &mut request.actor_token,
                "actor_token_type" => &mut request.actor_token_type,
                "scope" => &mut request.scope,
                "expires_in" => &mut request.expires_in,
                // RFC 6749 §3.2: what is not known is ignored.
                _ => continue,
            };
            if field.is_some() {
                return Err(OAuthError::refused("invalid_request", format!("{name} is there twice")));
            }
            *field = Some(value);
        }
        // RFC 6749 §3.2: what has no value is as good as left out.
        for field in [
            &mut request.grant_type,
            &mut request.device_code,
            &mut request.subject_token,
            &mut request.subject_token_type,
            &mut request.requested_token_type,
            &mut request.actor_token,
            &mut request.actor_token_type,
            &mut request.scope,
            &mut request.expires_in,
        ] {
            *field = field.take().filter(|value| !value.is_empty());
        }
        Ok(request)
    }
}

/// Exchange a grant for a token: `device_code` of RFC 8628, or a personal access token for a narrowed one by RFC 8693.
#[utoipa::path(post, path = "/oauth/token", tag = "pairing", security(()),
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = OAuthTokenReply, description = "of the device grant; of token exchange: \
               `TokenExchangeReply`, the same with `issued_token_type`"),
              (status = 400, body = OAuthErrorReply, description = "`authorization_pending`, `slow_down`, \
               `access_denied`, `expired_token`, `invalid_grant`, `unsupported_grant_type`, `invalid_request`, \
               `invalid_scope`, `invalid_target`"),
              (status = 429, body = ErrorBody, description = "of token exchange: the token's window, or its owner's \
               `RATE_LIMIT_TOKEN_EXCHANGE`, is full")))]
pub(super) async fn token(
    State(auth): State<Arc<AuthService>>,
    failures: Failures,
    Extension(context): Extension<Arc<Context>>,
    request: Result<web::Form<Vec<(String, String)>>, ApiError>,
) -> Result<Response, OAuthError> {
    let request = TokenRequest::read(request?.0)?;
    match request.grant_type.as_deref() {
        Some(DEVICE_CODE_GRANT) => device_token(&auth, &context, &failures, request.device_code.as_deref()).await,
        Some(TOKEN_EXCHANGE_GRANT) => exchange_token(&auth, &context, &failures, request).await,
        Some(_) => Err(OAuthError::refused("unsupported_grant_type", "This grant_type is not supported")),
        None => Err(OAuthError::refused("invalid_request", "grant_type is required")),
    }
}

async fn exchange_token(
    auth: &AuthService,
    context: &Context,
    failures: &Failures,
    request: TokenRequest,
) -> Result<Response, OAuthError> {
    let issued_token_type = match request.requested_token_type.as_deref() {
        None | Some(ACCESS_TOKEN) => ACCESS_TOKEN,
        Some(JWT) => JWT,
        Some(_) => return Err(OAuthError::refused("invalid_request", "No token of requested_token_type is issued")),
    };
    let wish = wish(request)?;
    let narrowed = match tokens::exchange(auth, context.client(), wish).await {
        Ok(narrowed) => narrowed,
        Err(NotExchanged::Subject(rejection @ (Rejection::Limited { .. } | Rejection::Unavailable(_)))) => {
            return Err(OAuthError::Api(rejected(auth, context, rejection)));
        }
        // RFC 8693 §2.2.2: a subject_token that is not good is an invalid_request.
        Err(NotExchanged::Subject(rejection)) => {
            failures.count(auth, context).await?;
            return Err(OAuthError::refused("invalid_request", rejected(auth, context, rejection).message()));
        }
        Err(NotExchanged::NoToken) => {
            return Err(OAuthError::refused("invalid_request", "subject_token must be a personal access token"));
        }
        Err(NotExchanged::Wider) => {
            return Err(OAuthError::refused("invalid_scope", "The subject_token does not have all of this scope"));
        }
        Err(NotExchanged::TooLong) => {
            return Err(OAuthError::refused(
                "invalid_request",
                "The token would be too long; name less of scope or audience",
            ));
        }
        Err(NotExchanged::Limited { quota, retry_at }) => {
            let error = limits::refused(auth, context, quota, auth.config.limits.exchanges, retry_at);
            return Err(OAuthError::Api(error));
        }
        Err(NotExchanged::Failed(error)) => return Err(OAuthError::Api(error)),
    };
    let reply = TokenExchangeReply {
        access_token: narrowed.jwt,
        issued_token_type: issued_token_type.to_owned(),
        token_type: "Bearer".to_owned(),
        expires_in: narrowed.expires_in.as_secs(),
        scope: narrowed.scope.to_string(),
    };
    Ok((UNCACHED, Json(reply)).into_response())
}

/// RFC 8693 §2.1.
fn wish(request: TokenRequest) -> Result<Exchange, OAuthError> {
    let refused = |error, what: &str| Err(OAuthError::refused(error, what));
    if request.actor_token.is_some() || request.actor_token_type.is_some() {
        return refused("invalid_request", "actor_token is not supported: the subject_token itself acts");
    }
    let Some(subject) = request.subject_token else { return refused("invalid_request", "subject_token is required") };
    match request.subject_token_type.as_deref() {
        Some(ACCESS_TOKEN) => {}
        Some(_) => return refused("invalid_request", "No subject_token_type but access_token is taken"),
        None => return refused("invalid_request", "subject_token_type is required"),
    }
    let scope = request.scope.map(|text| text.parse::<Scopes>()).transpose();
    let scope = scope.map_err(|error| OAuthError::refused("invalid_scope", format!("scope {error}")))?;
    let seconds = request.expires_in.map_or(Some(DEFAULT_SECONDS), |text| text.parse().ok());
    let Some(seconds) = seconds.filter(|seconds| SECONDS.contains(seconds)) else {
        return refused("invalid_request", "expires_in must be between 60 and 3600 seconds");
    };
    let is_name =
        |target: &String| target.len() <= MAX_TARGET_BYTES && target.bytes().all(|byte| byte.is_ascii_graphic());
    let is_uri = |target: &String| Url::parse(target).is_ok_and(|uri| uri.fragment().is_none());
    if !request.resource.iter().all(is_uri) {
        return refused("invalid_target", "resource must be an absolute URI without a fragment");
    }
    let mut audience = request.audience;
    audience.extend(request.resource);
    if audience.len() > MAX_TARGETS || !audience.iter().all(is_name) {
        return refused("invalid_target", "Name at most 8 targets, each of at most 256 printable ASCII characters");
    }
    Ok(Exchange { subject, scope, audience, lifetime: Duration::from_secs(seconds) })
}
