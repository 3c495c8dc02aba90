//! `GET /.well-known/jwks.json`: the public keys, for those who verify offline.

use std::sync::Arc;

use auth_api::ErrorBody;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use web::ApiError;

use super::limits::Relaxed;
use crate::keys::JwkSet;
use crate::{AuthService, internal};

/// Verifiers may keep the keys for five minutes; for a key id that they do not know they ask again.
const CACHING: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// The public keys of access and narrowed JWTs (RFC 7517, RFC 8037), newest first. Whoever verifies by them does not
/// learn that a session or token has been ended; `/forward-auth` and `/oauth/introspect` do.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "guard", security(()),
    responses((status = 200, body = JwkSet), (status = 304, description = "as `If-None-Match` has it"),
              (status = 429, body = ErrorBody)))]
pub(super) async fn jwks(
    State(auth): State<Arc<AuthService>>,
    _: Relaxed,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let at = auth.clock.moment();
    auth.validator.ensure_keys_are_current(at).await.map_err(internal)?;
    let set = auth.validator.keys.public_keys(at.wall);
    let etag = HeaderValue::try_from(set.etag()).map_err(|error| ApiError::internal(&error))?;
    let caching = [(header::CACHE_CONTROL, CACHING), (header::ETAG, etag.clone())];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == etag) {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    Ok((caching, axum::Json(set)).into_response())
}
