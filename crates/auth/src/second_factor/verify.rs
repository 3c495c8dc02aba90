//! A sign-in that waits for its second factor goes on.

use auth_api::{ErrorCode, SessionReply};
use domain::audit::Actor;
use domain::{ClientInfo, Digest, UserId};
use store::{MfaAttempt, MfaOutcome, NewEvent, NewPairingForm, NewSignIn, SecondProof};
use web::ApiError;

use super::{ShownCode, note_failure, wants_two, wrong};
use crate::sessions::session_reply;
use crate::sign_in::{disabled, plan_kept};
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

/// The answer to a token that was never given out, which is that to one that is over.
pub(crate) fn unknown() -> ApiError {
    wrong().with_attempts_remaining(0)
}

/// Counts a guess at the sign-in that waits under the token of this digest.
pub(crate) async fn admit(auth: &AuthService, challenge: Digest, code: &ShownCode) -> Result<Admitted, ApiError> {
    let now = auth.clock.now();
    match auth.store.count_mfa_attempt(&challenge, code.guessed(), MAX_ATTEMPTS, now).await.map_err(internal)? {
        MfaAttempt::WantsTwoSteps { attempts_remaining } => {
            Err(wants_two().with_attempts_remaining(attempts_remaining))
        }
        MfaAttempt::Counted { user_id, attempts_remaining } => Ok(Admitted { user_id, challenge, attempts_remaining }),
        MfaAttempt::TooMany => {
            Err(ApiError::new(ErrorCode::TooManyAttempts, "Too many wrong codes; sign in from the beginning"))
        }
        MfaAttempt::Expired => {
            Err(ApiError::new(ErrorCode::CodeExpired, "This sign-in has waited for too long; begin again"))
        }
        MfaAttempt::Unknown => Err(unknown()),
    }
}

impl Admitted {
    /// What the store has to spend; `None` when the code is wrong without a look at what has been spent.
    async fn proof(&self, auth: &AuthService, code: &ShownCode) -> Result<Option<SecondProof>, ApiError> {
        let factor = auth.store.find_factor(&self.user_id).await.map_err(internal)?;
        Ok(factor.map(|factor| code.prove(auth, &self.user_id, &factor)).transpose()?.flatten())
    }

    /// What followed, or why nothing did; a wrong code is written down.
    async fn concluded<T>(
        &self,
        auth: &AuthService,
        code: &ShownCode,
        sign_in: NewSignIn,
        outcome: MfaOutcome<T>,
    ) -> Result<T, ApiError> {
        code.note(auth, !matches!(outcome, MfaOutcome::NoProof));
        match outcome {
            MfaOutcome::Right(followed) => Ok(followed),
            MfaOutcome::Disabled => Err(disabled()),
            MfaOutcome::NoProof => {
                let event = NewEvent {
                    id: sign_in.signed_in,
                    at: sign_in.at,
                    actor: Actor::default(),
                    client: sign_in.client,
                    metadata: std::collections::BTreeMap::new(),
                };
                note_failure(auth, &self.user_id, &event).await?;
                Err(wrong().with_attempts_remaining(self.attempts_remaining))
            }
        }
    }
}

/// Signs in if the code is right.
pub(crate) async fn finish(
    auth: &AuthService,
    client: &ClientInfo,
    admitted: &Admitted,
    code: &ShownCode,
) -> Result<SessionReply, ApiError> {
    let sign_in = plan_kept(auth, client).sign_in;
    let outcome = match admitted.proof(auth, code).await? {
        None => MfaOutcome::NoProof,
        Some(proof) => auth.store.finish_mfa(&admitted.challenge, &proof, &sign_in).await.map_err(internal)?,
    };
    let signed_in = admitted.concluded(auth, code, sign_in, outcome).await?;
    auth.changed_user(&signed_in.user.id);
    Ok(session_reply(auth, &signed_in.session, signed_in.user))
}

/// Keeps the form of a pairing's page if the code is right. No session begins.
pub(crate) async fn finish_for_pairing(
    auth: &AuthService,
    client: &ClientInfo,
    admitted: &Admitted,
    code: &ShownCode,
    form: &NewPairingForm,
) -> Result<(), ApiError> {
    let sign_in = plan_kept(auth, client).sign_in;
    let outcome = match admitted.proof(auth, code).await? {
        None => MfaOutcome::NoProof,
        Some(proof) => {
            let finished = auth.store.finish_mfa_for_pairing(&admitted.challenge, &proof, &sign_in, form).await;
            finished.map_err(internal)?
        }
    };
    admitted.concluded(auth, code, sign_in, outcome).await
}
