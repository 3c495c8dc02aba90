//! Signing in with a code sent by e-mail.

use auth_api::{ErrorCode, SignInReply};
use domain::{ClientInfo, CodeChallenge, EmailAddress, OneTimeCode, OneTimeSecret};
use store::{CodePurpose, Pairing, WayIn};
use web::ApiError;

use super::{CODE_LIFETIME, code, email_link};
use crate::asker::Asker;
use crate::notify::{LetInMail, SignInMail};
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
) -> Result<(), ApiError> {
    let Some(mailer) = &auth.mailer else {
        return Err(ApiError::new(ErrorCode::EmailNotConfigured, "This installation sends no e-mail"));
    };
    let code = auth.chance.with(|rng| OneTimeCode::generate(rng));
    let minutes = CODE_LIFETIME.as_secs() / 60;
    let (mut new_code, event) =
        code::keep(auth, client, CodePurpose::SignInByEmail, email.as_str(), &code, auth.clock.now());
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

    auth.store.put_code(&new_code, &event).await.map_err(internal)?;
    mailer.send(mail).await.map_err(|error| {
        tracing::warn!(%error, "a sign-in mail could not be sent");
        ApiError::new(ErrorCode::ProviderError, "The mail could not be sent; try again shortly")
    })
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
