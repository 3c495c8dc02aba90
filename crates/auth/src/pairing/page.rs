//! Deciding on the page, by somebody who proves there who they are.

use std::collections::BTreeMap;
use std::time::Duration;

use auth_api::ErrorCode;
use domain::audit::Actor;
use domain::{ClientInfo, Digest, EmailAddress, EventId, OneTimeSecret, PairingId};
use store::{CodePurpose, Decision, FormOutcome, FormSignIn, NewEvent, NewPairingForm, WayIn};
use web::ApiError;

use super::decide::decided;
use crate::second_factor::{self, Admitted, ShownCode};
use crate::sign_in::code::{self, Typed};
use crate::sign_in::disabled;
use crate::tokens::creation_limits;
use crate::{AuthService, internal};

/// How long somebody may think about it after they have signed in.
const FORM_LIFETIME: Duration = Duration::from_mins(5);

/// What a right code leads to.
pub(crate) enum SignedIn {
    /// The secret that goes into a hidden field of the form that decides.
    Form(OneTimeSecret),
    /// A second factor is due; this token goes into a hidden field of the form that asks for it.
    MfaRequired(OneTimeSecret),
}

/// Signs in to the page with a code that was sent by e-mail. No session begins.
pub(crate) async fn sign_in(
    auth: &AuthService,
    client: &ClientInfo,
    id: &PairingId,
    address: &EmailAddress,
    typed: &Typed<'_>,
) -> Result<SignedIn, ApiError> {
    let way_in = WayIn::email(address.as_str());
    let (mut redemption, mfa_token) = code::redemption(auth, client, CodePurpose::SignInByEmail, way_in, typed).await;
    redemption.sign_in.mfa.digest = mfa_digest(auth, id, &mfa_token);
    let (form, kept) = new_form(auth, id);
    let outcome = auth.store.sign_in_to_pairing(&redemption, &kept).await.map_err(internal)?;
    if !matches!(outcome, FormSignIn::NotRight(_)) {
        auth.metrics.guesses.note(CodePurpose::SignInByEmail.into(), true);
    }
    match outcome {
        FormSignIn::SignedIn => Ok(SignedIn::Form(form)),
        FormSignIn::MfaRequired => Ok(SignedIn::MfaRequired(mfa_token)),
        FormSignIn::NotRight(outcome) => Err(code::refused(auth, CodePurpose::SignInByEmail, &outcome)),
        FormSignIn::Disabled => Err(disabled()),
    }
}

/// Counts a guess at the second factor of whoever signs in to the page.
pub(crate) async fn admit_second(
    auth: &AuthService,
    id: &PairingId,
    mfa_token: &OneTimeSecret,
    code: &ShownCode,
) -> Result<Admitted, ApiError> {
    second_factor::admit(auth, mfa_digest(auth, id, mfa_token), code).await
}

/// Signs in to the page with the second factor; what is returned goes into a hidden field of the form that decides.
pub(crate) async fn sign_in_second(
    auth: &AuthService,
    client: &ClientInfo,
    id: &PairingId,
    admitted: &Admitted,
    code: &ShownCode,
) -> Result<OneTimeSecret, ApiError> {
    let (form, kept) = new_form(auth, id);
    second_factor::finish_for_pairing(auth, client, admitted, code, &kept).await.map(|()| form)
}

/// Decides in the name of whom the form was made for. The form is spent, whatever becomes of the decision.
pub(crate) async fn decide_by_form(
    auth: &AuthService,
    client: &ClientInfo,
    id: &PairingId,
    form: &OneTimeSecret,
    decision: &Decision,
) -> Result<(), ApiError> {
    let now = auth.clock.now();
    let event = NewEvent {
        id: auth.chance.with(|rng| EventId::generate(rng)),
        at: now,
        actor: Actor::default(),
        client: client.clone(),
        metadata: BTreeMap::new(),
    };
    let digest = form_digest(auth, id, form);
    let limits = creation_limits(auth);
    match auth.store.decide_pairing_by_form(&digest, id, decision, &limits, &event).await.map_err(internal)? {
        FormOutcome::Spent(outcome) => decided(outcome, now),
        FormOutcome::Unknown => {
            Err(ApiError::new(ErrorCode::CodeExpired, "This form was sent before or is too old; sign in again"))
        }
    }
}

fn new_form(auth: &AuthService, id: &PairingId) -> (OneTimeSecret, NewPairingForm) {
    let form = auth.chance.with(|rng| OneTimeSecret::generate(rng));
    let kept = NewPairingForm {
        digest: form_digest(auth, id, &form),
        pairing_id: id.clone(),
        expires_at: auth.clock.now().plus(FORM_LIFETIME),
    };
    (form, kept)
}

/// Bound to the page: the token of a sign-in on it ends in no session, and one of a sign-in elsewhere in no form.
fn mfa_digest(auth: &AuthService, id: &PairingId, token: &OneTimeSecret) -> Digest {
    auth.code_digests.digest(&["pairing.mfa", id.as_str(), token.expose()])
}

/// Bound to the pairing: the form of one decides nothing about another.
fn form_digest(auth: &AuthService, id: &PairingId, form: &OneTimeSecret) -> Digest {
    auth.code_digests.digest(&["pairing.form", id.as_str(), form.expose()])
}
