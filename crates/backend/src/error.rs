//! Errors in GraphQL's shape: a sentence for a person, and `extensions.code` for a program.

use async_graphql::{ErrorExtensionValues, ServerError, Value};
use auth_api::{ErrorBody, ErrorCode};
use auth_client::CallError;
use serde::Serialize;

/// No credential, or one that the auth service does not accept.
pub(crate) const UNAUTHENTICATED: &str = "UNAUTHENTICATED";
/// The auth service cannot be asked.
pub(crate) const AUTH_SERVICE_UNAVAILABLE: &str = "AUTH_SERVICE_UNAVAILABLE";
/// The document is not GraphQL.
pub(crate) const GRAPHQL_PARSE_FAILED: &str = "GRAPHQL_PARSE_FAILED";
/// The document does not fit the schema.
pub(crate) const GRAPHQL_VALIDATION_FAILED: &str = "GRAPHQL_VALIDATION_FAILED";
/// The document would cost more than one request may.
pub(crate) const QUERY_TOO_COMPLEX: &str = "QUERY_TOO_COMPLEX";

/// An error without a place in the document.
pub(crate) fn new(code: &str, message: impl Into<String>) -> CodedError {
    let mut error = ServerError::new(message, None);
    set(&mut error, "code", code);
    CodedError(error)
}

/// An argument outside its bounds, under the code that the auth service has for the same.
pub(crate) fn validation(path: &str, message: impl std::fmt::Display) -> CodedError {
    new(ErrorCode::ValidationError.as_str(), format!("{path}: {message}"))
}

/// What went wrong with a call to the auth service, in its own words where it had any.
pub(crate) fn of_call(error: CallError) -> async_graphql::Error {
    match error {
        CallError::Refused(body) => refused(*body).into(),
        // Its cause was logged where it happened; clients are not told where the service is or why it fails.
        CallError::Unavailable(_) => unavailable().into(),
    }
}

/// The auth service cannot be asked.
pub(crate) fn unavailable() -> CodedError {
    new(AUTH_SERVICE_UNAVAILABLE, "The authentication service cannot be reached right now; try again shortly")
}

fn refused(body: ErrorBody) -> CodedError {
    let mut error = new(body.code.as_str(), body.error);
    if let Some(seconds) = body.retry_after {
        error = error.with("retryAfter", &seconds);
    }
    if let Some(at) = body.reset_at {
        error = error.with("resetAt", &at);
    }
    if let Some(methods) = &body.methods {
        error = error.with("methods", methods);
    }
    if let Some(seconds) = body.max_age {
        error = error.with("maxAge", &seconds);
    }
    if !body.details.is_empty() {
        error = error.with("details", &body.details);
    }
    error
}

/// An error that is known to carry a code.
#[derive(Debug)]
pub(crate) struct CodedError(ServerError);

impl CodedError {
    /// Adds `extensions.NAME`.
    pub(crate) fn with(mut self, name: &str, value: &impl Serialize) -> Self {
        let json = serde_json::to_value(value).unwrap_or_default();
        if let Ok(value) = Value::from_json(json) {
            set(&mut self.0, name, value);
        }
        self
    }

    /// Says where in the document.
    pub(crate) fn at(mut self, position: impl IntoIterator<Item = async_graphql::Pos>) -> Self {
        self.0.locations.extend(position);
        self
    }
}

impl From<CodedError> for ServerError {
    fn from(error: CodedError) -> Self {
        error.0
    }
}

impl From<CodedError> for async_graphql::Error {
    fn from(error: CodedError) -> Self {
        Self { message: error.0.message, source: None, extensions: error.0.extensions }
    }
}

/// Sets `extensions.NAME` of an error that the executor made.
pub(crate) fn set(error: &mut ServerError, name: &str, value: impl Into<Value>) {
    error.extensions.get_or_insert_with(ErrorExtensionValues::default).set(name, value);
}

/// Whether the error says what kind it is.
pub(crate) fn has_code(error: &ServerError) -> bool {
    error.extensions.as_ref().is_some_and(|extensions| extensions.get("code").is_some())
}
