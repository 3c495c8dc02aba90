//! Signing in with a code sent by SMS.

use auth_api::{ErrorCode, SignInReply};
use domain::{ClientInfo, OneTimeCode, PhoneNumber, Timestamp, TokenName};
use store::{CodePurpose, MethodType, WayIn};
use web::ApiError;

use super::{CODE_LIFETIME, code};
use crate::notify::Sms;
use crate::{AuthService, internal};

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// Whether this installation sends SMS at all.
pub(crate) fn require_configured(auth: &AuthService) -> Result<(), ApiError> {
    if auth.sms.is_some() { Ok(()) } else { Err(not_configured()) }
}

/// Sends a code, to sign in or, if a program waits, to decide about it. Numbers with and without an account are answered
/// alike.
pub(crate) async fn request(
    auth: &AuthService,
    client: &ClientInfo,
    phone: &PhoneNumber,
    program: Option<&TokenName>,
) -> Result<(), ApiError> {
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

    count(auth, now).await?;
    auth.store.put_code(&new_code, &event).await.map_err(internal)?;
    send(auth, sms).await
}

/// Hands a message over to the gateway.
pub(crate) async fn send(auth: &AuthService, sms: Sms) -> Result<(), ApiError> {
    let Some(sender) = &auth.sms else { return Err(not_configured()) };
    sender.send(sms).await.map_err(|error| {
        tracing::warn!(%error, "an SMS could not be sent");
        ApiError::new(ErrorCode::ProviderError, "The SMS could not be sent; try again shortly")
    })
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

/// Counts one more against what may be sent today, in days of UTC. It stays counted if sending fails: the provider may
/// have charged for it.
pub(crate) async fn count(auth: &AuthService, now: Timestamp) -> Result<(), ApiError> {
    let day = now.as_millis().div_euclid(DAY_MILLIS);
    if auth.store.count_sms(day, auth.config.limits.sms_per_day).await.map_err(internal)? {
        return Ok(());
    }
    tracing::warn!(cap = auth.config.limits.sms_per_day, "SMS_DAILY_CAP is reached");
    let tomorrow = Timestamp::from_millis((day + 1) * DAY_MILLIS);
    Err(ApiError::rate_limited("No more SMS are sent today; sign in another way", tomorrow, now))
}

fn not_configured() -> ApiError {
    ApiError::new(ErrorCode::SmsNotConfigured, "This installation sends no SMS")
}
