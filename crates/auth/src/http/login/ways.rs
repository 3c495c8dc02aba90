//! The ways in besides e-mail, and what follows from any of them.
//!
//! Nobody gets an account here unasked. Whoever takes another way in than usual would let the program into an account with
//! nothing in it; so where a proof leads to none, the page says so and asks.

use std::sync::Arc;

use auth_api::ErrorCode;
use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use domain::{OneTimeSecret, PairingId, PhoneNumber};
use serde::Deserialize;
use store::{CodePurpose, MethodType, Profile, WayIn};
use web::{ApiError, Context};

use super::view::{self, Step, Terms, Waiting};
use super::{Id, OwnPage, read_code, waiting};
use crate::AuthService;
use crate::http::limits::{self, Standard, Strict};
use crate::http::oauth::found;
use crate::http::pages::Page;
use crate::pairing::{self, SignedIn};
use crate::sign_in::code::{Typed, refused_flow};
use crate::sign_in::oauth::start;
use crate::sign_in::wallet::{self, For, Signed};
use crate::sign_in::{disabled, sms};

/// The page that follows a right proof.
pub(super) fn signed_in(auth: &AuthService, pairing: &Waiting, who: &str, signed_in: &SignedIn) -> Page {
    let step = match signed_in {
        SignedIn::Form(form) => Step::Decide { who: Some(who), form, terms: Terms::offered(pairing) },
        SignedIn::MfaRequired(mfa_token) => Step::SecondFactor { mfa_token },
        SignedIn::Newcomer(newcomer) => Step::Newcomer { who, newcomer },
    };
    view::page(auth, &step, Some(pairing))
}

/// What the page sends to get an SMS.
#[derive(Deserialize)]
pub(super) struct PhoneForm {
    phone: String,
}

/// Send a code by SMS to whoever wants to decide.
pub(super) async fn send_sms(
    State(auth): State<Arc<AuthService>>,
    own: Result<OwnPage, ApiError>,
    limit: Result<Strict, ApiError>,
    Extension(context): Extension<Arc<Context>>,
    Id(id): Id,
    form: Result<web::Form<PhoneForm>, ApiError>,
) -> Page {
    let pairing = match waiting(&auth, &context, &id).await {
        Ok(pairing) => pairing,
        Err(error) => return view::failed(&auth, &Step::Over, None, &error),
    };
    let sent = async {
        own?;
        limit?;
        let web::Form(form) = form?;
        let phone = number(&form.phone)?;
        sms::require_configured(&auth)?;
        sms::require_reachable(&auth, &phone)?;
        let has_room = limits::has_room(&auth, &format!("phone:{phone}"), auth.config.limits.strict).await?;
        let (flow, _) = sms::request(&auth, context.client(), &phone, Some(&pairing), has_room).await?;
        Ok((phone, flow))
    };
    match sent.await {
        Ok((phone, flow)) => {
            let step = Step::SmsCode { phone: phone.as_str(), flow: flow.expose(), attempts_remaining: None };
            view::page(&auth, &step, Some(&pairing))
        }
        Err(error) => view::failed(&auth, &Step::Sms, Some(&pairing), &error),
    }
}

/// What the page that asks for an SMS's code sends.
#[derive(Deserialize)]
pub(super) struct SmsCodeForm {
    phone: String,
    code: String,
    #[serde(default)]
    flow: String,
}

