//! Proving again, within one's session, who one is (RFC 9470). What is made for this renews that one session: it signs
//! nobody in and links nothing, and the reverse.
//!
//! Whoever has stolen a session can guess here. So there are few guesses in a session, ever; and they are the session's
//! own, so that its owner, who signs in anew, is never kept out by them.

use auth_api::ErrorCode;
use domain::{Digest, EmailAddress, EventId, OneTimeCode, OneTimeSecret, PhoneNumber, Timestamp};
use store::{
    Allowance, AuthMethod, CodePurpose, MethodType, NewEvent, NewReauthFlow, ProofFor, ProofPurpose, ReauthCode,
    ReauthOutcome, Reauthentication, WayIn,
};
use web::ApiError;

use crate::notify::ReauthMail;
use crate::principal::OwnSession;
use crate::second_factor::{ShownCode, wants_two};
use crate::sign_in::allowance::{self, When};
use crate::sign_in::{CODE_LIFETIME, code, email as by_email, oauth, sms, wallet};
use crate::{AuthService, internal};

/// How many guesses are compared in one flow.
const MAX_ATTEMPTS: u32 = 5;
/// How many wrong codes are ever compared in one session: 1 in 50,000 that one of them is right, and 1 in 16,000 with a
/// second factor, of which three codes are right at a time.
const MAX_FAILURES: u32 = 20;

/// The user's way in by which they want to prove it: the one that is named, or else the primary one of its kind.
///
/// Nothing but the second factor counts where there is one.
pub(crate) async fn choose(
    auth: &AuthService,
    session: &OwnSession,
    method: MethodType,
    is_meant: impl Fn(&AuthMethod) -> bool,
) -> Result<WayIn, ApiError> {
    let user_id = &session.principal.user_id;
    if has_second_factor(auth, session).await? {
        return Err(needs_second_factor());
    }
    let methods = auth.store.list_methods(user_id).await.map_err(internal)?;
    let mut meant: Vec<_> = methods
        .into_iter()
        .filter(|known| known.verified && known.kind == method.as_str() && is_meant(known))
        .collect();
    // The oldest, unless another of them is the primary one.
    meant.sort_by_key(|known| !known.is_primary);
    let found = meant.into_iter().next().ok_or_else(ApiError::not_found)?;
    Ok(WayIn { method, provider: found.provider, identifier: found.identifier })
}

/// Sends a code to an address of the user's; returns the flow's id.
pub(crate) async fn request_email(
    auth: &AuthService,
    session: &OwnSession,
    way_in: WayIn,
) -> Result<OneTimeSecret, ApiError> {
    let mailer = by_email::configured(auth)?;
    let to: EmailAddress = way_in.identifier.parse().map_err(|error| ApiError::internal(&error))?;
    let typed = auth.chance.with(|rng| OneTimeCode::generate(rng));
    let asked_from = session.principal.client.ip;
    let mail = ReauthMail { to: &to, code: &typed, minutes: CODE_LIFETIME.as_secs() / 60, asked_from };
    let mail = auth.templates.reauth(&mail).map_err(|error| ApiError::internal(&error))?;
    let now = auth.clock.now();
    let flow = keep(auth, session, way_in, &typed, &allowance::of_mail(auth, now), now).await?;
    by_email::send(auth, mailer, mail, When::Before).await?;
    Ok(flow)
}

/// Sends a code to a number of the user's; returns the flow's id.
pub(crate) async fn request_sms(
    auth: &AuthService,
    session: &OwnSession,
    way_in: WayIn,
) -> Result<OneTimeSecret, ApiError> {
    sms::require_configured(auth)?;
    let to: PhoneNumber = way_in.identifier.parse().map_err(|error| ApiError::internal(&error))?;
    sms::require_reachable(auth, &to)?;
    let typed = auth.chance.with(|rng| OneTimeCode::generate(rng));
    let message = auth.templates.reauth_sms(&to, &typed, CODE_LIFETIME.as_secs() / 60);
    let message = message.map_err(|error| ApiError::internal(&error))?;
    let now = auth.clock.now();
    let flow = keep(auth, session, way_in, &typed, &allowance::of_sms(auth, &to, now), now).await?;
    sms::send(auth, message, When::Before).await?;
    Ok(flow)
}

