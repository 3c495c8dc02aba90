//! Adding ways in to one's account. What is made for this signs nobody in, and the reverse.

use auth_api::ErrorCode;
use domain::{AuthMethodId, CodeShape, Digest, EmailAddress, EventId, OneTimeSecret, PhoneNumber, SentCode, Timestamp};
use store::{
    Allowance, CodePurpose, LinkCodeOutcome, LinkGuess, LinkOutcome, NewLink, NewLinkCode, ProofFor, ProofPurpose,
    WayIn,
};
use web::ApiError;

use crate::notify::LinkMail;
use crate::principal::{OwnSession, Principal};
use crate::sign_in::allowance::{self, Told, When};
use crate::sign_in::{CODE_LIFETIME, MAX_ATTEMPTS, code, email as by_email, oauth, sms};
use crate::{AuthService, internal};

/// Sends a code to an address that the caller wants to add. Whether somebody has it already is told only to whoever
/// proves it.
pub(crate) async fn request_email(
    auth: &AuthService,
    caller: &Principal,
    email: &EmailAddress,
) -> Result<Told, ApiError> {
    let mailer = by_email::configured(auth)?;
    let now = auth.clock.now();
    let typed = new_code(auth, CodePurpose::SignInByEmail, email.as_str(), now).await?;
    let mail = LinkMail { to: email, code: &typed.show(), minutes: CODE_LIFETIME.as_secs() / 60 };
    let mail = auth.templates.link(&mail).map_err(|error| ApiError::internal(&error))?;
    let allowance = allowance::of_mail(auth, now);
    let (told, is_to_be_sent) = keep(auth, caller, WayIn::email(email.as_str()), &typed, &allowance, now).await?;
    if is_to_be_sent {
        by_email::send(auth, mailer, mail, When::of(told)).await?;
    }
    Ok(told)
}

/// Sends a code to a number that the caller wants to add.
pub(crate) async fn request_sms(auth: &AuthService, caller: &Principal, phone: &PhoneNumber) -> Result<Told, ApiError> {
    sms::require_configured(auth)?;
    let now = auth.clock.now();
    let typed = new_code(auth, CodePurpose::SignInBySms, phone.as_str(), now).await?;
    let message = auth.templates.link_sms(phone, &typed.show(), CODE_LIFETIME.as_secs() / 60);
    let message = message.map_err(|error| ApiError::internal(&error))?;
    let allowance = allowance::of_sms(auth, phone, now);
    let (told, is_to_be_sent) = keep(auth, caller, sms::way_in(phone), &typed, &allowance, now).await?;
    if is_to_be_sent {
        sms::send(auth, message, When::of(told)).await?;
    }
    Ok(told)
}

/// A code to add this address or number with. Guesses at it count with those of sign-ins by it, and so does its length.
async fn new_code(
    auth: &AuthService,
    purpose: CodePurpose,
    subject: &str,
    now: Timestamp,
) -> Result<SentCode, ApiError> {
    let subject = code::subject_digest(auth, purpose, subject);
    let shape = auth.store.link_code_shape(&subject, now).await.map_err(internal)?;
    let shape = if auth.metrics.guesses.is_attacked() { CodeShape::TenCharacters } else { shape };
    Ok(auth.chance.with(|rng| SentCode::generate(shape, rng)))
}