/// Sign in to the page with the code of an SMS.
pub(super) async fn sign_in_by_sms(
    State(auth): State<Arc<AuthService>>,
    own: Result<OwnPage, ApiError>,
    limit: Result<Strict, ApiError>,
    Extension(context): Extension<Arc<Context>>,
    Id(id): Id,
    form: Result<web::Form<SmsCodeForm>, ApiError>,
) -> Page {
    let pairing = match waiting(&auth, &context, &id).await {
        Ok(pairing) => pairing,
        Err(error) => return view::failed(&auth, &Step::Over, None, &error),
    };
    let read = own.and(limit).and(form).and_then(|web::Form(form)| Ok((number(&form.phone)?, form)));
    let (phone, form) = match read {
        Ok(read) => read,
        Err(error) => return view::failed(&auth, &Step::Sms, Some(&pairing), &error),
    };
    let proved = async {
        let code = read_code(&form.code)?;
        let typed = Typed { code: &code, flow: Some(&form.flow) };
        let (purpose, way_in) = (CodePurpose::SignInBySms, sms::way_in(&phone));
        pairing::sign_in(&auth, context.client(), &pairing.id, purpose, way_in, &typed).await
    };
    match proved.await {
        Ok(proved) => signed_in(&auth, &pairing, phone.as_str(), &proved),
        // There are no guesses left: another code is due, and the page says so at once.
        Err(error) if error.attempts_remaining() == Some(0) => {
            view::failed(&auth, &Step::Sms, Some(&pairing), &refused_flow())
        }
        Err(error) if matches!(error.code(), ErrorCode::InvalidCode | ErrorCode::ValidationError) => {
            let attempts_remaining = error.attempts_remaining();
            let step = Step::SmsCode { phone: phone.as_str(), flow: &form.flow, attempts_remaining };
            view::failed(&auth, &step, Some(&pairing), &error)
        }
        Err(error) => view::failed(&auth, &Step::Sms, Some(&pairing), &error),
    }
}

/// What the page's script sends when a wallet has told its address.
#[derive(Deserialize)]
pub(super) struct WalletForm {
    address: String,
}

/// Ask the wallet for a signature.
pub(super) async fn ask_wallet(
    State(auth): State<Arc<AuthService>>,
    own: Result<OwnPage, ApiError>,
    limit: Result<Strict, ApiError>,
    Extension(context): Extension<Arc<Context>>,
    Id(id): Id,
    form: Result<web::Form<WalletForm>, ApiError>,
) -> Page {
    let pairing = match waiting(&auth, &context, &id).await {
        Ok(pairing) => pairing,
        Err(error) => return view::failed(&auth, &Step::Over, None, &error),
    };
    let asked = async {
        own?;
        limit?;
        let web::Form(form) = form?;
        let address = wallet::address(&form.address).map_err(|_| no_wallet())?;
        let challenge = wallet::challenge(&auth, For::Pairing(&pairing.id), &address, None).await?;
        Ok::<_, ApiError>((address, challenge.message))
    };
    match asked.await {
        Ok((address, text)) => {
            let (chain, address) = (address.chain().as_str(), address.to_string());
            view::page(&auth, &Step::Wallet { chain, address: &address, text: &text }, Some(&pairing))
        }
        Err(error) => view::failed(&auth, &Step::Email, Some(&pairing), &error),
    }
}

/// What the page's script sends when a wallet has signed.
#[derive(Deserialize)]
pub(super) struct SignedForm {
    address: String,
    message: String,
    signature: String,
}

/// Sign in to the page with what a wallet has signed.
pub(super) async fn sign_in_by_wallet(
    State(auth): State<Arc<AuthService>>,
    own: Result<OwnPage, ApiError>,
    limit: Result<Strict, ApiError>,
    Extension(context): Extension<Arc<Context>>,
    Id(id): Id,
    form: Result<web::Form<SignedForm>, ApiError>,
) -> Page {
    let pairing = match waiting(&auth, &context, &id).await {
        Ok(pairing) => pairing,
        Err(error) => return view::failed(&auth, &Step::Over, None, &error),
    };
    let proved = async {
        own?;
        limit?;
        let web::Form(form) = form?;
        let address = wallet::address(&form.address).map_err(|_| no_wallet())?;
        // Forms end their lines otherwise than the message that was signed.
        let message = form.message.replace("\r\n", "\n");
        let signed = Signed { address, message: &message, signature: &form.signature };
        let proved = pairing::sign_in_by_wallet(&auth, context.client(), &pairing.id, &signed).await?;
        Ok::<_, ApiError>((address.to_string(), proved))
    };
    match proved.await {
        Ok((address, proved)) => signed_in(&auth, &pairing, &address, &proved),
        Err(error) => view::failed(&auth, &Step::Email, Some(&pairing), &error),
    }
}

