//! Signing in with a code sent by e-mail.

use std::sync::Arc;

use auth_api::{ErrorCode, SignInReply};
use domain::{ClientInfo, EmailAddress, OneTimeCode, OneTimeSecret};
use store::{Channel, CodePurpose, NewCode, WayIn};
use web::ApiError;

use super::allowance::{self, Told};
use super::{CODE_LIFETIME, code, email_link};
use crate::metrics::Message;
use crate::notify::{Mail, Mailer, SignInMail};
use crate::{AuthService, internal};

/// Sends a code and a link. Addresses with and without an account are answered alike.
pub(crate) async fn request(auth: &AuthService, client: &ClientInfo, email: &EmailAddress) -> Result<Told, ApiError> {
    let Some(mailer) = &auth.mailer else {
        return Err(ApiError::new(ErrorCode::EmailNotConfigured, "This installation sends no e-mail"));
    };
    let (code, token) = auth.chance.with(|rng| (OneTimeCode::generate(rng), OneTimeSecret::generate(rng)));
    let now = auth.clock.now();
    let (new_code, event) = code::keep(auth, client, CodePurpose::SignInByEmail, email.as_str(), &code, now);
    let new_code = NewCode { link_digest: Some(email_link::digest(auth, &token)), ..new_code };
    let link = String::from(email_link::url(auth, &token)).into();
    let mail = SignInMail { to: email, code: &code, link: &link, minutes: CODE_LIFETIME.as_secs() / 60 };
    let mail = auth.templates.sign_in(&mail).map_err(|error| ApiError::internal(&error))?;

    let allowance = allowance::of_mail(auth, now);
    let requested = auth.store.put_code(&new_code, &event, &allowance).await.map_err(internal)?;
    let (told, is_to_be_sent) = allowance::conclude(auth, &allowance, &requested.allowed, now)?;
    if is_to_be_sent {
        send(auth, mailer, mail, told).await?;
    }
    Ok(told)
}

/// Hands a mail with a code over. It stays counted if that fails: it may have arrived all the same.
pub(crate) async fn send(auth: &AuthService, mailer: &Arc<dyn Mailer>, mail: Mail, told: Told) -> Result<(), ApiError> {
    let (mailer, metrics) = (Arc::clone(mailer), Arc::clone(&auth.metrics));
    let sending = async move {
        let sent = mailer.send(mail).await;
        metrics.message(Channel::Mail, Message::handed_over(sent.is_ok()));
        sent.map_err(|error| {
            tracing::warn!(%error, "a mail with a code could not be sent");
            ApiError::new(ErrorCode::ProviderError, "The mail could not be sent; try again shortly")
        })
    };
    allowance::hand_over(told, sending).await
}

/// Signs in with a code.
pub(crate) async fn verify(
    auth: &AuthService,
    client: &ClientInfo,
    email: &EmailAddress,
    code: &OneTimeCode,
) -> Result<SignInReply, ApiError> {
    code::verify(auth, client, CodePurpose::SignInByEmail, WayIn::email(email.as_str()), code).await
}
