//! `GET` and `POST /graphql`.

use std::sync::Arc;

use async_graphql::{Name, Variables};
use auth_api::ErrorCode;
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;
use web::{ApiError, Context, RequestContext};

use super::accept::{MediaType, wants_html};
use super::authenticate::Rejection;
use super::operation::{Body, Operation, QueryString};
use super::reply::{Answer, Writer};
use super::{Backend, console};
use crate::caller::Caller;
use crate::document::{self, Budget};
use crate::error::{self, CodedError};

/// Operations and mutations, one or a batch.
pub(super) async fn post(
    State(backend): State<Arc<Backend>>,
    Extension(context): RequestContext,
    request: Request,
) -> Result<Response, ApiError> {
    let headers = request.headers().clone();
    let writer = Writer { media_type: MediaType::accepted(&headers), request_id: &context.request_id };
    let mut budget = Budget::default();
    Ok(match Body::read(request).await? {
        Body::One(operation) => {
            let answer = backend.answer(prepare(operation, &mut budget), &headers, &context).await;
            answer.map_or_else(|rejection| writer.rejected(*rejection), |answer| writer.one(answer))
        }
        Body::Batch(operations) => {
            let operations = operations.into_iter().map(|operation| prepare(operation, &mut budget)).collect();
            let answers = backend.answer_all(operations, &headers, &context).await;
            answers.map_or_else(|rejection| writer.rejected(*rejection), |answers| writer.batch(answers))
        }
    })
}

/// One query, or for a browser the console.
pub(super) async fn get(
    State(backend): State<Arc<Backend>>,
    Extension(context): RequestContext,
    headers: HeaderMap,
    web::Query(query): web::Query<QueryString>,
) -> Result<Response, ApiError> {
    let Some(operation) = query.operation()? else {
        if wants_html(&headers) {
            return Ok(console::page());
        }
        return Err(ApiError::validation("query", "is required"));
    };
    let writer = Writer { media_type: MediaType::accepted(&headers), request_id: &context.request_id };
    let operation = prepare(operation, &mut Budget::default());
    // A link that somebody is made to follow must not change anything.
    if operation.as_ref().is_ok_and(|prepared| prepared.is_mutation) {
        let error = error::new(ErrorCode::MethodNotAllowed.as_str(), "Mutations are taken by POST only");
        let mut response = writer.refused(StatusCode::METHOD_NOT_ALLOWED, error);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return Ok(response);
    }
    let answer = backend.answer(operation, &headers, &context).await;
    Ok(answer.map_or_else(|rejection| writer.rejected(*rejection), |answer| writer.one(answer)))
}

/// An operation that is worth asking the auth service for.
struct Prepared {
    request: async_graphql::Request,
    is_mutation: bool,
    /// The reply's keys in the order of the query.
    keys: Vec<Name>,
}

fn prepare(operation: Operation, budget: &mut Budget) -> Result<Prepared, CodedError> {
    let document = document::read(&operation.query, budget)?;
    let is_mutation = document::is_mutation(&document, operation.name.as_deref());
    let keys = document::root_keys(&document, operation.name.as_deref());
    let variables = Value::Object(operation.variables.unwrap_or_default());
    let mut request = async_graphql::Request::new(operation.query).variables(Variables::from_json(variables));
    request.operation_name = operation.name;
    request.set_parsed_query(document);
    Ok(Prepared { request, is_mutation, keys })
}

impl Backend {
    /// Finds out who is calling and executes the operation, unless it was refused: that needs nobody's vouching.
    async fn answer(
        &self,
        operation: Result<Prepared, CodedError>,
        headers: &HeaderMap,
        context: &Context,
    ) -> Result<Answer, Box<Rejection>> {
        match operation {
            Ok(prepared) => Ok(self.execute(prepared, self.authenticate(headers, context).await?).await),
            Err(error) => Ok(Answer::refused(error)),
        }
    }

    /// The same for a batch, which is one use of the credential.
    async fn answer_all(
        &self,
        operations: Vec<Result<Prepared, CodedError>>,
        headers: &HeaderMap,
        context: &Context,
    ) -> Result<Vec<Answer>, Box<Rejection>> {
        let caller = if operations.iter().any(Result::is_ok) {
            self.authenticate(headers, context).await?
        } else {
            Caller::Anonymous
        };
        let answers = operations.into_iter().map(async |operation| match operation {
            Ok(prepared) => self.execute(prepared, caller.clone()).await,
            Err(error) => Answer::refused(error),
        });
        Ok(join_all(answers).await)
    }

    async fn execute(&self, prepared: Prepared, caller: Caller) -> Answer {
        Answer::executed(self.schema.execute(prepared.request.data(caller)).await, &prepared.keys)
    }
}
