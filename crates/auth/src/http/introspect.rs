//! `POST /oauth/introspect` (RFC 7662): what `POST /tokens/validate` says, in the words that libraries of every
//! language know.

use std::sync::Arc;

use auth_api::{ErrorBody, IntrospectionReply, IntrospectionRequest, OAuthErrorReply};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use domain::{ClientInfo, Timestamp};
use limiter::Quota;
use web::{ApiError, Context};

use super::caller::{Service, rejected};
use super::limits;
use super::oauth_error::{OAuthError, UNCACHED};
use super::validate_reply::rate_limit;
use crate::AuthService;
use crate::keys::{Claims, ISSUER, NarrowedClaims};
use crate::tokens::{Audience, Credential, Rejection, Validated};

/// Is this token active, and whose is it? Counts the request in the token's window; over its limit, the answer is 429.
#[utoipa::path(post, path = "/oauth/introspect", tag = "guard",
    request_body(content = IntrospectionRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = IntrospectionReply, description = "exactly `{\"active\":false}` for a token that is \
               not good, for whatever reason"),
              (status = 400, body = OAuthErrorReply), (status = 401, body = ErrorBody),
              (status = 429, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(super) async fn introspect(
    State(auth): State<Arc<AuthService>>,
    Service(call): Service,
    Extension(context): Extension<Arc<Context>>,
    request: Result<web::Form<IntrospectionRequest>, ApiError>,
) -> Result<Response, OAuthError> {
    let web::Form(request) = request?;
    let token = request.token.filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| OAuthError::refused("invalid_request", "token is required"))?;
    let told = call.client.unwrap_or_default();
    let client = ClientInfo {
        // One that is no address is unknown; only one that is not there is the JWT's.
        ip: request.client_ip.map_or(told.ip, |ip| ip.parse().ok()),
        user_agent: told.user_agent,
        request_id: told.request_id.or_else(|| Some(context.request_id.to_string())),
    };
    let reply = match auth.validator.validate(&token, Audience::Told, &client).await {
        Ok(Validated { credential, quota }) => {
            limits::show_credential(&auth, &context, quota);
            active(&credential, quota)
        }
        Err(rejection @ (Rejection::Limited { .. } | Rejection::Unavailable(_))) => {
            return Err(OAuthError::Api(rejected(&auth, &context, rejection)));
        }
        // RFC 7662 §2.2: nothing more about it.
        Err(_) => IntrospectionReply::default(),
    };
    Ok((UNCACHED, Json(reply)).into_response())
}

fn active(credential: &Credential, quota: Quota) -> IntrospectionReply {
    let narrowed = credential.narrowed();
    let seconds = Timestamp::as_seconds;
    let jti = match credential.signed.as_deref().map(|signed| &signed.claims) {
        Some(Claims::Narrowed(claims)) => claims.jti.clone(),
        Some(Claims::Access(_)) | None => credential.id.as_str().to_owned(),
    };
    IntrospectionReply {
        active: true,
        sub: Some(credential.user_id.clone()),
        scope: Some(credential.scopes.to_string()),
        token_type: Some("Bearer".to_owned()),
        exp: credential.expires_at.map(seconds),
        iat: Some(seconds(credential.issued_at)),
        jti: Some(jti),
        iss: Some(ISSUER.to_owned()),
        username: credential.email.clone(),
        aud: narrowed.and_then(NarrowedClaims::audience).map(<[String]>::to_vec),
        act: narrowed.map(|claims| [("sub".to_owned(), claims.parent.to_string())].into()),
        rate_limit: Some(rate_limit(quota)),
    }
}
