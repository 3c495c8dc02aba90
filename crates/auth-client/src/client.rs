//! The client itself and how it is set up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use domain::{Chance, Clock};
use reqwest::Url;
use reqwest::redirect::Policy;
use secrecy::SecretString;

use crate::breaker::Breaker;
use crate::metrics::Metrics;
use crate::service_jwt::ServiceJwts;

/// Far sooner than the auth service, or a load balancer before it, closes idle connections: one that we leave earlier
/// is never found closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the auth service is, and how we talk to it.
#[derive(Debug, Clone)]
pub struct AuthClientConfig {
    /// `http://…` or `https://…`, with or without a path before the service's own.
    pub base_url: String,
    /// Signs our service JWTs: the first of the rotation list.
    pub jwt_secret: SecretString,
    /// The longest that connecting may take.
    pub connect_timeout: Duration,
    /// The longest that a call may take, from connecting to the last byte of the reply.
    pub total_timeout: Duration,
}

impl AuthClientConfig {
    /// With the usual timeouts: 1 s to connect, 5 s in total.
    #[must_use]
    pub fn new(base_url: impl Into<String>, jwt_secret: SecretString) -> Self {
        Self {
            base_url: base_url.into(),
            jwt_secret,
            connect_timeout: Duration::from_secs(1),
            total_timeout: Duration::from_secs(5),
        }
    }
}

/// The auth service. One value serves a whole program: connections are kept and shared.
pub struct AuthClient {
    pub(crate) http: reqwest::Client,
    pub(crate) base_url: Url,
    pub(crate) jwts: ServiceJwts,
    pub(crate) breaker: Breaker,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Arc<dyn Clock>,
}

impl fmt::Debug for AuthClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthClient").finish_non_exhaustive()
    }
}

/// Why a client cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The base URL is none.
    #[error("the auth service's address must be an http:// or https:// URL without credentials, query or fragment")]
    BaseUrl,
    /// The HTTP client does not come up, for want of TLS roots for example.
    #[error("the HTTP client cannot be set up")]
    Http(#[source] reqwest::Error),
}

impl AuthClient {
    /// Sets up a client; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// If the base URL is none, or the HTTP client does not come up.
    pub fn new(config: &AuthClientConfig, clock: Arc<dyn Clock>, chance: Chance) -> Result<Self, SetupError> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("alternatefutures-backend/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.connect_timeout)
            .timeout(config.total_timeout)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .tcp_nodelay(true)
            // Our JWTs go where the configuration says and nowhere else.
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .map_err(SetupError::Http)?;
        Ok(Self {
            http,
            base_url: base_url(&config.base_url)?,
            jwts: ServiceJwts::new(&config.jwt_secret, chance),
            breaker: Breaker::new(),
            metrics: Metrics::new(),
            clock,
        })
    }

    /// The URL of `segments` under the base URL, each escaped as needed.
    pub(crate) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

fn base_url(text: &str) -> Result<Url, SetupError> {
    let url = Url::parse(text).map_err(|_| SetupError::BaseUrl)?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if is_plain { Ok(url) } else { Err(SetupError::BaseUrl) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::SystemClock;

    fn client(base_url: &str) -> Result<AuthClient, SetupError> {
        let config = AuthClientConfig::new(base_url, "an example secret of at least 32 bytes".into());
        AuthClient::new(&config, Arc::new(SystemClock), Chance::of_the_system())
    }

    #[test]
    fn urls_are_built_under_the_base() {
        for (base, expected) in [
            ("http://auth:3001", "http://auth:3001/tokens/a%2Fb"),
            ("http://auth:3001/", "http://auth:3001/tokens/a%2Fb"),
            ("https://example.com/auth", "https://example.com/auth/tokens/a%2Fb"),
            ("https://example.com/auth/", "https://example.com/auth/tokens/a%2Fb"),
        ] {
            assert_eq!(client(base).unwrap().url(&["tokens", "a/b"]).as_str(), expected);
        }
    }

    #[test]
    fn other_addresses_are_refused() {
        for base in ["", "auth:3001", "ftp://auth", "/auth", "http://u:p@auth", "http://auth?x=1", "http://auth#x"] {
            assert!(matches!(client(base), Err(SetupError::BaseUrl)), "{base}");
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        let config = AuthClientConfig::new("http://auth", "an example secret of at least 32 bytes".into());
        assert!(!format!("{config:?} {:?}", client("http://auth").unwrap()).contains("example secret"));
    }
}
