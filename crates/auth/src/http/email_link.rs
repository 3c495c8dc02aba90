//! The mail's link: `POST /auth/email/link` for programs, and the page with one button that the link opens.

use std::sync::Arc;

use auth_api::{EmailLinkRequest, ErrorBody, ErrorCode, SignInReply};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use domain::OneTimeSecret;
use http::HeaderMap;
use minijinja::context;
use web::{ApiError, Context};

use super::limits::{Standard, Strict};
use super::pages::{self, Page};
use crate::AuthService;
use crate::sign_in::exchange::EXCHANGE_LIFETIME;
use crate::sign_in::{email_link, exchange};

/// Sign in with the token from the mail's link.
#[utoipa::path(post, path = "/auth/email/link", tag = "sign-in", request_body = EmailLinkRequest,
    responses((status = 200, body = SignInReply), (status = 400, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub(super) async fn email_link(
    State(auth): State<Arc<AuthService>>,
    _: Strict,
    Extension(context): Extension<Arc<Context>>,
    web::Json(request): web::Json<EmailLinkRequest>,
) -> Result<Json<SignInReply>, ApiError> {
    let token = request.token.parse().map_err(|_| email_link::invalid())?;
    email_link::sign_in(&auth, context.client(), &token).await.map(Json)
}

/// The page that the mail's link opens. It asks the database nothing and changes nothing: scanners of mail follow
/// links, and must neither spend this one nor learn whether it works.
pub(super) async fn page(
    State(auth): State<Arc<AuthService>>,
    within: Result<Standard, ApiError>,
    token: Result<web::Path, ApiError>,
) -> Response {
    if let Err(error) = within.and(token.and_then(read)) {
        return Page::of_problem(&auth, &error).into_response();
    }
    let page = Page::new(&auth, "Sign in", "email_link.html", context! {});
    page.leading_to(auth.config.app_url.as_ref()).into_response()
}

/// The page's button: spends the link and takes the browser to the app with an exchange code. Where no app is
/// configured the page shows the code.
pub(super) async fn confirm(
    State(auth): State<Arc<AuthService>>,
    within: Result<Strict, ApiError>,
    headers: HeaderMap,
    token: Result<web::Path, ApiError>,
) -> Response {
    match within.and(token).and_then(|token| confirmed(&headers, token)) {
        Err(error) => Page::of_problem(&auth, &error).into_response(),
        Ok(token) => match email_link::trade(&auth, &token).await {
            Err(error) => Page::of_problem(&auth, &error).into_response(),
            Ok(code) => hand_over(&auth, &code),
        },
    }
}

/// The token, if it was our page that sent the form: somebody else's page must not sign people in unasked. Browsers
/// that do not say (Fetch Metadata came to the last of them in 2023) are believed.
pub(super) fn confirmed(headers: &HeaderMap, token: web::Path) -> Result<OneTimeSecret, ApiError> {
    if headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin") {
        return Err(ApiError::new(ErrorCode::Forbidden, "Open the link from your mail and use the button there"));
    }
    read(token)
}

/// The secret in the path of a page.
pub(super) fn read(web::Path(token): web::Path) -> Result<OneTimeSecret, ApiError> {
    token.parse().map_err(|_| ApiError::not_found())
}

fn hand_over(auth: &AuthService, code: &OneTimeSecret) -> Response {
    if let Some(app) = auth.config.app_url.as_ref() {
        return pages::redirect(&exchange::with_code(app, code));
    }
    let (code, seconds) = (code.expose(), EXCHANGE_LIFETIME.as_secs());
    Page::new(auth, "Almost there", "one_time_code.html", context! { code, seconds }).into_response()
}
