//! Signing in with a code sent by e-mail.

use auth_api::{ErrorCode, SignInReply};
use domain::{ClientInfo, EmailAddress, OneTimeSecret};
use store::{CodePurpose, WayIn};
use web::ApiError;

use super::code::Typed;
use super::{CODE_LIFETIME, code, email_link};
use crate::notify::{Asked, SignInMail};
use crate::{AuthService, internal};

/// Begins a flow and sends a code and a link for it, unless the mailbox has had enough and a code that does. Addresses
/// with and without an account are answered alike, and so are those that get no mail.
pub(crate) async fn request(
    auth: &AuthService,
    client: &ClientInfo,
    email: &EmailAddress,
    has_room: bool,
) -> Result<OneTimeSecret, ApiError> {
    let Some(mailer) = &auth.mailer else {
        return Err(ApiError::new(ErrorCode::EmailNotConfigured, "This installation sends no e-mail"));
    };
    let now = auth.clock.now();
    let token = auth.chance.with(|rng| OneTimeSecret::generate(rng));
    let mut prepared = code::prepare(auth, client, CodePurpose::SignInByEmail, email.as_str(), has_room, now);
    prepared.new_code.link_digest = Some(email_link::digest(auth, &token));

    let kept = auth.store.put_code(&prepared.new_code, &prepared.event).await.map_err(internal)?;
    let Some(shape) = kept.shape else { return Ok(prepared.flow) };
    let (code, link) = (prepared.code(shape).show(), String::from(email_link::url(auth, &token)).into());
    let asked = Asked::of(client, now);
    let mail = SignInMail { to: email, code: &code, link: &link, minutes: CODE_LIFETIME.as_secs() / 60, asked: &asked };
    let mail = auth.templates.sign_in(&mail).map_err(|error| ApiError::internal(&error))?;
    mailer.send(mail).await.map_err(|error| {
        tracing::warn!(%error, "a sign-in mail could not be sent");
        ApiError::new(ErrorCode::ProviderError, "The mail could not be sent; try again shortly")
    })?;
    Ok(prepared.flow)
}

/// Signs in with a code.
pub(crate) async fn verify(
    auth: &AuthService,
    client: &ClientInfo,
    email: &EmailAddress,
    typed: &Typed<'_>,
) -> Result<SignInReply, ApiError> {
    code::verify(auth, client, CodePurpose::SignInByEmail, WayIn::email(email.as_str()), typed).await
}
