//! Errors on their way to the client.

use std::time::Duration;

use auth_api::{ErrorBody, ErrorCode, FieldProblem};
use axum::response::{IntoResponse, Response};
use domain::{Scopes, Timestamp};
use http::{HeaderValue, StatusCode, header};

/// An error reply in the making. Its sentence is constant text for the client; what really happened goes to the log.
///
/// As a response it is only a status with this value in the extensions: the [`envelope`](crate::envelope) writes the
/// body, since it alone knows the request's id.
#[derive(Debug, Clone)]
pub struct ApiError {
    code: ErrorCode,
    message: std::borrow::Cow<'static, str>,
    details: Vec<FieldProblem>,
    attempts_remaining: Option<u32>,
    retry: Option<(Duration, Option<Timestamp>)>,
    wanted: Option<Box<Wanted>>,
}

/// What the caller would need.
#[derive(Debug, Clone)]
enum Wanted {
    /// These scopes; of the grammar of scopes, so they cannot break a header.
    Scope(String),
    /// A proof no older than this, by one of these.
    Proof { max_age: Duration, methods: Vec<&'static str> },
}

impl ApiError {
    /// An error with a sentence for a person.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), details: Vec::new(), attempts_remaining: None, retry: None, wanted: None }
    }

    /// 400: one field is not what it should be.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers hand over errors of many types, which they are done with"
    )]
    pub fn validation(path: &str, message: impl ToString) -> Self {
        let problem = FieldProblem { path: path.to_owned(), message: message.to_string() };
        Self { details: vec![problem], ..Self::new(ErrorCode::ValidationError, "The request is not valid") }
    }

    /// 401: there is no credential, or none that is accepted here.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(ErrorCode::Unauthorized, "Sign in or send a valid credential: Authorization: Bearer …")
    }

    /// 403: the caller is known, and may not do what these scopes name (RFC 6750 §3.1).
    #[must_use]
    pub fn insufficient_scope(required: &Scopes) -> Self {
        let required = required.to_string();
        let message = format!("This token lacks the scope {required}");
        Self { wanted: Some(Box::new(Wanted::Scope(required))), ..Self::new(ErrorCode::Forbidden, message) }
    }

    /// 401: who the caller is was proved too long ago for this (RFC 9470 §3).
    #[must_use]
    pub fn reauthentication_required(max_age: Duration, methods: Vec<&'static str>) -> Self {
        let message = "This needs a fresh proof that it is you; confirm it and try again";
        let wanted = Wanted::Proof { max_age, methods };
        Self { wanted: Some(Box::new(wanted)), ..Self::new(ErrorCode::ReauthenticationRequired, message) }
    }

    /// 404; also for what belongs to somebody else.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(ErrorCode::NotFound, "There is nothing here")
    }

    /// 429: worth trying again at `at`.
    #[must_use]
    pub fn rate_limited(message: &'static str, at: Timestamp, now: Timestamp) -> Self {
        Self::limited_elsewhere(message, at.since(now), at)
    }

    /// 429 in the words of another service: worth trying again after `wait`, which is `at` by that service's clock.
    #[must_use]
    pub fn limited_elsewhere(
        message: impl Into<std::borrow::Cow<'static, str>>,
        wait: Duration,
        at: Timestamp,
    ) -> Self {
        Self { retry: Some((wait, Some(at))), ..Self::new(ErrorCode::RateLimitExceeded, message) }
    }

    /// 500. The cause goes to the log here, and nowhere else.
    #[must_use]
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "internal error");
        Self::new(ErrorCode::InternalError, "Something went wrong on our side; the request id helps us find it")
    }

    /// 503: a part that is needed cannot be reached now. The cause goes to the log.
    #[must_use]
    pub fn unavailable(cause: &dyn std::fmt::Display) -> Self {
        tracing::warn!(%cause, "unavailable");
        Self {
            retry: Some((Duration::from_secs(1), None)),
            ..Self::new(ErrorCode::Unavailable, "The service cannot answer right now; try again shortly")
        }
    }

    /// Adds how many guesses are left.
    #[must_use]
    pub fn with_attempts_remaining(self, attempts: u32) -> Self {
        Self { attempts_remaining: Some(attempts), ..self }
    }

    /// How many guesses are left, where they are counted.
    #[must_use]
    pub const fn attempts_remaining(&self) -> Option<u32> {
        self.attempts_remaining
    }

    /// What a program decides by.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// The sentence for a person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Seconds until it is worth trying again, rounded up so that a client that waits them is never early.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry.map(|(wait, _)| wait.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX))
    }

    /// The whole reply, for services without an [`envelope`](crate::envelope).
    #[must_use]
    pub fn render(self, request_id: &str) -> Response {
        let retry_after = self.retry_after_seconds();
        let limited = self.code == ErrorCode::RateLimitExceeded;
        let proof = match self.wanted.as_deref() {
            Some(Wanted::Proof { max_age, methods }) => Some((max_age, methods)),
            _ => None,
        };
        let body = ErrorBody {
            error: self.message.clone().into_owned(),
            code: self.code,
            request_id: request_id.to_owned(),
            details: self.details.clone(),
            attempts_remaining: self.attempts_remaining,
            retry_after: retry_after.filter(|_| limited),
            reset_at: self.retry.and_then(|(_, at)| at),
            methods: proof.map(|(_, methods)| methods.iter().map(|method| (*method).to_owned()).collect()),
            max_age: proof.map(|(max_age, _)| max_age.as_secs()),
        };
        let mut response = (self.status(), axum::Json(body)).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = self.challenge() {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// RFC 6750 §3: a request without a credential is told the scheme only, one with a bad credential also why.
    fn challenge(&self) -> Option<HeaderValue> {
        match self.wanted.as_deref() {
            Some(Wanted::Scope(scope)) => {
                let challenge =
                    format!(r#"Bearer realm="alternatefutures", error="insufficient_scope", scope="{scope}""#);
                return HeaderValue::try_from(challenge).ok();
            }
            // RFC 9470 §3.
            Some(Wanted::Proof { max_age, .. }) => {
                let description = "A more recent authentication is required";
                let challenge = format!(
                    r#"Bearer error="insufficient_user_authentication", error_description="{description}", max_age={}"#,
                    max_age.as_secs()
                );
                return HeaderValue::try_from(challenge).ok();
            }
            None => {}
        }
        let challenge = match self.code {
            ErrorCode::Unauthorized => r#"Bearer realm="alternatefutures""#,
            ErrorCode::TokenExpired => {
                r#"Bearer realm="alternatefutures", error="invalid_token", error_description="The token has expired""#
            }
            _ if self.code.status() == 401 => r#"Bearer realm="alternatefutures", error="invalid_token""#,
            ErrorCode::Forbidden => r#"Bearer realm="alternatefutures", error="insufficient_scope""#,
            _ => return None,
        };
        Some(HeaderValue::from_static(challenge))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The answer for paths that do not exist.
pub async fn not_found() -> ApiError {
    ApiError::not_found()
}

/// The answer for a known path with another method; axum adds `Allow`.
pub async fn method_not_allowed() -> ApiError {
    ApiError::new(ErrorCode::MethodNotAllowed, "This path does not take that method")
}
