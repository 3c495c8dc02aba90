//! A browser that comes back from a provider.

use auth_api::ErrorCode;
use domain::{CodeChallenge, Digest, OneTimeSecret, PairingId};
use secrecy::{ExposeSecret, SecretString};
use store::{MethodType, NewExchangeCode, NewOAuthProof, OAuthErrand, OAuthState, Profile, ProofFor, WayIn};
use url::Url;
use web::ApiError;

use super::identity::Identity;
use super::redirect::with_parameter;
use super::{CODE_LIFETIME, OAuthProvider, browser_digest, invalid_state, proof_digest, seal_name, state_digest};
use crate::sign_in::exchange;
use crate::{AuthService, internal};

/// What the provider's redirect brings (RFC 6749 §4.1.2).
pub(crate) struct Arrival {
    /// Our state.
    pub(crate) state: Option<String>,
    /// The cookie of the browser.
    pub(crate) browser: Option<String>,
    /// The provider's code.
    pub(crate) code: Option<SecretString>,
    /// Why there is none.
    pub(crate) error: Option<String>,
}

/// Where it ends for the browser.
pub(crate) enum Finished {
    /// It goes on to the app.
    GoesTo(Url),
    /// It is back at the page of a program that waits.
    AtPairing {
        /// The program.
        id: PairingId,
        /// What was proved there, or why nothing was.
        proved: Result<(WayIn, Profile), ApiError>,
    },
}

/// Finishes what [`start`](super::start) began. The state is spent before the provider is asked anything, so a code is
/// presented to it at most once.
///
/// A state that is not this browser's, this provider's or any more is a 400; a provider that fails is a 502. Only what
/// the person at the browser decided goes to the app: a one-time code, or `error=access_denied`. Nothing is changed in
/// anybody's account here: see [`store::ProofFor`].
pub(crate) async fn finish(
    auth: &AuthService,
    provider: &OAuthProvider,
    arrival: Arrival,
) -> Result<Finished, ApiError> {
    let secret = |text: Option<String>| -> Result<OneTimeSecret, ApiError> {
        text.unwrap_or_default().parse().map_err(|_| invalid_state())
    };
    let (state, browser) = (secret(arrival.state)?, secret(arrival.browser)?);
    let (digest, browser) = (state_digest(auth, &state), browser_digest(auth, &browser));
    let spent = auth.store.spend_oauth_state(&digest, provider.name.as_str(), &browser, auth.clock.now()).await;
    let OAuthState { sealed_verifier, redirect_url, errand } = spent.map_err(internal)?.ok_or_else(invalid_state)?;
    let redirect_url: Url = redirect_url.parse().map_err(|error| ApiError::internal(&error))?;

    if arrival.error.as_deref() == Some("access_denied") {
        return Ok(match errand {
            OAuthErrand::Pairing(id) => Finished::AtPairing { id, proved: Err(access_denied()) },
            _ => Finished::GoesTo(with_parameter(redirect_url, "error", "access_denied")),
        });
    }
    let identity = identify(auth, provider, arrival.code, &digest, &sealed_verifier).await;
    match errand {
        OAuthErrand::SignIn { challenge } => hand_over(auth, provider, identity?, redirect_url, challenge).await,
        OAuthErrand::Proof(asked_by) => keep_proof(auth, provider, &digest, identity?, asked_by, redirect_url).await,
        OAuthErrand::Pairing(id) => {
            let proved = identity.map(|identity| (way_in(provider, identity.id), identity.profile));
            Ok(Finished::AtPairing { id, proved })
        }
    }
}

/// Asks the provider who came back.
async fn identify(
    auth: &AuthService,
    provider: &OAuthProvider,
    code: Option<SecretString>,
    state: &Digest,
    sealed_verifier: &str,
) -> Result<Identity, ApiError> {
    let verifier = auth.seals.iter().find_map(|seal| seal.open(&seal_name(state), sealed_verifier));
    // Sealed under a secret that the operator has replaced in the meantime.
    let verifier = verifier.ok_or_else(invalid_state)?;
    let verifier = String::from_utf8(verifier.expose_secret().to_vec()).map_err(|error| ApiError::internal(&error))?;

    let asked = match code {
        Some(code) => auth.oauth_requests.identify(provider, &code, &verifier.into()).await,
        None => Err("it sent the browser back without a code".to_owned()),
    };
    asked.map_err(|cause| {
        tracing::warn!(provider = provider.name.as_str(), cause, "a sign-in provider failed");
        ApiError::new(ErrorCode::ProviderError, "The sign-in provider failed; try again shortly")
    })
}

/// Keeps what was proved, for the app that comes with the code.
async fn hand_over(
    auth: &AuthService,
    provider: &OAuthProvider,
    identity: Identity,
    redirect_url: Url,
    challenge: Option<CodeChallenge>,
) -> Result<Finished, ApiError> {
    admit(auth, provider.name.as_str(), &identity.id).await?;
    let now = auth.clock.now();
    let code = auth.chance.with(|rng| OneTimeSecret::generate(rng));
    let new = NewExchangeCode {
        digest: exchange::digest(auth, &code),
        way_in: way_in(provider, identity.id),
        profile: identity.profile,
        challenge,
        expires_at: now.plus(CODE_LIFETIME),
    };
    auth.store.put_exchange_code(&new, now).await.map_err(internal)?;
    Ok(Finished::GoesTo(with_parameter(redirect_url, "code", code.expose())))
}

/// Keeps what was proved, for the session that asked for it and will come with the code.
async fn keep_proof(
    auth: &AuthService,
    provider: &OAuthProvider,
    state: &Digest,
    identity: Identity,
    asked_by: ProofFor,
    redirect_url: Url,
) -> Result<Finished, ApiError> {
    let now = auth.clock.now();
    let code = auth.chance.with(|rng| OneTimeSecret::generate(rng));
    let proof = NewOAuthProof {
        digest: proof_digest(auth, &code),
        asked_by,
        provider: provider.name.to_string(),
        identifier: identity.id,
        expires_at: now.plus(CODE_LIFETIME),
    };
    if auth.store.keep_oauth_proof(state, &proof, now).await.map_err(internal)? {
        Ok(Finished::GoesTo(with_parameter(redirect_url, "code", code.expose())))
    } else {
        Err(invalid_state())
    }
}

/// Counts somebody's sign-ins at a provider, from wherever they come.
pub(crate) async fn admit(auth: &AuthService, provider: &str, id: &str) -> Result<(), ApiError> {
    auth.admit_from_anywhere(&format!("oauth:{provider}:{id}"), auth.config.limits.standard).await
}

fn access_denied() -> ApiError {
    ApiError::new(ErrorCode::InvalidState, "You told the provider not to say who you are; choose a way to sign in")
}

fn way_in(provider: &OAuthProvider, id: String) -> WayIn {
    WayIn { method: MethodType::OAuth, provider: Some(provider.name.to_string()), identifier: id }
}