/// The address at which a browser proves an account at a provider that is one of the user's ways in. It comes back with a
/// code, which is worth something to this session and to no other.
pub(crate) async fn request_oauth(
    auth: &AuthService,
    session: &OwnSession,
    provider: Option<&str>,
    redirect_url: Option<&str>,
) -> Result<String, ApiError> {
    let is_meant = |known: &AuthMethod| provider.is_none_or(|provider| known.provider.as_deref() == Some(provider));
    let way_in = choose(auth, session, MethodType::OAuth, is_meant).await?;
    let asked_by = ProofFor {
        purpose: ProofPurpose::Reauthenticate,
        user_id: session.principal.user_id.clone(),
        session_id: session.session_id.clone(),
    };
    let provider = way_in.provider.unwrap_or_default();
    oauth::start::request_proof(auth, asked_by, &provider, redirect_url).await
}

/// Renews the session by what its user's browser has proved at a provider.
pub(crate) async fn verify_oauth(auth: &AuthService, session: &OwnSession, code: &str) -> Result<Timestamp, ApiError> {
    let code: OneTimeSecret = code.parse().map_err(|_| no_oauth_proof())?;
    let event = event(auth, session);
    let outcome = auth.store.reauthenticate_by_oauth(&who(session), &oauth::proof_digest(auth, &code), &event).await;
    concluded(auth, &outcome.map_err(internal)?, &event, no_oauth_proof)
}

/// The answer to a code that stands for nothing: never given, used, too old, of another session's, or of an account at the
/// provider that is none of the user's ways in.
fn no_oauth_proof() -> ApiError {
    ApiError::new(ErrorCode::InvalidCode, "This code is not right, has been used or is another session's; begin again")
}

/// Nothing has to be requested for a second factor, but there has to be one.
pub(crate) async fn request_second_factor(auth: &AuthService, session: &OwnSession) -> Result<(), ApiError> {
    if has_second_factor(auth, session).await? { Ok(()) } else { Err(no_second_factor()) }
}

/// Renews the session by a code that was sent; returns until when.
pub(crate) async fn verify_code(
    auth: &AuthService,
    session: &OwnSession,
    method: MethodType,
    typed: &OneTimeCode,
    flow: Option<&OneTimeSecret>,
) -> Result<Timestamp, ApiError> {
    let code = ReauthCode {
        method,
        flow: flow.map(|flow| flow_digest(auth, flow)),
        digest: code_digest(auth, session, method, typed),
        max_attempts: MAX_ATTEMPTS,
    };
    let event = event(auth, session);
    let outcome = auth.store.reauthenticate_by_code(&who(session), &code, &event).await.map_err(internal)?;
    let purpose = if method == MethodType::Sms { CodePurpose::SignInBySms } else { CodePurpose::SignInByEmail };
    match &outcome {
        ReauthOutcome::Renewed => auth.metrics.guesses.note(purpose.into(), true),
        ReauthOutcome::Wrong { .. } => auth.metrics.guesses.note(purpose.into(), false),
        _ => {}
    }
    concluded(auth, &outcome, &event, || code::wrong(0))
}

/// Renews the session by a message that the wallet has signed.
pub(crate) async fn verify_wallet(
    auth: &AuthService,
    session: &OwnSession,
    signed: &wallet::Signed<'_>,
) -> Result<Timestamp, ApiError> {
    let event = event(auth, session);
    let outcome = wallet::reauthenticate(auth, session, &who(session), signed, &event).await?;
    concluded(auth, &outcome, &event, wallet::no_challenge)
}

/// Renews the session by the second factor.
pub(crate) async fn verify_second_factor(
    auth: &AuthService,
    session: &OwnSession,
    code: &ShownCode,
) -> Result<Timestamp, ApiError> {
    let user_id = &session.principal.user_id;
    let factor = auth.store.find_factor(user_id).await.map_err(internal)?;
    let factor = factor.filter(|factor| factor.is_enabled).ok_or_else(no_second_factor)?;
    let proof = code.prove(auth, user_id, &factor)?;
    let event = event(auth, session);
    let (who, guessed) = (who(session), code.guessed());
    let outcome = auth.store.reauthenticate_by_second_factor(&who, guessed, proof.as_ref(), &event).await;
    let outcome = outcome.map_err(internal)?;
    code.note(auth, outcome == ReauthOutcome::Renewed);
    concluded(auth, &outcome, &event, || code::wrong(0))
}

