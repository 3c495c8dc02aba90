//! `GET` and `POST /graphql`.

use std::sync::Arc;

use async_graphql::Variables;
use auth_api::ErrorCode;
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;
use web::{ApiError, Context, RequestContext};

use super::accept::{MediaType, wants_html};
use super::authenticate::{Rejection, Shown};
use super::operation::{Body, Operation, QueryString};
use super::reply::{Answer, Writer};
use super::{Backend, console};
use crate::caller::Caller;
use crate::document::{Budget, Read};
use crate::error::{self, CodedError};

/// The route's path.
pub(super) const PATH: &str = "/graphql";

/// Operations and mutations, one or a batch.
pub(super) async fn post(
    State(backend): State<Arc<Backend>>,
    Extension(context): RequestContext,
    request: Request,
) -> Result<Response, ApiError> {
    answer(&backend, &context, request).await
}

/// What [`post`] answers, for whoever calls it without a router.
pub(super) async fn answer(backend: &Backend, context: &Context, request: Request) -> Result<Response, ApiError> {
    let shown = Shown::by(request.headers());
    let writer = Writer { media_type: MediaType::accepted(request.headers()), request_id: &context.request_id };
    let mut budget = Budget::default();
    Ok(match Body::read(request).await? {
        Body::One(operation) => {
            let answer = backend.answer(backend.prepare(operation, &mut budget), shown, context).await;
            answer.map_or_else(|rejection| writer.rejected(*rejection), |answer| writer.one(answer))
        }
        Body::Batch(operations) => {
            let prepare = |operation| backend.prepare(operation, &mut budget);
            let answers = backend.answer_all(operations.into_iter().map(prepare).collect(), shown, context).await;
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
    let operation = backend.prepare(operation, &mut Budget::default());
    // A link that somebody is made to follow must not change anything.
    if operation.as_ref().is_ok_and(Prepared::is_mutation) {
        let error = error::new(ErrorCode::MethodNotAllowed.as_str(), "Mutations are taken by POST only");
        let mut response = writer.refused(StatusCode::METHOD_NOT_ALLOWED, error);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return Ok(response);
    }
    let answer = backend.answer(operation, Shown::by(&headers), &context).await;
    Ok(answer.map_or_else(|rejection| writer.rejected(*rejection), |answer| writer.one(answer)))
}

/// An operation that is worth asking the auth service for.
struct Prepared {
    operation: Operation,
    read: Read,
}

impl Prepared {
    fn is_mutation(&self) -> bool {
        self.read.document.is_mutation(self.operation.name.as_deref())
    }

    fn wants_me(&self) -> bool {
        self.read.document.selects(self.operation.name.as_deref(), "me")
    }
}

impl Backend {
    fn prepare(&self, operation: Operation, budget: &mut Budget) -> Result<Prepared, CodedError> {
        let read = self.documents.read(&operation.query, budget)?;
        Ok(Prepared { operation, read })
    }

    /// Finds out who is calling and executes the operation, unless it was refused: that needs nobody's vouching.
    async fn answer(
        &self,
        operation: Result<Prepared, CodedError>,
        shown: Shown,
        context: &Context,
    ) -> Result<Answer, Box<Rejection>> {
        match operation {
            Ok(prepared) => {
                let caller = self.authenticate(shown, prepared.wants_me(), context).await?;
                Ok(self.execute(prepared, caller).await)
            }
            Err(error) => Ok(Answer::refused(error)),
        }
    }

    /// The same for a batch, which is one use of the credential.
    async fn answer_all(
        &self,
        operations: Vec<Result<Prepared, CodedError>>,
        shown: Shown,
        context: &Context,
    ) -> Result<Vec<Answer>, Box<Rejection>> {
        let caller = if operations.iter().any(Result::is_ok) {
            let wants_me = operations.iter().flatten().any(Prepared::wants_me);
            self.authenticate(shown, wants_me, context).await?
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
        let Prepared { operation: Operation { query, name, variables }, read: Read { document, is_known } } = prepared;
        // Values of variables are looked at by validation only.
        let schema = if is_known && !document.has_variables() { &self.schemas.of_valid } else { &self.schemas.strict };
        // The text is not needed any more: the parsed document goes with the request.
        let mut request = async_graphql::Request::new(String::new()).data(caller);
        if let Some(variables) = variables {
            request = request.variables(Variables::from_json(Value::Object(variables)));
        }
        request.operation_name.clone_from(&name);
        request.set_parsed_query(document.parsed.clone());
        // On its own: it is some kilobytes long, and each layer around would move it about.
        let executed = Box::pin(schema.execute(request)).await;
        let answer = Answer::executed(executed, || document.root_keys(name.as_deref()));
        if !is_known && !answer.is_refusal() {
            self.documents.keep(query, document);
        }
        answer
    }
}
