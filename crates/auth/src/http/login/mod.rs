//! `/login`: the page on which somebody lets a program in, or refuses it. For people without an app that does it for
//! them by `POST /auth/cli/approve`.
//!
//! No cookie says who somebody is. They prove it on the page, with a code by e-mail and their second factor if they have
//! one, and the page that follows carries a secret in its form that decides once, about this pairing, within five
//! minutes. A form on another site lacks it; and browsers say from where a form was sent, so that nobody can be signed
//! in here as somebody else unawares.

mod view;

use std::sync::Arc;
use std::time::Duration;

use auth_api::ErrorCode;
use axum::extract::{FromRequestParts, Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use domain::{EmailAddress, OneTimeSecret, PairingId, SentCode, Timestamp, UserCode};
use http::request::Parts;
use serde::Deserialize;
use store::{Decision, Pairing, PairingStatus};
use web::{ApiError, Context};

use self::view::Step;
use super::limits::{self, Relaxed, Standard, Strict};
use super::pages::Page;
use crate::pairing::{self, SignedIn};
use crate::second_factor::ShownCode;
use crate::sign_in::code::Typed;
use crate::sign_in::{code, email};
use crate::{AuthService, internal};

const DAY: Duration = Duration::from_hours(24);

/// The pages' routes. They are for people, and so not in the OpenAPI document.
pub(super) fn routes() -> Router<Arc<AuthService>> {
    Router::new()
        .route("/login", get(enter).post(find))
        .route("/login/{id}", get(show))
        .route("/login/{id}/email", post(send_code))
        .route("/login/{id}/code", post(sign_in))
        .route("/login/{id}/second-factor", post(second_factor))
        .route("/login/{id}/decide", post(decide))
}

/// The page that asks for a user code.
async fn enter(State(auth): State<Arc<AuthService>>, limit: Result<Relaxed, ApiError>) -> Page {
    match limit {
        Ok(_) => view::page(&auth, &Step::UserCode, None),
        Err(error) => view::failed(&auth, &Step::Over, None, &error),
    }
}

/// What the page that asks for a user code sends.
#[derive(Deserialize)]
struct UserCodeForm {
    user_code: String,
}

/// Go to the page of the program that shows this user code.
async fn find(
    State(auth): State<Arc<AuthService>>,
    own: Result<OwnPage, ApiError>,
    limit: Result<Strict, ApiError>,
    form: Result<web::Form<UserCodeForm>, ApiError>,
) -> Response {
    let found = async {
        own?;
        limit?;
        let web::Form(form) = form?;
        let code: UserCode = form
            .user_code
            .parse()
            .map_err(|_| ApiError::new(ErrorCode::ValidationError, "The code has eight letters, such as BCDF-GHJK"))?;
        let found = auth.store.find_pairing_by_user_code(&code, auth.clock.now()).await.map_err(internal)?;
        found.ok_or_else(|| ApiError::new(ErrorCode::NotFound, "No program waits with this code; is it still shown?"))
    };
    match found.await {
        Ok(pairing) => Redirect::to(&format!("/login/{}", pairing.id)).into_response(),
        Err(error) => view::failed(&auth, &Step::UserCode, None, &error).into_response(),
    }
}

/// The page of one program: what it is, and a form to sign in.
async fn show(State(auth): State<Arc<AuthService>>, limit: Result<Relaxed, ApiError>, Id(id): Id) -> Page {
    let pairing = async {
        limit?;
        waiting(&auth, &id).await
    };
    match pairing.await {
        Ok(pairing) => view::page(&auth, &Step::Email, Some(&pairing)),
        Err(error) => view::failed(&auth, &Step::Over, None, &error),
    }
}

/// What the page that asks for an address sends.
#[derive(Deserialize)]
struct EmailForm {
    email: String,
}

/// Send a code to whoever wants to decide.
async fn send_code(
    State(auth): State<Arc<AuthService>>,
    own: Result<OwnPage, ApiError>,
    limit: Result<Strict, ApiError>,
    Extension(context): Extension<Arc<Context>>,
    Id(id): Id,
    form: Result<web::Form<EmailForm>, ApiError>,
) -> Page {
    let pairing = match waiting(&auth, &id).await {
        Ok(pairing) => pairing,
        Err(error) => return view::failed(&auth, &Step::Over, None, &error),
    };
    let sent = async {
        own?;
        limit?;
        let web::Form(form) = form?;
        let address = address(&form.email)?;
        let has_room = limits::has_room(&auth, &format!("mailbox:{address}"), auth.config.limits.strict).await?;
        let flow = email::request(&auth, context.client(), &address, has_room).await?;
        Ok((address, flow))
    };
    match sent.await {
        Ok((address, flow)) => {
            let step = Step::Code { email: address.as_str(), flow: flow.expose(), attempts_remaining: None };
            view::page(&auth, &step, Some(&pairing))
        }
        Err(error) => view::failed(&auth, &Step::Email, Some(&pairing), &error),
    }
}

/// What the page that asks for the code sends.
#[derive(Deserialize)]
struct CodeForm {
    email: String,
    code: String,
    #[serde(default)]
    flow: String,
}

/// Sign in to the page: the reply carries the form that decides.
async fn sign_in(
    State(auth): State<Arc<AuthService>>,
    own: Result<OwnPage, ApiError>,
    limit: Result<Strict, ApiError>,
    Extension(context): Extension<Arc<Context>>,
    Id(id): Id,
    form: Result<web::Form<CodeForm>, ApiError>,
) -> Page {
    let pairing = match waiting(&auth, &id).await {
        Ok(pairing) => pairing,
        Err(error) => return view::failed(&auth, &Step::Over, None, &error),
    };
    let form = match own.and(limit).and(form) {
        Ok(web::Form(form)) => form,
        Err(error) => return view::failed(&auth, &Step::Email, Some(&pairing), &error),
    };
    let address = match address(&form.email) {
        Ok(address) => address,
        Err(error) => return view::failed(&auth, &Step::Email, Some(&pairing), &error),
    };
    let signed_in = async {
        let code: SentCode =
            form.code.parse().map_err(|_| ApiError::new(ErrorCode::ValidationError, "Enter the code that was sent"))?;
        let typed = Typed { code: &code, flow: Some(&form.flow) };
        pairing::sign_in(&auth, context.client(), &pairing.id, &address, &typed).await
    };
    match signed_in.await {
        Ok(SignedIn::MfaRequired(mfa_token)) => {
            view::page(&auth, &Step::SecondFactor { mfa_token: &mfa_token }, Some(&pairing))
        }
        Ok(SignedIn::Form(secret)) => {
            let step = Step::Decide { email: Some(address.as_str()), form: &secret, name: pairing.name.as_str() };
            view::page(&auth, &step, Some(&pairing))
        }
        // The code is dead, or the account may not decide here: another one is due.
        Err(error) if error.code() != ErrorCode::InvalidCode && error.code() != ErrorCode::ValidationError => {
            view::failed(&auth, &Step::Email, Some(&pairing), &error)
        }
        // There are no guesses left: another code is due, and the page says so at once.
        Err(error) if error.attempts_remaining() == Some(0) => {
            view::failed(&auth, &Step::Email, Some(&pairing), &code::refused_flow())
        }
        Err(error) => {
            let attempts_remaining = error.attempts_remaining();
            let step = Step::Code { email: address.as_str(), flow: &form.flow, attempts_remaining };
            view::failed(&auth, &step, Some(&pairing), &error)
        }
    }
}

/// What the page that asks for the second factor sends.
#[derive(Deserialize)]
struct SecondFactorForm {
    mfa_token: String,
    code: String,
}

/// Sign in to the page with the second factor: the reply carries the form that decides.
async fn second_factor(
    State(auth): State<Arc<AuthService>>,
    own: Result<OwnPage, ApiError>,
    limit: Result<Strict, ApiError>,
    Extension(context): Extension<Arc<Context>>,
    Id(id): Id,
    form: Result<web::Form<SecondFactorForm>, ApiError>,
) -> Page {
    let pairing = match waiting(&auth, &id).await {
        Ok(pairing) => pairing,
        Err(error) => return view::failed(&auth, &Step::Over, None, &error),
    };
    let from_the_beginning = |error: &ApiError| view::failed(&auth, &Step::Email, Some(&pairing), error);
    let form = match own.and(limit).and(form) {
        Ok(web::Form(form)) => form,
        Err(error) => return from_the_beginning(&error),
    };
    let mfa_token: OneTimeSecret = match form.mfa_token.parse() {
        Ok(token) => token,
        Err(error) => return from_the_beginning(&ApiError::validation("mfa_token", error)),
    };
    let signed_in = async {
        let code = ShownCode::read(&form.code)?;
        let admitted = pairing::admit_second(&auth, &pairing.id, &mfa_token, &code).await?;
        let form = pairing::sign_in_second(&auth, context.client(), &pairing.id, &admitted, &code).await?;
        let user = auth.store.find_user(&admitted.user_id).await.map_err(internal)?;
        Ok::<_, ApiError>((form, user.and_then(|user| user.email)))
    };
    match signed_in.await {
        Ok((form, email)) => {
            let step = Step::Decide { email: email.as_deref(), form: &form, name: pairing.name.as_str() };
            view::page(&auth, &step, Some(&pairing))
        }
        Err(error) if matches!(error.code(), ErrorCode::InvalidCode | ErrorCode::ValidationError) => {
            view::failed(&auth, &Step::SecondFactor { mfa_token: &mfa_token }, Some(&pairing), &error)
        }
        // The sign-in does not wait any more, or the account may not decide.
        Err(error) => from_the_beginning(&error),
    }
}

/// What the page that asks for the decision sends.
#[derive(Deserialize)]
struct DecisionForm {
    form: String,
    decision: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    lifetime: String,
}

/// Approve or deny.
async fn decide(
    State(auth): State<Arc<AuthService>>,
    own: Result<OwnPage, ApiError>,
    limit: Result<Standard, ApiError>,
    Extension(context): Extension<Arc<Context>>,
    Id(id): Id,
    form: Result<web::Form<DecisionForm>, ApiError>,
) -> Page {
    let pairing = match waiting(&auth, &id).await {
        Ok(pairing) => pairing,
        Err(error) => return view::failed(&auth, &Step::Over, None, &error),
    };
    let sign_in_again = |error: &ApiError| view::failed(&auth, &Step::Email, Some(&pairing), error);
    let form = match own.and(limit).and(form) {
        Ok(web::Form(form)) => form,
        Err(error) => return sign_in_again(&error),
    };
    let secret: OneTimeSecret = match form.form.parse() {
        Ok(secret) => secret,
        Err(error) => return sign_in_again(&ApiError::validation("form", error)),
    };
    let decision = match read_decision(&form, auth.clock.now()) {
        Ok(decision) => decision,
        Err(error) => {
            // The form is not spent yet.
            let step = Step::Decide { email: None, form: &secret, name: &form.name };
            return view::failed(&auth, &step, Some(&pairing), &error);
        }
    };
    match pairing::decide_by_form(&auth, context.client(), &pairing.id, &secret, &decision).await {
        Ok(()) => view::page(&auth, &Step::Done { approved: decision != Decision::Deny }, None),
        Err(error) => sign_in_again(&error),
    }
}

fn read_decision(form: &DecisionForm, now: Timestamp) -> Result<Decision, ApiError> {
    let days = match (form.decision.as_str(), form.lifetime.as_str()) {
        ("deny", _) => return Ok(Decision::Deny),
        ("approve", "30") => Some(30),
        ("approve", "90") => Some(90),
        ("approve", "365") => Some(365),
        ("approve", "forever") => None,
        _ => return Err(ApiError::new(ErrorCode::ValidationError, "Choose one of what the page offers")),
    };
    let expires_at = days.map(|days: u32| now.plus(DAY * days));
    pairing::approval(Some(&form.name), expires_at, now).map(Decision::Approve)
}

/// The pairing of this page, if there is still something to decide.
async fn waiting(auth: &AuthService, id: &str) -> Result<Pairing, ApiError> {
    let unknown = || ApiError::new(ErrorCode::NotFound, "No program waits under this address");
    let id: PairingId = id.parse().map_err(|_| unknown())?;
    let pairing = auth.store.find_pairing(&id).await.map_err(internal)?.ok_or_else(unknown)?;
    if pairing.status != PairingStatus::Pending {
        return Err(ApiError::new(ErrorCode::Conflict, "This request has already been decided about"));
    }
    if pairing.expires_at <= auth.clock.now() {
        return Err(ApiError::new(ErrorCode::CodeExpired, "This request is too old; start again in the program"));
    }
    Ok(pairing)
}

fn address(text: &str) -> Result<EmailAddress, ApiError> {
    text.parse().map_err(|_| ApiError::new(ErrorCode::ValidationError, "This is not an e-mail address"))
}

/// A form that was not sent from another site's page: browsers say so (W3C Fetch Metadata). What sends no such header
/// is no browser that somebody could be lured with.
struct OwnPage;

impl<S: Send + Sync> FromRequestParts<S> for OwnPage {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match parts.headers.get("sec-fetch-site").map(http::HeaderValue::as_bytes) {
            None | Some(b"same-origin" | b"none") => Ok(Self),
            Some(_) => Err(ApiError::new(ErrorCode::Forbidden, "This form was sent from another site")),
        }
    }
}

/// The path's id. What is not even text is none.
struct Id(String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        Ok(Self(path.map(|Path(id)| id).unwrap_or_default()))
    }
}
