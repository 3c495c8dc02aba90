//! Signing in with a code sent by SMS.

use std::sync::Arc;

use auth_api::{ErrorCode, SignInReply};
use domain::{ClientInfo, OneTimeCode, PhoneNumber, TokenName};
use store::{Channel, CodePurpose, MethodType, WayIn};
use web::ApiError;

use super::allowance::{self, Told};
use super::{CODE_LIFETIME, code};
use crate::metrics::Message;
use crate::notify::Sms;
use crate::{AuthService, internal};

/// Whether this installation sends SMS at all.
pub(crate) fn require_configured(auth: &AuthService) -> Result<(), ApiError> {
    if auth.sms.is_some() { Ok(()) } else { Err(not_configured()) }
}

/// Whether an SMS can go there: to what can be a mobile phone, of a country that the installation sends to. Whoever
/// rents other numbers shares in what an SMS to them costs.
pub(crate) fn require_reachable(auth: &AuthService, phone: &PhoneNumber) -> Result<(), ApiError> {
    let problem = match phone.mobile_in() {
        Some(country) if auth.config.limits.sms_countries.contain(country) => return Ok(()),
        Some(_) => "is of a country to which no SMS are sent",
        None => "must be a mobile phone's, with its country's code, such as +14155550132",
    };
    auth.metrics.message(Channel::Sms, Message::Unreachable);
    Err(ApiError::validation("phone", problem))
}

/// Sends a code, to sign in or, if a program waits, to decide about it. Numbers with and without an account are answered
/// alike.
pub(crate) async fn request(
    auth: &AuthService,
    client: &ClientInfo,
    phone: &PhoneNumber,
    program: Option<&TokenName>,
) -> Result<Told, ApiError> {
    require_configured(auth)?;
    let now = auth.clock.now();
    let code = auth.chance.with(|rng| OneTimeCode::generate(rng));
    let (new_code, event) = code::keep(auth, client, CodePurpose::SignInBySms, phone.as_str(), &code, now);
    let minutes = CODE_LIFETIME.as_secs() / 60;
    let sms = match program {
        None => auth.templates.sign_in_sms(phone, &code, minutes),
        Some(program) => auth.templates.let_in_sms(phone, &code, program.as_str(), minutes),
    };
    let sms = sms.map_err(|error| ApiError::internal(&error))?;

    let allowance = allowance::of_sms(auth, phone, now);
    let requested = auth.store.put_code(&new_code, &event, &allowance).await.map_err(internal)?;
    let (told, is_to_be_sent) = allowance::conclude(auth, &allowance, &requested.allowed, now)?;
    if is_to_be_sent {
        send(auth, sms, told).await?;
    }
    Ok(told)
}

/// Hands a message over to the gateway. It stays counted if that fails: the provider may have charged for it.
pub(crate) async fn send(auth: &AuthService, sms: Sms, told: Told) -> Result<(), ApiError> {
    let Some(sender) = auth.sms.clone() else { return Err(not_configured()) };
    let metrics = Arc::clone(&auth.metrics);
    let sending = async move {
        let sent = sender.send(sms).await;
        metrics.message(Channel::Sms, Message::handed_over(sent.is_ok()));
        sent.map_err(|error| {
            tracing::warn!(%error, "an SMS could not be sent");
            ApiError::new(ErrorCode::ProviderError, "The SMS could not be sent; try again shortly")
        })
    };
    allowance::hand_over(told, sending).await
}

/// Signs in with a code.
pub(crate) async fn verify(
    auth: &AuthService,
    client: &ClientInfo,
    phone: &PhoneNumber,
    code: &OneTimeCode,
) -> Result<SignInReply, ApiError> {
    code::verify(auth, client, CodePurpose::SignInBySms, way_in(phone), code).await
}

/// The way in by this number.
pub(crate) fn way_in(phone: &PhoneNumber) -> WayIn {
    WayIn { method: MethodType::Sms, provider: None, identifier: phone.as_str().to_owned() }
}

fn not_configured() -> ApiError {
    ApiError::new(ErrorCode::SmsNotConfigured, "This installation sends no SMS")
}
