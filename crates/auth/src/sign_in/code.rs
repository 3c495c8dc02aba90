//! What codes by e-mail and by SMS have in common.

use std::collections::BTreeMap;
use std::time::Duration;

use auth_api::{ErrorCode, SignInReply};
use domain::audit::Actor;
use domain::{ClientInfo, CodeId, Digest, EventId, OneTimeCode, OneTimeSecret, Timestamp};
use store::{CodeOutcome, CodePurpose, NewCode, NewEvent, Profile, Redemption, WayIn};
use web::ApiError;

use super::{Planned, plan, reply};
use crate::{AuthService, internal};

/// How long a code works.
pub(crate) const CODE_LIFETIME: Duration = Duration::from_mins(10);
/// How many guesses at one code are looked at.
pub(crate) const MAX_ATTEMPTS: u32 = 3;

/// What is kept of a code, and what is written down if the subject has an account.
pub(crate) fn keep(
    auth: &AuthService,
    client: &ClientInfo,
    purpose: CodePurpose,
    subject: &str,
    code: &OneTimeCode,
    at: Timestamp,
) -> (NewCode, NewEvent) {
    let (id, event_id) = auth.chance.with(|rng| (CodeId::generate(rng), EventId::generate(rng)));
    let code = NewCode {
        id,
        purpose,
        subject: subject.to_owned(),
        digest: digest(auth, purpose, subject, code),
        link_digest: None,
        expires_at: at.plus(CODE_LIFETIME),
    };
    let event =
        NewEvent { id: event_id, at, actor: Actor::default(), client: client.clone(), metadata: BTreeMap::new() };
    (code, event)
}

/// Signs in with a code: a new session, and a new account if the way in leads to none.
pub(crate) async fn verify(
    auth: &AuthService,
    client: &ClientInfo,
    purpose: CodePurpose,
    way_in: WayIn,
    code: &OneTimeCode,
) -> Result<SignInReply, ApiError> {
    let (redemption, mfa_token) = redemption(auth, client, purpose, way_in, code);
    match auth.store.redeem_code(&redemption).await.map_err(internal)? {
        CodeOutcome::Right(outcome) => reply(auth, &mfa_token, outcome),
        refusal => Err(refused(&refusal)),
    }
}

/// What the store needs to compare a code, and the `mfaToken` if a second factor follows.
pub(crate) fn redemption(
    auth: &AuthService,
    client: &ClientInfo,
    purpose: CodePurpose,
    way_in: WayIn,
    code: &OneTimeCode,
) -> (Redemption, OneTimeSecret) {
    let digest = digest(auth, purpose, &way_in.identifier, code);
    let Planned { sign_in, mfa_token } = plan(auth, client, way_in, Profile::default());
    (Redemption { purpose, digest, max_attempts: MAX_ATTEMPTS, sign_in }, mfa_token)
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

/// A guess that was compared and wrong, or that there was nothing to compare with.
pub(crate) fn wrong(attempts_remaining: u32) -> ApiError {
    ApiError::new(ErrorCode::InvalidCode, "This code is not right").with_attempts_remaining(attempts_remaining)
}

/// Bound to the subject and the purpose: a code is worthless for any other.
fn digest(auth: &AuthService, purpose: CodePurpose, subject: &str, code: &OneTimeCode) -> Digest {
    auth.code_digests.digest(&[purpose.as_str(), subject, code.expose()])
}
