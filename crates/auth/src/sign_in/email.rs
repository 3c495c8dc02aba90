//! Signing in with a code sent by e-mail.

use std::sync::Arc;

use auth_api::{ErrorCode, SignInReply};
use domain::{ClientInfo, CodeChallenge, EmailAddress, OneTimeSecret};
use store::{Channel, CodePurpose, Pairing, WayIn};
use web::ApiError;

use super::allowance::{self, Told, When};
use super::code::Typed;
use super::{CODE_LIFETIME, code, email_link};
use crate::asker::{Asker, program_name};
use crate::metrics::Message;
use crate::notify::{Asked, LetInMail, Mail, Mailer, SignInMail};
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

/// Begins a flow and sends a code for it, and a link where one leads to what the person wants; unless the mailbox has had
/// enough and a code that does, or there is none for newcomers today. Addresses with and without an account are answered
/// alike, and so are those that get no mail.
pub(crate) async fn request(
    auth: &AuthService,
    client: &ClientInfo,
    email: &EmailAddress,
    to: &SignInTo<'_>,
    has_room: bool,
) -> Result<(OneTimeSecret, Told), ApiError> {
    let mailer = configured(auth)?;
    let now = auth.clock.now();
    let token = auth.chance.with(|rng| OneTimeSecret::generate(rng));
    let mut prepared = code::prepare(auth, client, CodePurpose::SignInByEmail, email.as_str(), has_room, now);
    if let SignInTo::App { challenge } = to {
        prepared.new_code.link_digest = Some(email_link::keep(auth, client, email, &token, *challenge).await?);
    }
    prepared.new_code.is_alias = email.mailbox() != email.as_str();

    let allowance = allowance::of_mail(auth, now);
    let kept = auth.store.put_code(&prepared.new_code, &prepared.event, &allowance).await.map_err(internal)?;
    let told = allowance::conclude(auth, &allowance, &kept.allowed, now)?;
    let Some(shape) = kept.shape else { return Ok((prepared.flow, told)) };
    let (code, minutes) = (prepared.code(shape).show(), CODE_LIFETIME.as_secs() / 60);
    let mail = match to {
        SignInTo::App { .. } => {
            let link = String::from(email_link::url(auth, &token)).into();
            let asked = Asked::of(client, now);
            auth.templates.sign_in(&SignInMail { to: email, code: &code, link: &link, minutes, asked: &asked })
        }
        SignInTo::Pairing(pairing) => {
            let asked_by = Asker::of(pairing.ip, pairing.user_agent.as_deref(), pairing.created_at);
            let program = program_name(pairing);
            auth.templates.let_in(&LetInMail {
                to: email,
                code: &code,
                program: &program,
                asked_by: &asked_by,
                minutes,
            })
        }
    };
    let mail = mail.map_err(|error| ApiError::internal(&error))?;
    // Past the quota of a mailbox it depends on who has signed in whether there is one.
    let when = if has_room { When::of(told) } else { When::Behind };
    send(auth, mailer, mail, when).await?;
    Ok((prepared.flow, told))
}

/// What hands mail over, where this installation sends any.
pub(crate) fn configured(auth: &AuthService) -> Result<&Arc<dyn Mailer>, ApiError> {
    let refusal = || ApiError::new(ErrorCode::EmailNotConfigured, "This installation sends no e-mail");
    auth.mailer.as_ref().ok_or_else(refusal)
}

/// Hands a mail with a code over. It stays counted if that fails: it may have arrived all the same.
pub(crate) async fn send(auth: &AuthService, mailer: &Arc<dyn Mailer>, mail: Mail, when: When) -> Result<(), ApiError> {
    let (mailer, metrics) = (Arc::clone(mailer), Arc::clone(&auth.metrics));
    let sending = async move {
        let sent = mailer.send(mail).await;
        metrics.message(Channel::Mail, Message::handed_over(sent.is_ok()));
        sent.map_err(|error| {
            tracing::warn!(%error, "a mail with a code could not be sent");
            ApiError::new(ErrorCode::ProviderError, "The mail could not be sent; try again shortly")
        })
    };
    allowance::hand_over(when, sending).await
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
