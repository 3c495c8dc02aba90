//! Signing in with a code sent by e-mail.

use std::collections::BTreeMap;
use std::time::Duration;

use auth_api::{ErrorCode, SignInReply};
use domain::audit::Actor;
use domain::{ClientInfo, CodeId, Digest, EmailAddress, EventId, OneTimeCode, OneTimeSecret};
use store::{CodeOutcome, CodePurpose, NewCode, NewEvent, Profile, Redemption, WayIn};
use web::ApiError;

use super::{Planned, plan, reply};
use crate::notify::SignInMail;
use crate::{AuthService, internal};

/// How long a code works.
pub(crate) const CODE_LIFETIME: Duration = Duration::from_mins(10);
/// How many guesses at one code are looked at.
const MAX_ATTEMPTS: u32 = 3;

/// Sends a code. Addresses with and without an account are answered alike.
pub(crate) async fn request(auth: &AuthService, client: &ClientInfo, email: &EmailAddress) -> Result<(), ApiError> {
    let Some(mailer) = &auth.mailer else {
        return Err(ApiError::new(ErrorCode::EmailNotConfigured, "This installation sends no e-mail"));
    };
    let now = auth.clock.now();
    let (code, code_id, event_id) =
        auth.chance.with(|rng| (OneTimeCode::generate(rng), CodeId::generate(rng), EventId::generate(rng)));
    let new_code = NewCode {
        id: code_id,
        purpose: CodePurpose::SignInByEmail,
        subject: email.as_str().to_owned(),
        digest: digest(auth, email, &code),
        expires_at: now.plus(CODE_LIFETIME),
    };
    let event =
        NewEvent { id: event_id, at: now, actor: Actor::default(), client: client.clone(), metadata: BTreeMap::new() };
    let mail = SignInMail { to: email, code: &code, minutes: CODE_LIFETIME.as_secs() / 60 };
    let mail = auth.templates.sign_in(&mail).map_err(|error| ApiError::internal(&error))?;

    auth.store.put_code(&new_code, &event).await.map_err(internal)?;
    mailer.send(mail).await.map_err(|error| {
        tracing::warn!(%error, "a sign-in mail could not be sent");
        ApiError::new(ErrorCode::ProviderError, "The mail could not be sent; try again shortly")
    })
}

/// Signs in with a code: a new session, and a new account if the address has none.
pub(crate) async fn verify(
    auth: &AuthService,
    client: &ClientInfo,
    email: &EmailAddress,
    code: &OneTimeCode,
) -> Result<SignInReply, ApiError> {
    let (redemption, mfa_token) = redemption(auth, client, email, code);
    match auth.store.redeem_code(&redemption).await.map_err(internal)? {
        CodeOutcome::Right(outcome) => reply(auth, &mfa_token, outcome),
        refusal => Err(refused(&refusal)),
    }
}

/// What the store needs to compare a code, and the `mfaToken` if a second factor follows.
pub(crate) fn redemption(
    auth: &AuthService,
    client: &ClientInfo,
    email: &EmailAddress,
    code: &OneTimeCode,
) -> (Redemption, OneTimeSecret) {
    let Planned { sign_in, mfa_token } = plan(auth, client, WayIn::email(email.as_str()), Profile::default());
    let redemption = Redemption {
        purpose: CodePurpose::SignInByEmail,
        digest: digest(auth, email, code),
        max_attempts: MAX_ATTEMPTS,
        sign_in,
    };
    (redemption, mfa_token)
}

/// Why a code did not sign in.
pub(crate) fn refused(outcome: &CodeOutcome) -> ApiError {
    match outcome {
        CodeOutcome::Wrong { attempts_remaining } => wrong(*attempts_remaining),
        // To somebody who has no code there is none that would be right, whether one was ever sent or not.
        CodeOutcome::NoCode | CodeOutcome::Right(_) => wrong(0),
        CodeOutcome::TooManyAttempts => {
            ApiError::new(ErrorCode::TooManyAttempts, "Too many wrong codes; request a new one")
        }
        CodeOutcome::Expired => ApiError::new(ErrorCode::CodeExpired, "This code is too old; request a new one"),
    }
}

fn wrong(attempts_remaining: u32) -> ApiError {
    ApiError::new(ErrorCode::InvalidCode, "This code is not right").with_attempts_remaining(attempts_remaining)
}

/// Bound to the address and the purpose: a code is worthless for any other.
fn digest(auth: &AuthService, email: &EmailAddress, code: &OneTimeCode) -> Digest {
    auth.code_digests.digest(&["sign_in.email", email.as_str(), code.expose()])
}
