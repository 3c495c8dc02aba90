//! Signing in with a code sent by e-mail.

use std::sync::Arc;

use auth_api::{ErrorCode, SignInReply};
use domain::{ClientInfo, CodeChallenge, EmailAddress, OneTimeCode, OneTimeSecret};
use store::{Channel, CodePurpose, Pairing, WayIn};
use web::ApiError;

use super::allowance::{self, Told};
use super::{CODE_LIFETIME, code, email_link};
use crate::asker::Asker;
use crate::metrics::Message;
use crate::notify::{LetInMail, Mail, Mailer, SignInMail};
use crate::{AuthService, internal};

/// What somebody signs in to.
pub(crate) enum SignInTo<'a> {
    /// An app, by a code or a link.
    App {
        /// What binds the exchange that follows the link to the app.
        challenge: Option<CodeChallenge>,
    },
    /// The page of a program that waits, by a code: a link would lead past it.
    Pairing(&'a Pairing),
}

/// Sends a code, and a link where one leads to what the person wants. Addresses with and without an account are answered
/// alike.
pub(crate) async fn request(
    auth: &AuthService,
    client: &ClientInfo,
    email: &EmailAddress,
    to: &SignInTo<'_>,
) -> Result<Told, ApiError> {
    let Some(mailer) = &auth.mailer else {
        return Err(ApiError::new(ErrorCode::EmailNotConfigured, "This installation sends no e-mail"));
    };
    let code = auth.chance.with(|rng| OneTimeCode::generate(rng));
    let minutes = CODE_LIFETIME.as_secs() / 60;
    let now = auth.clock.now();
    let (mut new_code, event) = code::keep(auth, client, CodePurpose::SignInByEmail, email.as_str(), &code, now);
    let mail = match to {
        SignInTo::App { challenge } => {
            let token = auth.chance.with(|rng| OneTimeSecret::generate(rng));
            new_code.link_digest = Some(email_link::keep(auth, client, email, &token, *challenge).await?);
            let link = String::from(email_link::url(auth, &token)).into();
            auth.templates.sign_in(&SignInMail { to: email, code: &code, link: &link, minutes })
        }
        SignInTo::Pairing(pairing) => {
            let asked_by = Asker::of(pairing.ip, pairing.user_agent.as_deref(), pairing.created_at);
            let program = pairing.name.as_str();
            auth.templates.let_in(&LetInMail { to: email, code: &code, program, asked_by: &asked_by, minutes })
        }
    };
    let mail = mail.map_err(|error| ApiError::internal(&error))?;

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
