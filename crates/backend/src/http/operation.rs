//! What a client asks to be executed, however it sends it: JSON, a batch of it, a multipart form, a query string.

use std::fmt;

use auth_api::ErrorCode;
use axum::extract::multipart::{Multipart, MultipartError};
use axum::extract::{FromRequest, Request};
use http::StatusCode;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use web::ApiError;

/// The most operations of one batch.
const MAX_BATCH: usize = 10;

/// One operation to execute.
#[derive(Debug, Deserialize)]
pub(super) struct Operation {
    pub(super) query: String,
    #[serde(default, rename = "operationName")]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) variables: Option<serde_json::Map<String, Value>>,
}

/// The body of a `POST`.
#[derive(Debug)]
pub(super) enum Body {
    /// One operation, answered by one reply.
    One(Operation),
    /// Up to ten, answered by as many replies in their order.
    Batch(Vec<Operation>),
}

/// Either shape, so that what is wrong with one operation is said of its field and not of the choice between them.
impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrBatch;

        impl<'de> Visitor<'de> for OneOrBatch {
            type Value = Body;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a query, or a list of at most 10 of them")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Body, A::Error> {
                Operation::deserialize(de::value::MapAccessDeserializer::new(map)).map(Body::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Body, A::Error> {
                let mut operations = Vec::new();
                while let Some(operation) = list.next_element()? {
                    if operations.len() == MAX_BATCH {
                        return Err(de::Error::invalid_length(MAX_BATCH + 1, &self));
                    }
                    operations.push(operation);
                }
                if operations.is_empty() {
                    return Err(de::Error::invalid_length(0, &self));
                }
                Ok(Body::Batch(operations))
            }
        }

        deserializer.deserialize_any(OneOrBatch)
    }
}

impl Body {
    /// Reads the body of a `POST` by its content type.
    pub(super) async fn read(request: Request) -> Result<Self, ApiError> {
        let content_type = web::content_type(request.headers())?.and_then(|value| value.to_str().ok());
        let is_form = content_type.is_some_and(|value| {
            value.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("multipart/form-data"))
        });
        if is_form {
            return read_form(request).await;
        }
        web::AnyJson::from_request(request, &()).await.map(|web::AnyJson(body)| body)
    }
}

/// The form of the GraphQL multipart request specification, as the platform's SDK sends all its requests.
///
/// `operations` is what a JSON body would be. `map` says which files belong to which variables; no field of ours takes
/// a file, so it has to be empty.
async fn read_form(request: Request) -> Result<Body, ApiError> {
    let mut form = Multipart::from_request(request, &()).await.map_err(|_| malformed_form())?;
    let mut body = None;
    while let Some(part) = form.next_field().await.map_err(|error| form_error(&error))? {
        match part.name() {
            Some("operations") if body.is_none() => {
                let json = part.bytes().await.map_err(|error| form_error(&error))?;
                body = Some(serde_json::from_slice(&json).map_err(|error| ApiError::validation("operations", error))?);
            }
            Some("map") => {
                let json = part.bytes().await.map_err(|error| form_error(&error))?;
                let map: serde_json::Map<String, Value> =
                    serde_json::from_slice(&json).map_err(|error| ApiError::validation("map", error))?;
                if !map.is_empty() {
                    return Err(ApiError::validation("map", "must be empty: no field takes a file"));
                }
            }
            name => {
                let name = name.unwrap_or_default().to_owned();
                return Err(ApiError::validation(&name, "is not a part of this form, or appears twice"));
            }
        }
    }
    body.ok_or_else(|| ApiError::validation("operations", "is required"))
}

fn form_error(error: &MultipartError) -> ApiError {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(ErrorCode::PayloadTooLarge, "The body exceeds 64 KiB"),
        _ => malformed_form(),
    }
}

fn malformed_form() -> ApiError {
    ApiError::validation("", "is not a multipart form")
}

/// The query string of a `GET`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueryString {
    query: Option<String>,
    operation_name: Option<String>,
    /// JSON.
    variables: Option<String>,
}

impl QueryString {
    /// The operation, or `None` where no query is given.
    pub(super) fn operation(self) -> Result<Option<Operation>, ApiError> {
        let Some(query) = self.query else { return Ok(None) };
        let variables = self.variables.filter(|json| !json.is_empty()).map(|json| serde_json::from_str(&json));
        let variables = variables.transpose().map_err(|error| ApiError::validation("variables", error))?;
        let name = self.operation_name.filter(|name| !name.is_empty());
        Ok(Some(Operation { query, name, variables: variables.flatten() }))
    }
}
