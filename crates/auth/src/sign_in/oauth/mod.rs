//! Signing in at Google, GitHub, Twitter or Discord: OAuth 2.0's authorization code grant (RFC 6749 §4.1) with PKCE
//! (RFC 7636). A browser is sent to the provider by [`start`], comes back to [`callback`], and carries a one-time code
//! to its app, which exchanges it for a session. What is kept in between is in the database, so any instance goes on
//! with what another one began.

pub(crate) mod callback;
mod identity;
mod provider;
mod redirect;
mod requests;
pub(crate) mod start;

use std::time::Duration;

use auth_api::ErrorCode;
use domain::{Digest, OneTimeSecret};
use url::Url;
use web::ApiError;

pub use provider::{OAuthProvider, ProviderName};
pub use redirect::{AllowedRedirects, RedirectError};
pub(crate) use requests::Requests;

use crate::AuthService;

/// How long somebody may take at the provider.
const STATE_LIFETIME: Duration = Duration::from_mins(10);
/// How long a link's reference waits for the browser: it is followed at once.
const LINK_LIFETIME: Duration = Duration::from_mins(2);
/// How long the app may take to exchange its code.
const CODE_LIFETIME: Duration = Duration::from_mins(1);

/// What the operator decides about sign-in at providers.
pub struct OAuth {
    /// The providers that are switched on.
    pub providers: Vec<OAuthProvider>,
    /// This service's own address as browsers see it.
    pub public_url: Url,
    /// Where browsers may be sent in the end.
    pub redirects: AllowedRedirects,
    /// How long a provider may take to answer one request.
    pub timeout: Duration,
}

impl OAuth {
    /// How long a provider may take unless somebody says otherwise.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// The provider of this name, if it is switched on.
    pub(crate) fn provider(&self, name: &str) -> Result<&OAuthProvider, ApiError> {
        self.providers.iter().find(|provider| provider.name.as_str() == name).ok_or_else(ApiError::not_found)
    }

    /// Where a sign-in at the provider starts.
    pub(crate) fn start_url(&self, provider: &OAuthProvider) -> String {
        format!("{}/auth/oauth/{}", self.public_url.as_str().trim_end_matches('/'), provider.name)
    }

    /// The cookie that ties a sign-in to the browser that began it; one for each provider, so that browsers do not pile
    /// them up. `__Host-` (RFC 6265bis §4.1.3.2) keeps neighbouring subdomains from setting it.
    pub(crate) fn cookie_name(&self, provider: &OAuthProvider) -> String {
        let prefix = if self.is_https() { "__Host-" } else { "" };
        format!("{prefix}af_oauth_{}", provider.name)
    }

    /// `Set-Cookie` for that cookie. `Lax`, not `Strict`: the browser comes back from the provider's site.
    pub(crate) fn cookie(&self, provider: &OAuthProvider, value: &str, lifetime: Duration) -> String {
        let secure = if self.is_https() { "; Secure" } else { "" };
        let (name, seconds) = (self.cookie_name(provider), lifetime.as_secs());
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
    }

    fn is_https(&self) -> bool {
        self.public_url.scheme() == "https"
    }
}

/// The answer to a browser that brings no state, or not its own.
pub(crate) fn invalid_state() -> ApiError {
    ApiError::new(ErrorCode::InvalidState, "This sign-in was not begun here, is over or was finished; start again")
}

fn state_digest(auth: &AuthService, state: &OneTimeSecret) -> Digest {
    auth.code_digests.digest(&["oauth.state", state.expose()])
}

fn browser_digest(auth: &AuthService, browser: &OneTimeSecret) -> Digest {
    auth.code_digests.digest(&["oauth.browser", browser.expose()])
}

fn link_digest(auth: &AuthService, reference: &OneTimeSecret) -> Digest {
    auth.code_digests.digest(&["oauth.link", reference.expose()])
}

/// What is kept of the code that a browser gets for a proof.
pub(crate) fn proof_digest(auth: &AuthService, code: &OneTimeSecret) -> Digest {
    auth.code_digests.digest(&["oauth.proof", code.expose()])
}

/// Under which name the PKCE verifier of a state is sealed.
fn seal_name(state: &Digest) -> String {
    format!("oauth verifier {state}")
}
