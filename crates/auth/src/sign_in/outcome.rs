//! From a right proof to a session, or to the wait for a second factor.

use std::time::Duration;

use auth_api::{ErrorCode, MfaRequiredReply, SignInReply};
use domain::{AuthMethodId, ClientInfo, Digest, EventId, OneTimeSecret, SessionId, UserId};
use store::{NewMfaChallenge, NewSignIn, Profile, SignInOutcome, WayIn};
use web::ApiError;

use crate::AuthService;
use crate::notices::device;
use crate::sessions::{new_session, session_reply};

/// How long a sign-in waits for its second factor.
const MFA_LIFETIME: Duration = Duration::from_mins(5);

/// A sign-in that succeeds if its proof does.
pub(crate) struct Planned {
    /// For the store, which decides.
    pub(crate) sign_in: NewSignIn,
    /// What the client gets if a second factor is due; the store has its digest.
    pub(crate) mfa_token: OneTimeSecret,
}

/// Prepares everything that a sign-in by `way_in` may need, so that the store can complete it in one transaction.
pub(crate) fn plan(auth: &AuthService, client: &ClientInfo, way_in: WayIn, profile: Profile) -> Planned {
    let at = auth.clock.now();
    auth.chance.with(|rng| {
        let mfa_token = OneTimeSecret::generate(rng);
        let mfa = NewMfaChallenge { digest: mfa_digest(auth, &mfa_token), expires_at: at.plus(MFA_LIFETIME) };
        let sign_in = NewSignIn {
            at,
            way_in,
            profile,
            client: client.clone(),
            device: device(auth, client),
            mfa,
            session: new_session(auth, SessionId::generate(rng), at),
            user_id: UserId::generate(rng),
            method_id: AuthMethodId::generate(rng),
            email_method_id: AuthMethodId::generate(rng),
            released: EventId::generate(rng),
            user_created: EventId::generate(rng),
            signed_in: EventId::generate(rng),
        };
        Planned { sign_in, mfa_token }
    })
}

/// The same for a proof that the store keeps: it fills in who, which is not known here.
pub(crate) fn plan_kept(auth: &AuthService, client: &ClientInfo) -> Planned {
    plan(auth, client, WayIn::email(""), Profile::default())
}

/// What the client is told about a right proof.
pub(crate) fn reply(
    auth: &AuthService,
    mfa_token: &OneTimeSecret,
    outcome: SignInOutcome,
) -> Result<SignInReply, ApiError> {
    match outcome {
        SignInOutcome::SignedIn(signed_in) => {
            auth.changed_user(&signed_in.user.id);
            let reply = session_reply(auth, &signed_in.session, signed_in.user);
            Ok(SignInReply::SignedIn(Box::new(reply)))
        }
        SignInOutcome::MfaRequired => Ok(SignInReply::MfaRequired(MfaRequiredReply {
            success: false,
            mfa_required: true,
            mfa_token: mfa_token.expose().to_owned(),
            expires_in: MFA_LIFETIME.as_secs(),
        })),
        SignInOutcome::Disabled => Err(disabled()),
    }
}

/// The answer to a right proof of somebody whom the operator has disabled.
pub(crate) fn disabled() -> ApiError {
    ApiError::new(ErrorCode::Forbidden, "This account has been disabled")
}

/// What is kept of an `mfaToken`.
pub(crate) fn mfa_digest(auth: &AuthService, token: &OneTimeSecret) -> Digest {
    auth.code_digests.digest(&["mfa", token.expose()])
}
