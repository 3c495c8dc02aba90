//! A sign-in that waits for its second factor goes on.

use std::collections::BTreeMap;

use auth_api::{ErrorCode, SessionReply};
use domain::audit::Actor;
use domain::{ClientInfo, Digest, OneTimeSecret, UserId};
use store::{MfaAttempt, MfaOutcome, NewEvent};
use web::ApiError;

use super::{ShownCode, wrong};
use crate::sessions::session_reply;
use crate::sign_in::{disabled, mfa_digest, plan_kept};
use crate::{AuthService, internal};

/// How many guesses at one waiting sign-in are looked at.
const MAX_ATTEMPTS: u32 = 5;

/// A guess that has been counted and may be looked at.
pub(crate) struct Admitted {
    /// Whose sign-in it is.
    pub(crate) user_id: UserId,
    challenge: Digest,
    attempts_remaining: u32,
}

/// Counts a guess at the sign-in that waits under the token.
pub(crate) async fn admit(auth: &AuthService, mfa_token: &str) -> Result<Admitted, ApiError> {
    // What was never given out is answered like what is over.
    let token: OneTimeSecret = mfa_token.parse().map_err(|_| wrong().with_attempts_remaining(0))?;
    let challenge = mfa_digest(auth, &token);
    match auth.store.count_mfa_attempt(&challenge, MAX_ATTEMPTS, auth.clock.now()).await.map_err(internal)? {
        MfaAttempt::Counted { user_id, attempts_remaining } => Ok(Admitted { user_id, challenge, attempts_remaining }),
        MfaAttempt::TooMany => {
            Err(ApiError::new(ErrorCode::TooManyAttempts, "Too many wrong codes; sign in from the beginning"))
        }
        MfaAttempt::Expired => {
            Err(ApiError::new(ErrorCode::CodeExpired, "This sign-in has waited for too long; begin again"))
        }
        MfaAttempt::Unknown => Err(wrong().with_attempts_remaining(0)),
    }
}

/// Signs in if the code is right.
pub(crate) async fn finish(
    auth: &AuthService,
    client: &ClientInfo,
    admitted: &Admitted,
    code: &ShownCode,
) -> Result<SessionReply, ApiError> {
    let Admitted { user_id, challenge, attempts_remaining } = admitted;
    let sign_in = plan_kept(auth, client).sign_in;
    let factor = auth.store.find_factor(user_id).await.map_err(internal)?;
    let proof = factor.map(|factor| code.prove(auth, user_id, &factor)).transpose()?.flatten();
    let outcome = match proof {
        None => MfaOutcome::NoProof,
        Some(proof) => auth.store.finish_mfa(challenge, &proof, &sign_in).await.map_err(internal)?,
    };
    match outcome {
        MfaOutcome::SignedIn(signed_in) => Ok(session_reply(auth, &signed_in.session, signed_in.user)),
        MfaOutcome::Disabled => Err(disabled()),
        MfaOutcome::NoProof => {
            let event = NewEvent {
                id: sign_in.signed_in,
                at: sign_in.at,
                actor: Actor::default(),
                client: client.clone(),
                metadata: BTreeMap::new(),
            };
            auth.store.record_mfa_failure(user_id, &event).await.map_err(internal)?;
            Err(wrong().with_attempts_remaining(*attempts_remaining))
        }
    }
}