/// Whose guesses are counted, and how many there may be.
fn who(session: &OwnSession) -> Reauthentication {
    Reauthentication {
        user_id: session.principal.user_id.clone(),
        session_id: session.session_id.clone(),
        max_failures: MAX_FAILURES,
    }
}

fn event(auth: &AuthService, session: &OwnSession) -> NewEvent {
    session.principal.event(auth.chance.with(|rng| EventId::generate(rng)), auth.clock.now())
}

/// Until when the session's proof is recent, or why it is not renewed.
fn concluded(
    auth: &AuthService,
    outcome: &ReauthOutcome,
    event: &NewEvent,
    no_proof: impl FnOnce() -> ApiError,
) -> Result<Timestamp, ApiError> {
    let refusal = match outcome {
        ReauthOutcome::Renewed => return Ok(event.at.plus(auth.config.reauth.max_age)),
        ReauthOutcome::Wrong { attempts_remaining } => code::wrong(*attempts_remaining),
        ReauthOutcome::NoProof => no_proof(),
        ReauthOutcome::TooManyAttempts => code::refused_flow(),
        ReauthOutcome::Exhausted => {
            ApiError::new(ErrorCode::TooManyAttempts, "Too many wrong codes in this session; sign in again")
        }
        ReauthOutcome::Expired => code::expired(),
        ReauthOutcome::NeedsSecondFactor => needs_second_factor(),
        ReauthOutcome::WantsTwoSteps => wants_two(),
        ReauthOutcome::NoSecondFactor => no_second_factor(),
        ReauthOutcome::Gone => ApiError::new(ErrorCode::SessionRevoked, "This session has been ended"),
    };
    Err(refusal)
}

async fn has_second_factor(auth: &AuthService, session: &OwnSession) -> Result<bool, ApiError> {
    let factor = auth.store.find_factor(&session.principal.user_id).await.map_err(internal)?;
    Ok(factor.is_some_and(|factor| factor.is_enabled))
}

fn needs_second_factor() -> ApiError {
    ApiError::new(ErrorCode::Conflict, "This account has a second factor; only that confirms it: method totp")
}

fn no_second_factor() -> ApiError {
    ApiError::new(ErrorCode::Conflict, "The second factor is not enabled")
}

async fn keep(
    auth: &AuthService,
    session: &OwnSession,
    way_in: WayIn,
    typed: &OneTimeCode,
    allowance: &Allowance,
    now: Timestamp,
) -> Result<OneTimeSecret, ApiError> {
    let flow = auth.chance.with(|rng| OneTimeSecret::generate(rng));
    let new = NewReauthFlow {
        digest: flow_digest(auth, &flow),
        session_id: session.session_id.clone(),
        user_id: session.principal.user_id.clone(),
        code_digest: code_digest(auth, session, way_in.method, typed),
        way_in,
        expires_at: now.plus(CODE_LIFETIME),
    };
    let kept = auth.store.put_reauth_flow(&new, allowance, now).await.map_err(internal)?;
    let allowed = kept.ok_or_else(|| ApiError::new(ErrorCode::SessionRevoked, "This session has been ended"))?;
    allowance::conclude(auth, allowance, &allowed, now)?;
    Ok(flow)
}

fn flow_digest(auth: &AuthService, flow: &OneTimeSecret) -> Digest {
    auth.code_digests.digest(&["reauthenticate.flow", flow.expose()])
}

/// Bound to the session and the purpose: worthless for any other.
fn code_digest(auth: &AuthService, session: &OwnSession, method: MethodType, typed: &OneTimeCode) -> Digest {
    let session_id = session.session_id.as_str();
    auth.code_digests.digest(&["reauthenticate", session_id, method.as_str(), typed.expose()])
}
