//! `/forward-auth`: the question that a proxy asks about each request before it passes it on.

use std::sync::Arc;

use auth_api::{CredentialKind, ErrorBody, ErrorCode};
use axum::Json;
use axum::response::{IntoResponse, Response};
use domain::{Scope, Scopes};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use url::form_urlencoded;
use web::{ApiError, Context, NoBearer, bearer};

use super::caller::rejected;
use super::limits::{self, Route};
use super::plain_path::is_plain;
use crate::AuthService;
use crate::tokens::{Audience, Credential, Rejection, Validated};

/// The route's path.
pub(super) const PATH: &str = "/forward-auth";

const USER_ID: HeaderName = HeaderName::from_static("x-auth-user-id");
const TOKEN_ID: HeaderName = HeaderName::from_static("x-auth-token-id");
const KIND: HeaderName = HeaderName::from_static("x-auth-kind");
const SCOPES: HeaderName = HeaderName::from_static("x-auth-scopes");
/// The target of the end user's request, as Caddy and Traefik send it, and nginx if told to.
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
/// With a refusal: why.
const REASON: HeaderName = HeaderName::from_static("x-auth-reason");

/// May this request pass? For proxies: nginx `auth_request`, Caddy `forward_auth`, Traefik `forwardAuth`, Envoy
/// `ext_authz`; see `docs/guard`. Takes every method and no body. Counts the request in the credential's window.
#[utoipa::path(get, path = "/forward-auth", tag = "guard",
    params(("scope" = Option<String>, Query, description = "scopes, separated by spaces, all of which the credential \
            has to have; may be repeated"),
           ("audience" = Option<String>, Query, description = "for whom the proxy asks; a credential that was narrowed \
            to an audience is good only where that is named"),
           ("nginx" = Option<String>, Query, description = "`1`: 403 in the place of 429 and 400, since nginx knows no others"),
           ("paths" = Option<String>, Query, description = "`any`: paths that servers read in different ways pass, too"),
           ("uri" = Option<String>, Query, description = "ends the query: what follows is the end user's, of which only \
            the path is looked at")),
    responses((status = 200, description = "it may: `X-Auth-User-Id`, `X-Auth-Token-Id`, `X-Auth-Kind`, `X-Auth-Scopes`"),
              (status = 400, body = ErrorBody, description = "the query is not as above, so nothing passes; or the path \
               of the end user's request (`X-Forwarded-Uri`, `uri`) is one that servers read in different ways"),
              (status = 401, body = ErrorBody), (status = 429, body = ErrorBody), (status = 503, body = ErrorBody),
              (status = 403, body = ErrorBody, description = "`X-Auth-Reason`: `insufficient_scope`, `ip_not_allowed`, \
               and with `nginx=1` `rate_limited`, `ambiguous_path`")))]
pub(super) async fn forward_auth(auth: &Arc<AuthService>, context: &Context, request: &Parts) -> Response {
    let asked = match Asked::read(request.uri.query().unwrap_or_default()) {
        Ok(asked) => asked,
        Err(problem) => return problem.into_response(),
    };
    let decided = match ambiguous(&asked, &request.headers) {
        None => decide(auth, context, request, &asked).await,
        Some(refusal) => Err(refusal),
    };
    match decided {
        Ok(credential) => passed(&credential),
        Err(refusal) => refusal.into_response(asked.for_nginx, context),
    }
}

/// What the proxy wants to know.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked<'q> {
    required: Vec<Scope>,
    audience: Option<String>,
    for_nginx: bool,
    any_path: bool,
    /// What Envoy has appended; empty where it is another proxy that asks.
    target: &'q str,
}

impl<'q> Asked<'q> {
    /// A query that is not understood lets nothing pass: `scpe=` must not mean that none is needed.
    fn read(query: &'q str) -> Result<Self, ApiError> {
        let mut asked = Self::default();
        // Envoy can only append the path and query of the end user's request, so they are not to be read as ours.
        let mut ours = query;
        if let Some(target) = query.strip_prefix("uri=") {
            (ours, asked.target) = ("", target);
        } else if let Some(both) = query.split_once("&uri=") {
            (ours, asked.target) = both;
        }
        for (name, value) in form_urlencoded::parse(ours.as_bytes()) {
            match name.as_ref() {
                "scope" => {
                    let scopes: Scopes = value.parse().map_err(|error| ApiError::validation("scope", error))?;
                    asked.required.extend(scopes.iter().cloned());
                }
                "audience" if !value.is_empty() && asked.audience.is_none() => {
                    asked.audience = Some(value.into_owned());
                }
                "audience" => return Err(ApiError::validation("audience", "must be there once, and not empty")),
                "nginx" if value == "1" => asked.for_nginx = true,
                "nginx" => return Err(ApiError::validation("nginx", "must be 1, or left out")),
                "paths" if value == "any" => asked.any_path = true,
                "paths" => return Err(ApiError::validation("paths", "must be any, or left out")),
                // Without `=`, as Caddy writes it.
                "uri" => break,
                _ => return Err(ApiError::validation(&name, "is no parameter of this route")),
            }
        }
        Ok(asked)
    }
}

/// A path that the proxy may have read otherwise than the API will is refused whatever scope is asked for: the scope
/// that it ought to have asked for may be another one.
fn ambiguous(asked: &Asked<'_>, headers: &HeaderMap) -> Option<Refusal> {
    let mut targets = headers.get_all(FORWARDED_URI).iter().map(HeaderValue::as_bytes);
    if asked.any_path || ((asked.target.is_empty() || is_plain(asked.target.as_bytes())) && targets.all(is_plain)) {
        return None;
    }
    let error = ApiError::validation("path", "can be read in more than one way");
    Some(Refusal { error, reason: Some("ambiguous_path") })
}

