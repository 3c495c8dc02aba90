//! Sending a browser to a provider.

use domain::{CodeChallenge, CodeVerifier, OneTimeSecret, PairingId};
use secrecy::SecretSlice;
use store::{NewOAuthLink, NewOAuthState, ProofFor};
use url::Url;
use web::ApiError;

use super::{
    LINK_LIFETIME, OAuthProvider, RedirectError, STATE_LIFETIME, browser_digest, invalid_state, link_digest, seal_name,
    state_digest,
};
use crate::{AuthService, internal};

/// What a browser is sent away with.
pub(crate) struct Departure {
    /// The provider's page.
    pub(crate) url: Url,
    /// The cookie that ties what comes back to this browser.
    pub(crate) cookie: String,
}

/// A new state and the URL that carries it.
struct Prepared {
    state: NewOAuthState,
    departure: Departure,
}

/// Begins a sign-in to an app, which may bind what follows to whoever knows the verifier of a challenge.
pub(crate) async fn sign_in(
    auth: &AuthService,
    provider: &OAuthProvider,
    redirect_url: Option<&str>,
    challenge: Option<&CodeChallenge>,
) -> Result<Departure, ApiError> {
    let redirect_url = auth.config.oauth.redirects.check(redirect_url).map_err(invalid_redirect)?;
    let Prepared { state, departure } = prepare(auth, provider)?;
    let kept = auth.store.put_oauth_state(&state, redirect_url.as_str(), challenge, auth.clock.now()).await;
    kept.map_err(internal)?;
    Ok(departure)
}

/// Begins a sign-in to the page of a program that waits. The browser comes back to that page, and to no app.
pub(crate) async fn sign_in_to_pairing(
    auth: &AuthService,
    provider: &OAuthProvider,
    id: &PairingId,
    page: &str,
) -> Result<Departure, ApiError> {
    let Prepared { state, departure } = prepare(auth, provider)?;
    auth.store.put_oauth_state_of_pairing(&state, page, id, auth.clock.now()).await.map_err(internal)?;
    Ok(departure)
}

/// Begins a proof, for a link say, for the account's owner, who has called with a session: returns the URL of ours that
/// the owner's browser has to visit, since only a browser can be given the cookie. It carries a reference that works once,
/// for two minutes, and only from a page of the installation's (see [`follow`]). What comes back is worth something to the
/// session that asked and to nobody else.
pub(crate) async fn request_proof(
    auth: &AuthService,
    asked_by: ProofFor,
    provider: &str,
    redirect_url: Option<&str>,
) -> Result<String, ApiError> {
    let oauth = &auth.config.oauth;
    let provider = oauth.provider(provider)?;
    let redirect_url = oauth.redirects.check(redirect_url).map_err(invalid_redirect)?;
    let now = auth.clock.now();
    let reference = auth.chance.with(|rng| OneTimeSecret::generate(rng));
    let link = NewOAuthLink {
        digest: link_digest(auth, &reference),
        provider: provider.name.to_string(),
        asked_by,
        redirect_url: redirect_url.into(),
        expires_at: now.plus(LINK_LIFETIME),
    };
    auth.store.put_oauth_link(&link, now).await.map_err(internal)?;
    Ok(format!("{}?link={}", oauth.start_url(provider), reference.expose()))
}

/// Sends the browser that comes with a proof's reference on to the provider.
///
/// The page that it comes from must be the installation's: nobody is to be sent from anywhere to a provider and back for
/// what somebody else has begun. A page can withhold its `Referer` but not forge it. What counts is that the session that
/// began it has to come for the proof; this spares people the journey.
pub(crate) async fn follow(
    auth: &AuthService,
    provider: &OAuthProvider,
    reference: &str,
    referer: Option<&str>,
) -> Result<Departure, ApiError> {
    let page = referer.and_then(|referer| Url::parse(referer).ok());
    if !page.is_some_and(|page| auth.config.oauth.redirects.is_own_page(&page)) {
        return Err(invalid_state());
    }
    let reference: OneTimeSecret = reference.parse().map_err(|_| invalid_state())?;
    let Prepared { state, departure } = prepare(auth, provider)?;
    let digest = link_digest(auth, &reference);
    let begun = auth.store.begin_oauth_link(&digest, &state, auth.clock.now()).await.map_err(internal)?;
    if begun { Ok(departure) } else { Err(invalid_state()) }
}

fn prepare(auth: &AuthService, provider: &OAuthProvider) -> Result<Prepared, ApiError> {
    let secret = || auth.chance.with(|rng| OneTimeSecret::generate(rng));
    let (state, browser) = (secret(), secret());
    // RFC 7636 §4.1 wants at least 43 characters.
    let verifier = format!("{}{}", secret().expose(), secret().expose());
    let challenge = verifier.parse::<CodeVerifier>().map_err(|error| ApiError::internal(&error))?.challenge();

    let mut url = provider.auth_url.clone();
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &provider.client_id)
        .append_pair("redirect_uri", provider.redirect_uri.as_str())
        .append_pair("scope", provider.name.scopes())
        .append_pair("state", state.expose())
        .append_pair("code_challenge", &challenge.to_string())
        .append_pair("code_challenge_method", "S256");

    let digest = state_digest(auth, &state);
    let verifier: SecretSlice<u8> = verifier.into_bytes().into();
    let state = NewOAuthState {
        digest,
        provider: provider.name.to_string(),
        browser: browser_digest(auth, &browser),
        sealed_verifier: auth.seals[0].seal(&seal_name(&digest), &verifier),
        expires_at: auth.clock.now().plus(STATE_LIFETIME),
    };
    let cookie = auth.config.oauth.cookie(provider, browser.expose(), STATE_LIFETIME);
    Ok(Prepared { state, departure: Departure { url, cookie } })
}

fn invalid_redirect(_: RedirectError) -> ApiError {
    ApiError::new(
        auth_api::ErrorCode::InvalidRedirect,
        "The redirect must be an absolute URL of one of this installation's own origins",
    )
}
