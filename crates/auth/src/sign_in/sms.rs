//! Signing in with a code sent by SMS.

use std::sync::Arc;

use auth_api::{ErrorCode, SignInReply};
use domain::{ClientInfo, OneTimeSecret, PhoneNumber};
use store::{Channel, CodePurpose, MethodType, Pairing, WayIn};
use web::ApiError;

use super::allowance::{self, Told, When};
use super::code::Typed;
use super::{CODE_LIFETIME, code};
use crate::asker::program_name;
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

/// Begins a flow and sends a code for it, to sign in or, if a program waits, to decide about it; unless the number has had
/// enough and a code that does, or there is none for newcomers today. Numbers with and without an account are answered
/// alike, and so are those that get no SMS.
pub(crate) async fn request(
    auth: &AuthService,
    client: &ClientInfo,
    phone: &PhoneNumber,
    program: Option<&Pairing>,
    has_room: bool,
) -> Result<(OneTimeSecret, Told), ApiError> {
    require_configured(auth)?;
    let now = auth.clock.now();
    let prepared = code::prepare(auth, client, CodePurpose::SignInBySms, phone.as_str(), has_room, now);
    let allowance = allowance::of_sms(auth, phone, now);
    let kept = auth.store.put_code(&prepared.new_code, &prepared.event, &allowance).await.map_err(internal)?;
    let told = allowance::conclude(auth, &allowance, &kept.allowed, now)?;
    let Some(shape) = kept.shape else { return Ok((prepared.flow, told)) };
    let minutes = CODE_LIFETIME.as_secs() / 60;
    let code = prepared.code(shape).show();
    let sms = match program {
        None => auth.templates.sign_in_sms(phone, &code, minutes),
        Some(program) => auth.templates.let_in_sms(phone, &code, &program_name(program), minutes),
    };
    send(auth, sms.map_err(|error| ApiError::internal(&error))?, When::of(told)).await?;
    Ok((prepared.flow, told))
}

/// Hands a message over to the gateway. It stays counted if that fails: the provider may have charged for it.
pub(crate) async fn send(auth: &AuthService, sms: Sms, when: When) -> Result<(), ApiError> {
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
    allowance::hand_over(when, sending).await
}

/// Signs in with a code.
pub(crate) async fn verify(
    auth: &AuthService,
    client: &ClientInfo,
    phone: &PhoneNumber,
    typed: &Typed<'_>,
) -> Result<SignInReply, ApiError> {
    code::verify(auth, client, CodePurpose::SignInBySms, way_in(phone), typed).await
}

/// The way in by this number.
pub(crate) fn way_in(phone: &PhoneNumber) -> WayIn {
    WayIn { method: MethodType::Sms, provider: None, identifier: phone.as_str().to_owned() }
}

fn not_configured() -> ApiError {
    ApiError::new(ErrorCode::SmsNotConfigured, "This installation sends no SMS")
}
