//! Reading what a client sent, with an answer for everything it should not have sent.

use std::pin::{Pin, pin};

use auth_api::ErrorCode;
use axum::body::Bytes;
use axum::extract::rejection::FormRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use http_body::Body;
use http_body_util::BodyExt as _;
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
        let (parts, body) = request.into_parts();
        read_json(&parts.headers, body).await.map(Self)
    }
}

/// What [`Json`] reads, for a handler that is called without a router.
///
/// # Errors
///
/// The rejections of [`Json`].
pub async fn read_json<T, B>(headers: &HeaderMap, body: B) -> Result<T, ApiError>
where
    T: DeserializeOwned,
    B: Body<Data = Bytes>,
{
    require_json(headers)?;
    parse_object(&read(body).await?)
}

/// A JSON body of any shape that `T` reads, a list among them; otherwise like [`Json`].
pub struct AnyJson<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for AnyJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        require_json(request.headers())?;
        parse(&read(request.into_body()).await?).map(Self)
    }
}

/// A JSON body, or `T::default()` where the body is empty.
pub struct JsonOrDefault<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for JsonOrDefault<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let is_json = require_json(request.headers());
        let body = read(request.into_body()).await?;
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
        content_type(request.headers())?;
        let mut whole = Request::post(request.uri().clone());
        if let Some(headers) = whole.headers_mut() {
            headers.clone_from(request.headers());
        }
        let body = read(request.into_body()).await?;
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

/// The one `Content-Type` of a request. Of two, whoever stands before us may have read the other one.
///
/// # Errors
///
/// 415 if there are several.
pub fn content_type(headers: &HeaderMap) -> Result<Option<&HeaderValue>, ApiError> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(ApiError::new(ErrorCode::UnsupportedMediaType, "Send one Content-Type"));
    }
    Ok(first)
}

fn require_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let media_type = content_type(headers)?;
    if media_type.is_some_and(|value| value == "application/json") {
        return Ok(());
    }
    let media_type = media_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
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

async fn read<B: Body<Data = Bytes>>(body: B) -> Result<Bytes, ApiError> {
    let mut body = pin!(body);
    let Some(first) = read_piece(body.as_mut(), MAX_BODY_BYTES).await? else { return Ok(Bytes::new()) };
    // Nearly all bodies come in one piece, which is taken as it is.
    if body.is_end_stream() {
        return Ok(first);
    }
    let mut whole = Vec::from(first);
    while let Some(piece) = read_piece(body.as_mut(), MAX_BODY_BYTES - whole.len()).await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}

/// The next piece of a body, which must not be longer than `room`.
async fn read_piece<B: Body<Data = Bytes>>(mut body: Pin<&mut B>, room: usize) -> Result<Option<Bytes>, ApiError> {
    while let Some(frame) = body.frame().await {
        // A connection that broke, for which nobody waits for an answer.
        let frame = frame.map_err(|_| ApiError::new(ErrorCode::InvalidJson, "The body could not be read"))?;
        match frame.into_data() {
            Ok(piece) if piece.len() > room => {
                return Err(ApiError::new(ErrorCode::PayloadTooLarge, "The body exceeds 64 KiB"));
            }
            Ok(piece) => return Ok(Some(piece)),
            // Trailers say nothing here.
            Err(_) => {}
        }
    }
    Ok(None)
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

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn read_pieces(pieces: &[Option<usize>]) -> Result<usize, ErrorCode> {
        let piece = |length: &Option<usize>| match length {
            Some(length) => Ok(Bytes::from(vec![b'x'; *length])),
            None => Err("the connection broke"),
        };
        let body = axum::body::Body::from_stream(stream::iter(pieces.iter().map(piece).collect::<Vec<_>>()));
        read(body).await.map(|whole| whole.len()).map_err(|error| error.code())
    }

    #[tokio::test]
    async fn a_body_is_read_whole_in_however_many_pieces_it_comes() {
        for (pieces, expected) in [
            (&[][..], 0),
            (&[Some(5)], 5),
            (&[Some(0), Some(3), Some(0), Some(4)], 7),
            (&[Some(MAX_BODY_BYTES)], MAX_BODY_BYTES),
            (&[Some(1), Some(MAX_BODY_BYTES - 1)], MAX_BODY_BYTES),
        ] {
            assert_eq!(read_pieces(pieces).await, Ok(expected), "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn neither_a_long_body_nor_a_broken_one_is_read() {
        let many = vec![Some(1); MAX_BODY_BYTES + 1];
        for pieces in [&[Some(MAX_BODY_BYTES + 1)][..], &[Some(MAX_BODY_BYTES), Some(1)], &many] {
            assert_eq!(read_pieces(pieces).await, Err(ErrorCode::PayloadTooLarge));
        }
        assert_eq!(read_pieces(&[None]).await, Err(ErrorCode::InvalidJson));
        assert_eq!(read_pieces(&[Some(1), None]).await, Err(ErrorCode::InvalidJson));
    }
}
