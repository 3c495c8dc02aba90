//! What codes by e-mail and by SMS have in common.

use std::collections::BTreeMap;
use std::time::Duration;

use auth_api::{ErrorCode, SignInReply};
use domain::audit::Actor;
use domain::{ClientInfo, CodeId, CodeShape, Digest, EventId, Limit, OneTimeSecret, SentCode, Timestamp};
use store::{CodeOutcome, CodePurpose, Flow, NewCode, NewEvent, Profile, Redemption, WayIn};
use web::ApiError;

use super::{Planned, plan, reply};
use crate::{AuthService, internal};

/// How long a code works.
pub(crate) const CODE_LIFETIME: Duration = Duration::from_mins(10);
/// How many guesses at a code for linking are looked at.
pub(crate) const MAX_ATTEMPTS: u32 = 3;

/// Failures at one mailbox or number that go into the audit log.
const NOTED: Limit = Limit::per_day(1_440);

/// A request for a code, ready for the store, which decides whether a code is sent and how long it is.
pub(crate) struct Prepared {
    /// What the store keeps of it.
    pub(crate) new_code: NewCode,
    /// What is written down if the subject has an account.
    pub(crate) event: NewEvent,
    /// The id of the flow, for whoever asks.
    pub(crate) flow: OneTimeSecret,
    digits: SentCode,
    characters: SentCode,
}

impl Prepared {
    /// The code of this shape.
    pub(crate) const fn code(&self, shape: CodeShape) -> &SentCode {
        match shape {
            CodeShape::SixDigits => &self.digits,
            CodeShape::TenCharacters => &self.characters,
        }
    }
}

/// Prepares a flow and its code. `has_room` says whether the subject's quota of messages does.
pub(crate) fn prepare(
    auth: &AuthService,
    client: &ClientInfo,
    purpose: CodePurpose,
    subject: &str,
    has_room: bool,
    at: Timestamp,
) -> Prepared {
    auth.chance.with(|rng| {
        let digits = SentCode::generate(CodeShape::SixDigits, rng);
        let characters = SentCode::generate(CodeShape::TenCharacters, rng);
        let flow = OneTimeSecret::generate(rng);
        let new_code = NewCode {
            id: CodeId::generate(rng),
            purpose,
            subject: subject.to_owned(),
            subject_digest: subject_digest(auth, purpose, subject),
            flow: flow_digest(auth, flow.expose()),
            digits: digest(auth, purpose, subject, &digits),
            characters: digest(auth, purpose, subject, &characters),
            link_digest: None,
            expires_at: at.plus(CODE_LIFETIME),
            has_room,
            is_guarded: auth.metrics.guesses.is_attacked(),
            is_alias: false,
        };
        let event = NewEvent {
            id: EventId::generate(rng),
            at,
            actor: Actor::default(),
            client: client.clone(),
            metadata: BTreeMap::new(),
        };
        Prepared { new_code, event, flow, digits, characters }
    })
}

/// A code that somebody typed, and in which flow.
pub(crate) struct Typed<'a> {
    pub(crate) code: &'a SentCode,
    /// The flow's id, as the client names it; older clients name none.
    pub(crate) flow: Option<&'a str>,
}

/// Signs in with a code: a new session, and a new account if the way in leads to none.
pub(crate) async fn verify(
    auth: &AuthService,
    client: &ClientInfo,
    purpose: CodePurpose,
    way_in: WayIn,
    typed: &Typed<'_>,
) -> Result<SignInReply, ApiError> {
    let (redemption, mfa_token) = redemption(auth, client, purpose, way_in, typed).await;
    match auth.store.redeem_code(&redemption).await.map_err(internal)? {
        CodeOutcome::Right(outcome) => {
            auth.metrics.guesses.note(purpose.into(), true);
            reply(auth, &mfa_token, outcome)
        }
        refusal => Err(refused(auth, purpose, &refusal)),
    }
}

/// What the store needs to compare a code, and the `mfaToken` if a second factor follows.
pub(crate) async fn redemption(
    auth: &AuthService,
    client: &ClientInfo,
    purpose: CodePurpose,
    way_in: WayIn,
    typed: &Typed<'_>,
) -> (Redemption, OneTimeSecret) {
    let subject = &way_in.identifier;
    // Before anybody knows whether it is right, or whose it is: the same for all.
    let is_noted = auth.is_noted(&format!("failures:{}:{subject}", purpose.as_str()), NOTED).await;
    let digest = digest(auth, purpose, subject, typed.code);
    let subject_digest = subject_digest(auth, purpose, subject);
    let flow = match typed.flow {
        // Whatever was never given out is the id of no flow.
        Some(id) => Flow::Named(flow_digest(auth, id)),
        None => Flow::Shared(auth.code_digests.digest(&["flow.shared", purpose.as_str(), subject])),
    };
    let Planned { sign_in, mfa_token } = plan(auth, client, way_in, Profile::default());
    (Redemption { purpose, digest, shape: typed.code.shape(), subject_digest, flow, is_noted, sign_in }, mfa_token)
}

/// Why a code did not sign in; a wrong one is counted.
pub(crate) fn refused(auth: &AuthService, purpose: CodePurpose, outcome: &CodeOutcome) -> ApiError {
    match outcome {
        CodeOutcome::Wrong { attempts_remaining } => {
            auth.metrics.guesses.note(purpose.into(), false);
            wrong(*attempts_remaining)
        }
        CodeOutcome::Right(_) => wrong(0),
        CodeOutcome::TooManyAttempts => refused_flow(),
        CodeOutcome::Expired => expired(),
    }
}

/// The answer in a flow that has no guesses left.
pub(crate) fn refused_flow() -> ApiError {
    ApiError::new(ErrorCode::TooManyAttempts, "Too many wrong codes; request a new one")
}

/// The answer to a code whose time is over.
pub(crate) fn expired() -> ApiError {
    ApiError::new(ErrorCode::CodeExpired, "This code is too old; request a new one")
}

/// A guess that was compared and wrong, or that there was nothing to compare with.
pub(crate) fn wrong(attempts_remaining: u32) -> ApiError {
    ApiError::new(ErrorCode::InvalidCode, "This code is not right").with_attempts_remaining(attempts_remaining)
}

/// Bound to the subject and the purpose: a code is worthless for any other.
fn digest(auth: &AuthService, purpose: CodePurpose, subject: &str, code: &SentCode) -> Digest {
    auth.code_digests.digest(&[purpose.as_str(), subject, code.expose()])
}

/// Under what guesses at the subject are counted, for longer than anything of a deleted account may be kept.
pub(crate) fn subject_digest(auth: &AuthService, purpose: CodePurpose, subject: &str) -> Digest {
    auth.code_digests.digest(&["flow.subject", purpose.as_str(), subject])
}

fn flow_digest(auth: &AuthService, id: &str) -> Digest {
    auth.code_digests.digest(&["flow", id])
}