struct Refusal {
    error: ApiError,
    reason: Option<&'static str>,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        let reason = (error.code() == ErrorCode::RateLimitExceeded).then_some("rate_limited");
        Self { error, reason }
    }
}

async fn decide(
    auth: &Arc<AuthService>,
    context: &Context,
    parts: &Parts,
    asked: &Asked<'_>,
) -> Result<Arc<Credential>, Refusal> {
    let presented = match bearer(&parts.headers) {
        Ok(presented) => presented,
        // Whoever shows nothing guesses nothing: a browser's first visit.
        Err(NoBearer::Absent) => return Err(ApiError::unauthorized().into()),
        Err(NoBearer::Malformed) => return Err(failed(auth, context, ApiError::unauthorized(), None).await),
    };
    let audience = asked.audience.as_deref().map_or(Audience::General, Audience::Named);
    let Validated { credential, quota } = match auth.validator.validate(presented, audience, context.client()).await {
        Ok(validated) => validated,
        Err(Rejection::IpNotAllowed) => {
            let error = ApiError::new(ErrorCode::Forbidden, "This token may not be used from this address");
            return Err(failed(auth, context, error, Some("ip_not_allowed")).await);
        }
        Err(rejection @ (Rejection::Limited { .. } | Rejection::Unavailable(_))) => {
            return Err(rejected(auth, context, rejection).into());
        }
        Err(rejection) => return Err(failed(auth, context, rejected(auth, context, rejection), None).await),
    };
    context.note_caller(match credential.id.kind() {
        CredentialKind::Pat => "pat",
        CredentialKind::Session => "session",
    });
    limits::show_credential(auth, context, quota);
    match missing(&asked.required, &credential.scopes) {
        None => Ok(credential),
        Some(missing) => {
            Err(Refusal { error: ApiError::insufficient_scope(&missing), reason: Some("insufficient_scope") })
        }
    }
}

/// An attempt that failed, held to the standard limit by the end user's address.
async fn failed(auth: &AuthService, context: &Context, error: ApiError, reason: Option<&'static str>) -> Refusal {
    let counted = limits::admit_address(auth, context, &Route::named(PATH), auth.config.limits.standard).await;
    counted.map_or_else(Refusal::from, |()| Refusal { error, reason })
}

fn missing(required: &[Scope], held: &Scopes) -> Option<Scopes> {
    let missing: Vec<Scope> = required.iter().filter(|scope| !held.allow(scope.as_str())).take(32).cloned().collect();
    missing.try_into().ok()
}

/// Headers that a reply has in the end, so that there is room for all of them from the start.
const HEADERS: usize = 12;

/// The grammars of ids and scopes leave nothing that could break a header.
fn passed(credential: &Credential) -> Response {
    let kind = match credential.id.kind() {
        CredentialKind::Pat => "pat",
        CredentialKind::Session => "session",
    };
    let scopes = credential.scopes.to_string();
    let texts = [
        (USER_ID, credential.user_id.as_str()),
        (TOKEN_ID, credential.id.as_str()),
        (KIND, kind),
        (SCOPES, scopes.as_str()),
    ];
    let mut response = Response::default();
    let mut headers = HeaderMap::with_capacity(HEADERS);
    for (name, text) in texts {
        match HeaderValue::from_str(text) {
            Ok(value) => headers.insert(name, value),
            Err(error) => return ApiError::internal(&error).into_response(),
        };
    }
    *response.headers_mut() = headers;
    response
}

impl Refusal {
    fn into_response(self, for_nginx: bool, context: &Context) -> Response {
        let Self { error, reason } = self;
        let reason = reason.map(|reason| [(REASON, HeaderValue::from_static(reason))]);
        if for_nginx && matches!(error.code(), ErrorCode::RateLimitExceeded | ErrorCode::ValidationError) {
            let retry_after = error.retry_after_seconds();
            let body = ErrorBody {
                error: error.message().to_owned(),
                code: error.code(),
                request_id: context.request_id.to_string(),
                details: Vec::new(),
                attempts_remaining: None,
                retry_after,
                reset_at: None,
            };
            let wait = retry_after.map(|seconds| [(header::RETRY_AFTER, HeaderValue::from(seconds))]);
            return (StatusCode::FORBIDDEN, reason, wait, Json(body)).into_response();
        }
        (reason, error).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_is_not_understood_is_refused() {
        let query = "scope=a:b+c&scope=d&nginx=1&audience=x&paths=any&uri=/p?scope=e&scpe=f&audience=y&uri=/q";
        let asked = Asked::read(query).unwrap();
        let required = asked.required.iter().map(Scope::as_str).collect::<Vec<_>>();
        assert_eq!((required, asked.audience.as_deref(), asked.for_nginx), (vec!["a:b", "c", "d"], Some("x"), true));
        assert_eq!((asked.any_path, asked.target), (true, "/p?scope=e&scpe=f&audience=y&uri=/q"));
        for (query, target) in [("uri=/p", "/p"), ("uri=", ""), ("uri", ""), ("scope=a&uri=/p", "/p")] {
            assert_eq!(Asked::read(query).unwrap().target, target, "{query}");
        }
        assert_eq!(Asked::read("").unwrap(), Asked::default());
        for query in [
            "scope=",
            "scope",
            "scope=A",
            "scpe=a",
            "nginx=yes",
            "nginx",
            "audience=",
            "audience=a&audience=b",
            "paths=",
            "xuri=/p",
        ] {
            assert!(Asked::read(query).is_err(), "{query}");
        }
    }
}
