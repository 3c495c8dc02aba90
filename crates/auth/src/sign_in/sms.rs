//! Signing in with a code sent by SMS.

use auth_api::{ErrorCode, SignInReply};
use domain::{ClientInfo, OneTimeSecret, PhoneNumber, Timestamp};
use store::{CodePurpose, MethodType, WayIn};
use web::ApiError;

use super::code::Typed;
use super::{CODE_LIFETIME, code};
use crate::notify::Sms;
use crate::{AuthService, internal};

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// Whether this installation sends SMS at all.
pub(crate) fn require_configured(auth: &AuthService) -> Result<(), ApiError> {
    if auth.sms.is_some() { Ok(()) } else { Err(not_configured()) }
}

/// Begins a flow and sends a code for it, unless the number has had enough and a code that does. Numbers with and without
/// an account are answered alike, and so are those that get no SMS.
pub(crate) async fn request(
    auth: &AuthService,
    client: &ClientInfo,
    phone: &PhoneNumber,
    has_room: bool,
) -> Result<OneTimeSecret, ApiError> {
    require_configured(auth)?;
    let now = auth.clock.now();
    let prepared = code::prepare(auth, client, CodePurpose::SignInBySms, phone.as_str(), has_room, now);
    if has_room {
        count(auth, now).await?;
    }
    let kept = auth.store.put_code(&prepared.new_code, &prepared.event).await.map_err(internal)?;
    let Some(shape) = kept.shape else { return Ok(prepared.flow) };
    if !has_room {
        count(auth, now).await?;
    }
    let minutes = CODE_LIFETIME.as_secs() / 60;
    let sms = auth.templates.sign_in_sms(phone, &prepared.code(shape).show(), minutes);
    send(auth, sms.map_err(|error| ApiError::internal(&error))?).await?;
    Ok(prepared.flow)
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
    typed: &Typed<'_>,
) -> Result<SignInReply, ApiError> {
    let way_in = WayIn { method: MethodType::Sms, provider: None, identifier: phone.as_str().to_owned() };
    code::verify(auth, client, CodePurpose::SignInBySms, way_in, typed).await
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
