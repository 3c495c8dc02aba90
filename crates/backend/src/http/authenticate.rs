//! Who is calling: the `Authorization` header, put to the auth service. The one place that decides it.

use std::sync::Arc;

use auth_api::ErrorCode;
use auth_client::{Limited, MAX_CREDENTIAL_LENGTH, Validation};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use secrecy::SecretString;
use web::Context;

use super::Backend;
use crate::caller::{Caller, Known};
use crate::error::{self, CodedError};

/// As long as the auth client waits before it tries again after an outage.
const RETRY_AFTER_OUTAGE: HeaderValue = HeaderValue::from_static("2");

/// A request that ends here, before anything is executed.
pub(super) struct Rejection {
    pub(super) status: StatusCode,
    pub(super) error: CodedError,
    pub(super) headers: HeaderMap,
}

/// The credential that a request shows, if it shows one.
pub(super) struct Shown(Result<Option<SecretString>, Box<Rejection>>);

impl Shown {
    /// By the request's head.
    pub(super) fn by(headers: &HeaderMap) -> Self {
        Self(credential(headers))
    }
}

impl Backend {
    /// The caller. Without an `Authorization` header that is nobody; with one it is whom the auth service says, or the
    /// request is rejected. `wants_me` says whether there will be need of what `GET /auth/me` says of them.
    pub(super) async fn authenticate(
        &self,
        shown: Shown,
        wants_me: bool,
        context: &Context,
    ) -> Result<Caller, Box<Rejection>> {
        let Some(token) = shown.0? else { return Ok(Caller::Anonymous) };
        // On its own, as executing is.
        let validation = Box::pin(async {
            if wants_me {
                self.auth.validate_and_describe(&token, context.client()).await
            } else {
                self.auth.validate(&token, context.client()).await
            }
        });
        match validation.await {
            Ok(Validation::Valid(valid)) => {
                context.note_window((&valid.reply.rate_limit).into());
                context.note_caller(match valid.credential {
                    auth_client::Credential::Token(_) | auth_client::Credential::Narrowed { .. } => "pat",
                    auth_client::Credential::Session(_) => "session",
                });
                let end_user = valid.end_user(context.client().clone());
                Ok(Caller::User(Arc::new(Known { end_user, me: valid.reply.user })))
            }
            Ok(Validation::Invalid { error, .. }) => Err(invalid(error)),
            Ok(Validation::Limited(limited)) => {
                if let Some(window) = &limited.rate_limit {
                    context.note_window(window.into());
                }
                Err(too_many(&limited))
            }
            Err(_) => Err(Box::new(Rejection {
                status: StatusCode::SERVICE_UNAVAILABLE,
                error: error::unavailable(),
                headers: HeaderMap::from_iter([(header::RETRY_AFTER, RETRY_AFTER_OUTAGE)]),
            })),
        }
    }
}

/// `Bearer X` or a bare `X`. A header that is there and holds no credential is an error, not an anonymous call:
/// whoever sent it meant to be somebody.
fn credential(headers: &HeaderMap) -> Result<Option<SecretString>, Box<Rejection>> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    let malformed = || invalid("The Authorization header must be: Bearer, a space, and the token");
    if lines.next().is_some() {
        return Err(malformed());
    }
    let text = line.to_str().map_err(|_| malformed())?;
    let mut words = text.split_ascii_whitespace();
    let token = match (words.next(), words.next(), words.next()) {
        (Some(scheme), Some(token), None) if scheme.eq_ignore_ascii_case("bearer") => token,
        (Some(token), None, None) if !token.eq_ignore_ascii_case("bearer") => token,
        _ => return Err(malformed()),
    };
    if token.len() > MAX_CREDENTIAL_LENGTH {
        return Err(malformed());
    }
    Ok(Some(token.into()))
}

fn invalid(message: impl Into<String>) -> Box<Rejection> {
    let challenge = HeaderValue::from_static(r#"Bearer realm="alternatefutures", error="invalid_token""#);
    Box::new(Rejection {
        status: StatusCode::UNAUTHORIZED,
        error: error::new(error::UNAUTHENTICATED, message),
        headers: HeaderMap::from_iter([(header::WWW_AUTHENTICATE, challenge)]),
    })
}

fn too_many(limited: &Limited) -> Box<Rejection> {
    let error = error::new(ErrorCode::RateLimitExceeded.as_str(), limited.error.clone())
        .with("resetAt", &limited.reset_at)
        .with("retryAfter", &limited.retry_after);
    Box::new(Rejection {
        status: StatusCode::TOO_MANY_REQUESTS,
        error,
        headers: HeaderMap::from_iter([(header::RETRY_AFTER, limited.retry_after.into())]),
    })
}
