//! Deciding on the page, by somebody who proves there who they are.

use std::collections::BTreeMap;
use std::time::Duration;

use auth_api::ErrorCode;
use domain::audit::Actor;
use domain::{ClientInfo, Digest, EventId, OneTimeSecret, PairingId};
use store::{CodePurpose, Decision, FormOutcome, FormSignIn, NewEvent, NewPairingForm, NewSignIn, Profile, WayIn};
use web::ApiError;

use super::decide::decided;
use crate::second_factor::{self, Admitted, ShownCode};
use crate::sign_in::code::{self, Typed};
use crate::sign_in::wallet::{self, Signed};
use crate::sign_in::{Planned, disabled, oauth, plan, plan_kept};
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
    /// There is no account; this secret goes into a hidden field of the form by which one is made.
    Newcomer(OneTimeSecret),
}

/// What may follow from a right proof.
struct Secrets {
    form: OneTimeSecret,
    newcomer: OneTimeSecret,
    mfa_token: OneTimeSecret,
}

/// Signs in to the page with a code that was sent by e-mail or SMS. No session begins.
pub(crate) async fn sign_in(
    auth: &AuthService,
    client: &ClientInfo,
    id: &PairingId,
    purpose: CodePurpose,
    way_in: WayIn,
    typed: &Typed<'_>,
) -> Result<SignedIn, ApiError> {
    let (mut redemption, mfa_token) = code::redemption(auth, client, purpose, way_in, typed).await;
    let (secrets, kept) = new_secrets(auth, id, mfa_token);
    redemption.sign_in.mfa.digest = mfa_digest(auth, id, &secrets.mfa_token);
    match auth.store.sign_in_to_pairing(&redemption, &kept).await.map_err(internal)? {
        FormSignIn::NotRight(outcome) => Err(code::refused(auth, purpose, &outcome)),
        outcome => {
            auth.metrics.guesses.note(purpose.into(), true);
            signed_in(&outcome, secrets)
        }
    }
}

/// Signs in to the page with what a provider has vouched for.
pub(crate) async fn sign_in_as(
    auth: &AuthService,
    client: &ClientInfo,
    id: &PairingId,
    way_in: WayIn,
    profile: Profile,
) -> Result<SignedIn, ApiError> {
    oauth::callback::admit(auth, way_in.provider.as_deref().unwrap_or_default(), &way_in.identifier).await?;
    let (sign_in, secrets, kept) = planned(auth, id, plan(auth, client, way_in, profile));
    let outcome = auth.store.sign_in_to_pairing_as(&sign_in, &kept).await.map_err(internal)?;
    signed_in(&outcome, secrets)
}

/// Signs in to the page with a challenge that a wallet has signed for it.
pub(crate) async fn sign_in_by_wallet(
    auth: &AuthService,
    client: &ClientInfo,
    id: &PairingId,
    signed: &Signed<'_>,
) -> Result<SignedIn, ApiError> {
    let challenge = wallet::check_for_pairing(auth, id, signed).await?;
    let plan = plan(auth, client, WayIn::wallet(&signed.address), Profile::default());
    let (sign_in, secrets, kept) = planned(auth, id, plan);
    let outcome = auth.store.sign_in_to_pairing_by_wallet(&challenge, &sign_in, &kept).await.map_err(internal)?;
    signed_in(&outcome.ok_or_else(wallet::no_challenge)?, secrets)
}

/// Makes the account of somebody whose proof led to none.
pub(crate) async fn make_account(
    auth: &AuthService,
    client: &ClientInfo,
    id: &PairingId,
    newcomer: &OneTimeSecret,
) -> Result<SignedIn, ApiError> {
    let (sign_in, secrets, kept) = planned(auth, id, plan_kept(auth, client));
    let digest = newcomer_digest(auth, id, newcomer);
    let outcome = auth.store.make_account_for_pairing(&digest, &sign_in, &kept).await.map_err(internal)?;
    signed_in(&outcome.ok_or_else(too_late)?, secrets)
}

fn planned(auth: &AuthService, id: &PairingId, planned: Planned) -> (NewSignIn, Secrets, NewPairingForm) {
    let Planned { mut sign_in, mfa_token } = planned;
    let (secrets, kept) = new_secrets(auth, id, mfa_token);
    sign_in.mfa.digest = mfa_digest(auth, id, &secrets.mfa_token);
    (sign_in, secrets, kept)
}

fn signed_in(outcome: &FormSignIn, secrets: Secrets) -> Result<SignedIn, ApiError> {
    match outcome {
        FormSignIn::SignedIn => Ok(SignedIn::Form(secrets.form)),
        FormSignIn::MfaRequired => Ok(SignedIn::MfaRequired(secrets.mfa_token)),
        FormSignIn::Newcomer => Ok(SignedIn::Newcomer(secrets.newcomer)),
        // Only of a code, and told above.
        FormSignIn::NotRight(_) => Err(code::wrong(0)),
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
    let mfa_token = auth.chance.with(|rng| OneTimeSecret::generate(rng));
    let (secrets, kept) = new_secrets(auth, id, mfa_token);
    second_factor::finish_for_pairing(auth, client, admitted, code, &kept).await.map(|()| secrets.form)
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
        FormOutcome::Unknown => Err(too_late()),
    }
}

fn too_late() -> ApiError {
    ApiError::new(ErrorCode::CodeExpired, "This form was sent before or is too old; sign in again")
}

fn new_secrets(auth: &AuthService, id: &PairingId, mfa_token: OneTimeSecret) -> (Secrets, NewPairingForm) {
    let (form, newcomer) = auth.chance.with(|rng| (OneTimeSecret::generate(rng), OneTimeSecret::generate(rng)));
    let kept = NewPairingForm {
        digest: form_digest(auth, id, &form),
        newcomer: newcomer_digest(auth, id, &newcomer),
        pairing_id: id.clone(),
        expires_at: auth.clock.now().plus(FORM_LIFETIME),
    };
    (Secrets { form, newcomer, mfa_token }, kept)
}

/// Bound to the page: the token of a sign-in on it ends in no session, and one of a sign-in elsewhere in no form.
fn mfa_digest(auth: &AuthService, id: &PairingId, token: &OneTimeSecret) -> Digest {
    auth.code_digests.digest(&["pairing.mfa", id.as_str(), token.expose()])
}

/// Bound to the pairing, and worth nothing at `/auth/exchange`.
fn newcomer_digest(auth: &AuthService, id: &PairingId, newcomer: &OneTimeSecret) -> Digest {
    auth.code_digests.digest(&["pairing.newcomer", id.as_str(), newcomer.expose()])
}

/// Bound to the pairing: the form of one decides nothing about another.
fn form_digest(auth: &AuthService, id: &PairingId, form: &OneTimeSecret) -> Digest {
    auth.code_digests.digest(&["pairing.form", id.as_str(), form.expose()])
}
