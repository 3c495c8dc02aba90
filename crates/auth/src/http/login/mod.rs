//! `/login`: the page on which somebody lets a program in, or refuses it. For people without an app that does it for
//! them by `POST /auth/cli/approve`.
//!
//! No cookie says who somebody is. They prove it on the page, by any way in that there is ([`ways`]) and their second factor
//! if they have one, and the page that follows carries a secret in its form that decides once, about this pairing, within five
//! minutes. A form on another site lacks it; and browsers say from where a form was sent, so that nobody can be signed
//! in here as somebody else unawares.

mod terms;
mod view;
mod ways;

use std::sync::Arc;

use auth_api::ErrorCode;
use axum::extract::{FromRequestParts, Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use domain::{EmailAddress, OneTimeSecret, PairingId, SentCode, UserCode};
use http::request::Parts;
use serde::Deserialize;
use store::{CodePurpose, Decision, PairingStatus, WayIn};
use web::{ApiError, Context};

use self::terms::DecisionForm;
use self::view::{Step, Terms, Waiting};
pub(super) use self::ways::arrived;
use super::limits::{self, Relaxed, Standard, Strict};
use super::pages::Page;
use crate::pairing;
use crate::second_factor::ShownCode;
use crate::sign_in::code::{Typed, refused_flow};
use crate::sign_in::email::{self, SignInTo};
use crate::{AuthService, internal};

/// The pages' routes. They are for people, and so not in the OpenAPI document.
pub(super) fn routes() -> Router<Arc<AuthService>> {
    Router::new()
        .route("/login", get(enter).post(find))
        .route("/login/{id}", get(show))
        .route("/login/{id}/email", post(send_code))
        .route("/login/{id}/code", post(sign_in))
        .route("/login/{id}/sms", post(ways::send_sms))
        .route("/login/{id}/sms-code", post(ways::sign_in_by_sms))
        .route("/login/{id}/wallet", post(ways::ask_wallet))
        .route("/login/{id}/wallet-signed", post(ways::sign_in_by_wallet))
        .route("/login/{id}/oauth/{provider}", get(ways::leave))
        .route("/login/{id}/new-account", post(ways::make_account))
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
async fn show(
    State(auth): State<Arc<AuthService>>,
    limit: Result<Relaxed, ApiError>,
    Extension(context): Extension<Arc<Context>>,
    Id(id): Id,
) -> Page {
    let pairing = async {
        limit?;
        waiting(&auth, &context, &id).await
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
    let pairing = match waiting(&auth, &context, &id).await {
        Ok(pairing) => pairing,
        Err(error) => return view::failed(&auth, &Step::Over, None, &error),
    };
    let sent = async {
        own?;
        limit?;
        let web::Form(form) = form?;
        let address = address(&form.email)?;
        let mailbox = format!("mailbox:{}", address.mailbox());
        let has_room = limits::has_room(&auth, &mailbox, auth.config.limits.strict).await?;
        let to = SignInTo::Pairing(&pairing);
        let (flow, _) = email::request(&auth, context.client(), &address, &to, has_room).await?;
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

fn read_code(text: &str) -> Result<SentCode, ApiError> {
    text.parse().map_err(|_| ApiError::new(ErrorCode::ValidationError, "Enter the code that was sent"))
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
    let pairing = match waiting(&auth, &context, &id).await {
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
        let code = read_code(&form.code)?;
        let typed = Typed { code: &code, flow: Some(&form.flow) };
        let way_in = WayIn::email(address.as_str());
        pairing::sign_in(&auth, context.client(), &pairing.id, CodePurpose::SignInByEmail, way_in, &typed).await
    };
    match signed_in.await {
        Ok(signed_in) => ways::signed_in(&auth, &pairing, address.as_str(), &signed_in),
        // The code is dead, or the account may not decide here: another one is due.
        Err(error) if error.code() != ErrorCode::InvalidCode && error.code() != ErrorCode::ValidationError => {
            view::failed(&auth, &Step::Email, Some(&pairing), &error)
        }
        // There are no guesses left: another code is due, and the page says so at once.
        Err(error) if error.attempts_remaining() == Some(0) => {
            view::failed(&auth, &Step::Email, Some(&pairing), &refused_flow())
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
    let pairing = match waiting(&auth, &context, &id).await {
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
            let step = Step::Decide { who: email.as_deref(), form: &form, terms: Terms::offered(&pairing) };
            view::page(&auth, &step, Some(&pairing))
        }
        Err(error) if matches!(error.code(), ErrorCode::InvalidCode | ErrorCode::ValidationError) => {
            view::failed(&auth, &Step::SecondFactor { mfa_token: &mfa_token }, Some(&pairing), &error)
        }
        // The sign-in does not wait any more, or the account may not decide.
        Err(error) => from_the_beginning(&error),
    }
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
    let pairing = match waiting(&auth, &context, &id).await {
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
    let decision = match form.read(&pairing.scopes, auth.clock.now()) {
        Ok(decision) => decision,
        Err(error) => {
            // The form is not spent yet.
            let left_out = form.left_out(&pairing.scopes);
            let step = Step::Decide { who: None, form: &secret, terms: form.terms(&left_out) };
            return view::failed(&auth, &step, Some(&pairing), &error);
        }
    };
    match pairing::decide_by_form(&auth, context.client(), &pairing.id, &secret, &decision).await {
        Ok(()) => view::page(&auth, &Step::Done { approved: decision != Decision::Deny }, None),
        Err(error) => sign_in_again(&error),
    }
}

/// The pairing of this page, if there is still something to decide.
async fn waiting(auth: &AuthService, context: &Context, id: &str) -> Result<Waiting, ApiError> {
    let unknown = || ApiError::new(ErrorCode::NotFound, "No program waits under this address");
    let id: PairingId = id.parse().map_err(|_| unknown())?;
    let pairing = auth.store.find_pairing(&id).await.map_err(internal)?.ok_or_else(unknown)?;
    if pairing.status != PairingStatus::Pending {
        return Err(ApiError::new(ErrorCode::Conflict, "This request has already been decided about"));
    }
    if pairing.expires_at <= auth.clock.now() {
        return Err(ApiError::new(ErrorCode::CodeExpired, "This request is too old; start again in the program"));
    }
    Ok(Waiting { pairing, seen_from: context.client().ip })
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
        let sites = parts.headers.get_all("sec-fetch-site");
        if sites.iter().all(|site| matches!(site.as_bytes(), b"same-origin" | b"none")) {
            Ok(Self)
        } else {
            Err(ApiError::new(ErrorCode::Forbidden, "This form was sent from another site"))
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
