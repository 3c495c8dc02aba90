//! Replies in GraphQL's shape, with the statuses of GraphQL over HTTP.

use async_graphql::{Name, PathSegment, Response as Executed, ServerError, Value};
use auth_api::ErrorCode;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::accept::MediaType;
use super::authenticate::Rejection;
use crate::error::{self, CodedError};
use crate::schema::TOO_COMPLEX_MESSAGE;

/// The answer to one operation.
#[derive(Serialize)]
pub(super) struct Answer {
    /// Absent, not null, where nothing was executed (GraphQL §7.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ServerError>,
}

impl Answer {
    /// The answer to an operation that was not executed.
    pub(super) fn refused(error: CodedError) -> Self {
        Self { data: None, errors: vec![error.into()] }
    }

    /// What the executor says, made fit for GraphQL and the contract: fields in the order of the query (`keys`), null
    /// where an error takes it along, a code on every error.
    pub(super) fn executed(Executed { mut data, mut errors, .. }: Executed, keys: impl FnOnce() -> Vec<Name>) -> Self {
        // An error of execution happened at some field; those of validation have no path.
        let was_refused = data == Value::Null && !errors.is_empty() && errors.iter().all(|error| error.path.is_empty());
        if errors.iter().any(|error| took_all_along(error, &data)) {
            data = Value::Null;
        }
        if let Value::Object(fields) = &mut data
            && fields.len() > 1
        {
            // The executor puts them in the order in which they were ready.
            let keys = keys();
            fields.sort_by_cached_key(|field, _| keys.iter().position(|key| key == field));
        }
        for error in errors.iter_mut().filter(|error| !error::has_code(error)) {
            let code = match error.message.as_str() {
                TOO_COMPLEX_MESSAGE => error::QUERY_TOO_COMPLEX,
                _ if was_refused => error::GRAPHQL_VALIDATION_FAILED,
                // What fields fail with has a code; what is left is an argument that its type does not take.
                _ => ErrorCode::ValidationError.as_str(),
            };
            error::set(error, "code", code);
        }
        Self { data: (!was_refused).then_some(data), errors }
    }

    /// Whether nothing was executed.
    pub(super) fn is_refusal(&self) -> bool {
        self.data.is_none()
    }
}

/// Whether the error's field is one that cannot be null.
///
/// The executor leaves such a field out; by GraphQL §6.4.4 its parent becomes null. Only fields of the roots can fail
/// here, and their parent is the data as a whole.
fn took_all_along(error: &ServerError, data: &Value) -> bool {
    match (error.path.first(), data) {
        (Some(PathSegment::Field(key)), Value::Object(data)) => !data.contains_key(key.as_str()),
        _ => false,
    }
}

/// How to write the reply of one request.
pub(super) struct Writer<'r> {
    pub(super) media_type: MediaType,
    pub(super) request_id: &'r str,
}

impl Writer<'_> {
    /// The reply to a single operation.
    pub(super) fn one(&self, mut answer: Answer) -> Response {
        let status = match self.media_type {
            MediaType::GraphQlResponse if answer.is_refusal() => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        };
        self.sign(&mut answer);
        self.write(status, &answer)
    }

    /// The reply to a batch: 200, whatever became of each.
    pub(super) fn batch(&self, mut answers: Vec<Answer>) -> Response {
        for answer in &mut answers {
            self.sign(answer);
        }
        self.write(StatusCode::OK, &answers)
    }

    /// The reply to a caller who is not let in.
    pub(super) fn rejected(&self, rejection: Rejection) -> Response {
        let mut response = self.refused(rejection.status, rejection.error);
        response.headers_mut().extend(rejection.headers);
        response
    }

    /// A reply about the request as a whole.
    pub(super) fn refused(&self, status: StatusCode, error: CodedError) -> Response {
        let mut answer = Answer::refused(error);
        self.sign(&mut answer);
        self.write(status, &answer)
    }

    /// Whoever reports an error can say under which id it is in the log.
    fn sign(&self, answer: &mut Answer) {
        for error in &mut answer.errors {
            error::set(error, "requestId", self.request_id);
        }
    }

    fn write(&self, status: StatusCode, body: &impl Serialize) -> Response {
        let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type.as_str()))];
        match serde_json::to_vec(body) {
            Ok(json) => (status, content_type, json).into_response(),
            Err(error) => web::ApiError::internal(&error).into_response(),
        }
    }
}
