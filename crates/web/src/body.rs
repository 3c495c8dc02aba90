//! Reading what a client sent, with an answer for everything it should not have sent.

use auth_api::ErrorCode;
use axum::body::Bytes;
use axum::extract::rejection::FormRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::ApiError;

/// No request to either service has a reason to be longer.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// A JSON object of type `T`.
///
/// Rejections: 415 for another content type, 413 over 64 KiB, 400 `INVALID_JSON` for broken syntax, 400
/// `VALIDATION_ERROR` naming the field for the rest.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        require_json(&request)?;
        parse_object(&read(request).await?).map(Self)
    }
}

/// A JSON body of any shape that `T` reads, a list among them; otherwise like [`Json`].
pub struct AnyJson<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for AnyJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        require_json(&request)?;
        parse(&read(request).await?).map(Self)
    }
}

/// A JSON body, or `T::default()` where the body is empty.
pub struct JsonOrDefault<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for JsonOrDefault<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let is_json = require_json(&request);
        let body = read(request).await?;
        if body.is_empty() {
            return Ok(Self(T::default()));
        }
        is_json?;
        parse_object(&body).map(Self)
    }
}

/// A form, `application/x-www-form-urlencoded`, as type `T`.
///
/// Rejections: 415 for another content type, 413 over 64 KiB, 400 `VALIDATION_ERROR` for the rest; a field that is there
/// twice is one of them.
pub struct Form<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let mut whole = Request::post(request.uri().clone());
        if let Some(headers) = whole.headers_mut() {
            headers.clone_from(request.headers());
        }
        let body = read(request).await?;
        let whole = whole
            .body(body.into())
            .map_err(|_| ApiError::new(ErrorCode::ValidationError, "The form could not be read"))?;
        match axum::Form::from_request(whole, state).await {
            Ok(axum::Form(form)) => Ok(Self(form)),
            Err(FormRejection::InvalidFormContentType(_)) => Err(ApiError::new(
                ErrorCode::UnsupportedMediaType,
                "Send a form with Content-Type: application/x-www-form-urlencoded",
            )),
            Err(rejection) => {
                let message = rejection.body_text();
                let message = message.strip_prefix("Failed to deserialize form body: ").unwrap_or(&message);
                Err(ApiError::validation("", message))
            }
        }
    }
}

fn require_json(request: &Request) -> Result<(), ApiError> {
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 5
            && essence.is_char_boundary(essence.len() - 5)
            && essence[essence.len() - 5..].eq_ignore_ascii_case("+json"));
    if is_json {
        Ok(())
    } else {
        Err(ApiError::new(ErrorCode::UnsupportedMediaType, "Send JSON with Content-Type: application/json"))
    }
}

async fn read(request: Request) -> Result<Bytes, ApiError> {
    axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await.map_err(|error| {
        // The limit is told apart from a connection that broke, for which nobody waits for an answer.
        if is_too_long(&error) {
            ApiError::new(ErrorCode::PayloadTooLarge, "The body exceeds 64 KiB")
        } else {
            ApiError::new(ErrorCode::InvalidJson, "The body could not be read")
        }
    })
}

fn is_too_long(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn parse_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // serde would read an array as the fields in their order, and that order is nobody's contract.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(ApiError::validation("", "must be an object"));
    }
    parse(body)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // To know where a problem is costs more than parsing; most bodies have none.
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        match error.inner().classify() {
            serde_json::error::Category::Data => field_problem(&path, error.inner()),
            _ => invalid_json(),
        }
    })?;
    json.end().map_err(|_| invalid_json())?;
    Ok(value)
}

fn invalid_json() -> ApiError {
    ApiError::new(ErrorCode::InvalidJson, "The body is not valid JSON")
}

fn field_problem(path: &str, error: &serde_json::Error) -> ApiError {
    // "… at line 1 column 9" is true of the text and of no use to whoever sent an object.
    let message = error.to_string();
    let message = message.rfind(" at line ").map_or(message.as_str(), |end| &message[..end]);
    // A missing field is reported at its parent; name it.
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    match (path, missing) {
        ("." | "", Some(field)) => ApiError::validation(field, "is required"),
        (_, Some(field)) => ApiError::validation(&format!("{path}.{field}"), "is required"),
        (".", None) => ApiError::validation("", message),
        (_, None) => ApiError::validation(path, message),
    }
}

/// The query string as `T`; a field that does not fit is a 400 `VALIDATION_ERROR`.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => {
                let message = rejection.body_text();
                let message = message.strip_prefix("Failed to deserialize query string: ").unwrap_or(&message);
                let (path, message) = message.split_once(": ").unwrap_or(("", message));
                Err(ApiError::validation(path, message))
            }
        }
    }
}

/// The path's one variable. What is not even text names nothing: 404 `NOT_FOUND`.
pub struct Path(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Path {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(text)| Self(text)).map_err(|_| ApiError::not_found())
    }
}