/// Send the browser to a provider, from where it comes back to this page: see [`arrived`].
pub(super) async fn leave(
    State(auth): State<Arc<AuthService>>,
    own: Result<OwnPage, ApiError>,
    limit: Result<Standard, ApiError>,
    Extension(context): Extension<Arc<Context>>,
    path: Result<Path<(String, String)>, axum::extract::rejection::PathRejection>,
) -> Response {
    let Ok(Path((id, provider))) = path else {
        return view::failed(&auth, &Step::Over, None, &ApiError::not_found()).into_response();
    };
    let pairing = match waiting(&auth, &context, &id).await {
        Ok(pairing) => pairing,
        Err(error) => return view::failed(&auth, &Step::Over, None, &error).into_response(),
    };
    let departure = async {
        own?;
        limit?;
        let provider = auth.config.oauth.provider(&provider)?;
        let page = pairing::page_url(&auth, &pairing.id);
        start::sign_in_to_pairing(&auth, provider, &pairing.id, &page).await
    };
    match departure.await {
        Ok(departure) => found(&departure.url, &departure.cookie),
        Err(error) => view::failed(&auth, &Step::Email, Some(&pairing), &error).into_response(),
    }
}

/// The page of a browser that is back from a provider. It is shown right here, where the provider sent it, so that what was
/// proved is in no address and worth something in this browser only, whose cookie has just been looked at.
pub(in crate::http) async fn arrived(
    auth: &AuthService,
    context: &Context,
    id: &PairingId,
    proved: Result<(WayIn, Profile), ApiError>,
) -> Page {
    let pairing = match waiting(auth, context, id.as_str()).await {
        Ok(pairing) => pairing,
        Err(error) => return view::failed(auth, &Step::Over, None, &error),
    };
    let proved = async {
        let (way_in, profile) = proved?;
        let who = name_of(auth, &way_in, &profile);
        let proved = pairing::sign_in_as(auth, context.client(), id, way_in, profile).await?;
        Ok::<_, ApiError>((who, proved))
    };
    match proved.await {
        Ok((who, proved)) => signed_in(auth, &pairing, &who, &proved),
        Err(error) => view::failed(auth, &Step::Email, Some(&pairing), &error),
    }
}

/// What whoever came from a provider is called on the page.
fn name_of(auth: &AuthService, way_in: &WayIn, profile: &Profile) -> String {
    debug_assert_eq!(way_in.method, MethodType::OAuth, "nobody else comes from a provider");
    let provider = way_in.provider.as_deref().unwrap_or_default();
    let title = auth.config.oauth.provider(provider).map_or("the provider", |provider| provider.name.title());
    match &profile.email {
        Some(email) => format!("{email} at {title}"),
        None => format!("your account at {title}"),
    }
}

/// What the page sends when somebody wants an account.
#[derive(Deserialize)]
pub(super) struct NewcomerForm {
    newcomer: String,
    #[serde(default)]
    who: String,
}

/// Make an account for whoever has proved who they are and has none.
pub(super) async fn make_account(
    State(auth): State<Arc<AuthService>>,
    own: Result<OwnPage, ApiError>,
    limit: Result<Strict, ApiError>,
    Extension(context): Extension<Arc<Context>>,
    Id(id): Id,
    form: Result<web::Form<NewcomerForm>, ApiError>,
) -> Page {
    let pairing = match waiting(&auth, &context, &id).await {
        Ok(pairing) => pairing,
        Err(error) => return view::failed(&auth, &Step::Over, None, &error),
    };
    let made = async {
        own?;
        limit?;
        let web::Form(form) = form?;
        let newcomer: OneTimeSecret = form.newcomer.parse().map_err(|error| ApiError::validation("newcomer", error))?;
        match pairing::make_account(&auth, context.client(), &pairing.id, &newcomer).await? {
            // Whoever has just been asked is not asked again.
            SignedIn::Newcomer(_) => Err(disabled()),
            made => Ok((form.who, made)),
        }
    };
    match made.await {
        Ok((who, made)) => signed_in(&auth, &pairing, &who, &made),
        Err(error) => view::failed(&auth, &Step::Email, Some(&pairing), &error),
    }
}

fn number(text: &str) -> Result<PhoneNumber, ApiError> {
    text.parse().map_err(|_| {
        ApiError::new(
            ErrorCode::ValidationError,
            "This is not a phone number with its country's code, such as +14155550132",
        )
    })
}

fn no_wallet() -> ApiError {
    ApiError::new(ErrorCode::ValidationError, "The wallet told no address that we know")
}
