//! The mail's link: `POST /auth/email/link` for programs, and the page with one button that the link opens.

use std::sync::Arc;

use auth_api::{EmailLinkRequest, ErrorBody, ErrorCode, SignInReply};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use domain::OneTimeSecret;
use http::HeaderMap;
use minijinja::context;
use serde::Deserialize;
use store::MailLink;
use web::{ApiError, Context};

use super::limits::{Standard, Strict};
use super::pages::{self, Page};
use crate::AuthService;
use crate::asker::{Asker, looks_the_same, same_network};
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

/// The page that the mail's link opens. It changes nothing: scanners of mail follow links, and must neither spend this one
/// nor learn whether it has been used. It says whose account the link opens and which device asked for it, and in another
/// browser than that one, this before anything else.
pub(super) async fn page(
    State(auth): State<Arc<AuthService>>,
    within: Result<Standard, ApiError>,
    Extension(context): Extension<Arc<Context>>,
    token: Result<web::Path, ApiError>,
) -> Response {
    let link = async {
        within?;
        email_link::find(&auth, &read(token?)?).await
    };
    match link.await {
        Err(error) => Page::of_problem(&auth, &error).into_response(),
        Ok(link) => {
            let step = if looks_the_same(&link.asked_by, context.client()) { Step::SignIn } else { Step::Elsewhere };
            show(&auth, &context, &link, &step)
        }
    }
}

/// What the page's button sends: which step it was on.
#[derive(Deserialize)]
pub(super) struct Press {
    #[serde(default)]
    step: String,
}

/// The page's button: spends the link and takes the browser to the app with an exchange code. Where no app is
/// configured the page shows the code. In another browser than the one that asked it takes a second press.
pub(super) async fn confirm(
    State(auth): State<Arc<AuthService>>,
    within: Result<Strict, ApiError>,
    Extension(context): Extension<Arc<Context>>,
    headers: HeaderMap,
    token: Result<web::Path, ApiError>,
    press: Result<web::Form<Press>, ApiError>,
) -> Response {
    let pressed = async {
        let token = within.and(token).and_then(|token| confirmed(&headers, token))?;
        // A program that presses the button sends no form; what is none is no second press.
        let step = press.map(|web::Form(press)| press.step).unwrap_or_default();
        let link = email_link::find(&auth, &token).await?;
        if step != "here" && !looks_the_same(&link.asked_by, context.client()) {
            let step = if step == "ask" { Step::Ask } else { Step::Elsewhere };
            return Ok(show(&auth, &context, &link, &step));
        }
        email_link::trade(&auth, &token).await.map(|code| hand_over(&auth, &code))
    };
    pressed.await.unwrap_or_else(|error: ApiError| Page::of_problem(&auth, &error).into_response())
}

/// What the page says before its button.
enum Step {
    /// That somebody is about to be signed in.
    SignIn,
    /// That another browser asked for it.
    Elsewhere,
    /// That somebody is about to be signed in, in another browser than the one that asked.
    Ask,
}

fn show(auth: &AuthService, context: &Context, link: &MailLink, step: &Step) -> Response {
    let (step, title) = match step {
        Step::SignIn => ("sign_in", "Sign in"),
        Step::Elsewhere => ("elsewhere", "Was it you who asked?"),
        Step::Ask => ("ask", "Sign in here?"),
    };
    let shown = context! {
        step,
        email => link.subject.as_str(),
        asked => Asker::of(link.asked_by.ip, link.asked_by.user_agent.as_deref(), link.asked_at),
        same_network => same_network(link.asked_by.ip, context.client().ip),
        bound => link.challenge.is_some(),
    };
    Page::new(auth, title, "email_link.html", shown).leading_to(auth.config.app_url.as_ref()).into_response()
}

/// The token, if it was our page that sent the form: somebody else's page must not sign people in unasked. Browsers
/// that do not say (Fetch Metadata came to the last of them in 2023) are believed.
pub(super) fn confirmed(headers: &HeaderMap, token: web::Path) -> Result<OneTimeSecret, ApiError> {
    if headers.get_all("sec-fetch-site").iter().any(|site| site != "same-origin") {
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