/// Adds the way in if the code is the one that was sent for it.
pub(crate) async fn verify_code(
    auth: &AuthService,
    caller: &Principal,
    purpose: CodePurpose,
    way_in: WayIn,
    typed: &SentCode,
) -> Result<(), ApiError> {
    let guess = LinkGuess {
        digest: digest(auth, caller, &way_in, typed),
        shape: typed.shape(),
        purpose,
        subject: code::subject_digest(auth, purpose, &way_in.identifier),
    };
    let (method_id, event_id) = auth.chance.with(|rng| (AuthMethodId::generate(rng), EventId::generate(rng)));
    let link = NewLink { user_id: caller.user_id.clone(), method_id, way_in };
    let event = caller.event(event_id, auth.clock.now());
    auth.changing_user(&caller.user_id);
    let outcome = auth.store.redeem_link_code(&link, &guess, MAX_ATTEMPTS, &event).await.map_err(internal)?;
    match &outcome {
        LinkCodeOutcome::Right(_) => auth.metrics.guesses.note(purpose.into(), true),
        LinkCodeOutcome::Wrong { .. } => auth.metrics.guesses.note(purpose.into(), false),
        _ => {}
    }
    match outcome {
        LinkCodeOutcome::Right(outcome) => concluded(&outcome),
        LinkCodeOutcome::Wrong { attempts_remaining } => Err(code::wrong(attempts_remaining)),
        LinkCodeOutcome::NoCode => Err(code::wrong(0)),
        LinkCodeOutcome::TooManyAttempts => Err(code::refused_flow()),
        LinkCodeOutcome::Expired => Err(code::expired()),
    }
}

/// For whom a proof at a provider is.
pub(crate) fn asked_by(session: &OwnSession) -> ProofFor {
    ProofFor {
        purpose: ProofPurpose::Link,
        user_id: session.principal.user_id.clone(),
        session_id: session.session_id.clone(),
    }
}

/// Adds the account at a provider that the code stands for, if it was this session that asked for the link.
pub(crate) async fn verify_oauth(
    auth: &AuthService,
    session: &OwnSession,
    code: &OneTimeSecret,
) -> Result<(), ApiError> {
    let caller = &session.principal;
    let (method_id, event_id) = auth.chance.with(|rng| (AuthMethodId::generate(rng), EventId::generate(rng)));
    let event = caller.event(event_id, auth.clock.now());
    let digest = oauth::proof_digest(auth, code);
    auth.changing_user(&caller.user_id);
    let linked = auth.store.link_by_oauth_proof(&digest, &asked_by(session), &method_id, &event).await;
    concluded(&linked.map_err(internal)?.ok_or_else(no_proof)?)
}

/// The answer to a code that stands for nothing: never given, used, too old, or of somebody else's session.
pub(crate) fn no_proof() -> ApiError {
    ApiError::new(ErrorCode::InvalidCode, "This code is not right, has been used or is another session's; link again")
}

/// What the caller is told about a right proof.
pub(crate) fn concluded(outcome: &LinkOutcome) -> Result<(), ApiError> {
    match outcome {
        LinkOutcome::Linked | LinkOutcome::AlreadyLinked => Ok(()),
        LinkOutcome::Taken => Err(ApiError::new(ErrorCode::Conflict, "This belongs to another account")),
        LinkOutcome::TooMany => {
            Err(ApiError::new(ErrorCode::Conflict, "An account has at most 20 ways in; remove one first"))
        }
        LinkOutcome::NoAccount => Err(ApiError::new(ErrorCode::SessionRevoked, "This session has been ended")),
    }
}

/// What the caller is told, and whether the code is to be sent.
async fn keep(
    auth: &AuthService,
    caller: &Principal,
    way_in: WayIn,
    typed: &SentCode,
    allowance: &Allowance,
    now: Timestamp,
) -> Result<(Told, bool), ApiError> {
    let code = NewLinkCode {
        digest: digest(auth, caller, &way_in, typed),
        user_id: caller.user_id.clone(),
        way_in,
        expires_at: now.plus(CODE_LIFETIME),
    };
    let allowed = auth.store.put_link_code(&code, allowance).await.map_err(internal)?;
    let told = allowance::conclude(auth, allowance, &allowed, now)?;
    Ok((told, allowed.is_counted()))
}

/// Bound to the account, the way in and the purpose: worthless for any other.
fn digest(auth: &AuthService, caller: &Principal, way_in: &WayIn, typed: &SentCode) -> Digest {
    let method = way_in.method.as_str();
    auth.code_digests.digest(&["link", caller.user_id.as_str(), method, &way_in.identifier, typed.expose()])
}
