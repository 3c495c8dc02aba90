//! A browser that comes back from a provider.

use std::collections::BTreeMap;

use auth_api::ErrorCode;
use domain::audit::Actor;
use domain::{AuthMethodId, ClientInfo, Digest, EventId, OneTimeSecret, UserId};
use secrecy::{ExposeSecret, SecretString};
use store::{LinkOutcome, MethodType, NewEvent, NewExchangeCode, NewLink, WayIn};
use url::Url;
use web::ApiError;

use super::identity::Identity;
use super::redirect::with_parameter;
use super::{CODE_LIFETIME, OAuthProvider, browser_digest, invalid_state, seal_name, state_digest};
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

/// Finishes what [`start`](super::start) began, and returns where the browser goes now. The state is spent before the
/// provider is asked anything, so a code is presented to it at most once.
///
/// A state that is not this browser's, this provider's or any more is a 400; a provider that fails is a 502. Only what
/// the person at the browser decided goes to the app: a one-time code, or `error=access_denied`, or with a link
/// `linked=…` or `error=conflict`.
pub(crate) async fn finish(
    auth: &AuthService,
    client: &ClientInfo,
    provider: &OAuthProvider,
    arrival: Arrival,
) -> Result<Url, ApiError> {
    let secret = |text: Option<String>| -> Result<OneTimeSecret, ApiError> {
        text.unwrap_or_default().parse().map_err(|_| invalid_state())
    };
    let (state, browser) = (secret(arrival.state)?, secret(arrival.browser)?);
    let (digest, browser) = (state_digest(auth, &state), browser_digest(auth, &browser));
    let spent = auth.store.spend_oauth_state(&digest, provider.name.as_str(), &browser, auth.clock.now()).await;
    let spent = spent.map_err(internal)?.ok_or_else(invalid_state)?;
    let redirect_url: Url = spent.redirect_url.parse().map_err(|error| ApiError::internal(&error))?;

    if arrival.error.as_deref() == Some("access_denied") {
        return Ok(with_parameter(redirect_url, "error", "access_denied"));
    }
    let verifier = auth.seals.iter().find_map(|seal| seal.open(&seal_name(&digest), &spent.sealed_verifier));
    // Sealed under a secret that the operator has replaced in the meantime.
    let verifier = verifier.ok_or_else(invalid_state)?;
    let verifier = String::from_utf8(verifier.expose_secret().to_vec()).map_err(|error| ApiError::internal(&error))?;

    let asked = match arrival.code {
        Some(code) => auth.oauth_requests.identify(provider, &code, &verifier.into()).await,
        None => Err("it sent the browser back without a code".to_owned()),
    };
    let identity = asked.map_err(|cause| {
        tracing::warn!(provider = provider.name.as_str(), cause, "a sign-in provider failed");
        ApiError::new(ErrorCode::ProviderError, "The sign-in provider failed; try again shortly")
    })?;
    match spent.link_to {
        None => hand_over(auth, provider, identity, redirect_url).await,
        Some(user_id) => link(auth, client, provider, &digest, identity, user_id, redirect_url).await,
    }
}

/// Keeps what was proved, for the app that comes with the code.
async fn hand_over(
    auth: &AuthService,
    provider: &OAuthProvider,
    identity: Identity,
    redirect_url: Url,
) -> Result<Url, ApiError> {
    let key = format!("oauth:{}:{}", provider.name.as_str(), identity.id);
    auth.admit_from_anywhere(&key, auth.config.limits.standard).await?;
    let now = auth.clock.now();
    let code = auth.chance.with(|rng| OneTimeSecret::generate(rng));
    let new = NewExchangeCode {
        digest: exchange::digest(auth, &code),
        way_in: way_in(provider, identity.id),
        profile: identity.profile,
        expires_at: now.plus(CODE_LIFETIME),
    };
    auth.store.put_exchange_code(&new, now).await.map_err(internal)?;
    Ok(with_parameter(redirect_url, "code", code.expose()))
}

/// Adds the way in to the account whose owner asked for it.
async fn link(
    auth: &AuthService,
    client: &ClientInfo,
    provider: &OAuthProvider,
    state: &Digest,
    identity: Identity,
    user_id: UserId,
    redirect_url: Url,
) -> Result<Url, ApiError> {
    let (method_id, event_id) = auth.chance.with(|rng| (AuthMethodId::generate(rng), EventId::generate(rng)));
    let link = NewLink { user_id, method_id, way_in: way_in(provider, identity.id) };
    let event = NewEvent {
        id: event_id,
        at: auth.clock.now(),
        actor: Actor::default(),
        client: client.clone(),
        metadata: BTreeMap::new(),
    };
    auth.changing_user(&link.user_id);
    match auth.store.finish_oauth_link(state, &link, &event).await.map_err(internal)? {
        Some(LinkOutcome::Linked | LinkOutcome::AlreadyLinked) => {
            Ok(with_parameter(redirect_url, "linked", provider.name.as_str()))
        }
        Some(LinkOutcome::Taken | LinkOutcome::TooMany) => Ok(with_parameter(redirect_url, "error", "conflict")),
        Some(LinkOutcome::NoAccount) | None => Err(invalid_state()),
    }
}

fn way_in(provider: &OAuthProvider, id: String) -> WayIn {
    WayIn { method: MethodType::OAuth, provider: Some(provider.name.to_string()), identifier: id }
}
