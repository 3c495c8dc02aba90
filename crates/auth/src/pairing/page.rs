//! Deciding on the page, by somebody who proves there who they are.

use std::collections::BTreeMap;
use std::time::Duration;

use auth_api::ErrorCode;
use domain::audit::Actor;
use domain::{ClientInfo, Digest, EmailAddress, EventId, OneTimeCode, OneTimeSecret, PairingId};
use store::{CodePurpose, Decision, FormOutcome, FormSignIn, NewEvent, NewPairingForm, WayIn};
use web::ApiError;

use super::decide::decided;
use crate::sign_in::code;
use crate::tokens::creation_limits;
use crate::{AuthService, internal};

/// How long somebody may think about it after they have signed in.
const FORM_LIFETIME: Duration = Duration::from_mins(5);

/// Signs in to the page with a code that was sent by e-mail. No session begins; what is returned goes into a hidden
/// field of the form that decides.
pub(crate) async fn sign_in(
    auth: &AuthService,
    client: &ClientInfo,
    id: &PairingId,
    address: &EmailAddress,
    digits: &OneTimeCode,
) -> Result<OneTimeSecret, ApiError> {
    let redemption =
        code::redemption(auth, client, CodePurpose::SignInByEmail, WayIn::email(address.as_str()), digits).0;
    let form = auth.chance.with(|rng| OneTimeSecret::generate(rng));
    let new_form = NewPairingForm {
        digest: form_digest(auth, id, &form),
        pairing_id: id.clone(),
        expires_at: auth.clock.now().plus(FORM_LIFETIME),
    };
    match auth.store.sign_in_to_pairing(&redemption, &new_form).await.map_err(internal)? {
        FormSignIn::SignedIn => Ok(form),
        FormSignIn::NotRight(outcome) => Err(code::refused(&outcome)),
        FormSignIn::Disabled => Err(ApiError::new(ErrorCode::Forbidden, "This account has been disabled")),
        FormSignIn::SecondFactor => Err(ApiError::new(
            ErrorCode::Forbidden,
            "This account has a second factor, for which this page cannot ask; approve from a signed-in app instead",
        )),
    }
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

/// Bound to the pairing: the form of one decides nothing about another.
fn form_digest(auth: &AuthService, id: &PairingId, form: &OneTimeSecret) -> Digest {
    auth.code_digests.digest(&["pairing.form", id.as_str(), form.expose()])
}
