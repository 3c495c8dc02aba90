//! `/oauth/*` in the words of the RFCs: forms in, JSON with underscores out, errors as RFC 6749 §5.2 has them.

use auth_api::OAuthErrorReply;
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use web::ApiError;

/// An error of these routes.
pub(super) enum OAuthError {
    /// 400 with a code of RFC 6749 §5.2 or RFC 8628 §3.5.
    Refused(&'static str, String),
    /// What every route may answer: too many requests, or our own failure.
    Api(ApiError),
}

impl OAuthError {
    pub(super) fn refused(error: &'static str, description: impl Into<String>) -> Self {
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
pub(super) const UNCACHED: [(header::HeaderName, HeaderValue); 2] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::PRAGMA, HeaderValue::from_static("no-cache")),
];
