//! The client itself and how it is set up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use domain::{Chance, Clock};
use http::{HeaderValue, Uri};
use secrecy::SecretString;
use url::{Position, Url};

use crate::breaker::Breaker;
use crate::connections::{self, Connections};
use crate::metrics::Metrics;
use crate::service_jwt::ServiceJwts;

/// Where the auth service is, and how we talk to it.
#[derive(Debug, Clone)]
pub struct AuthClientConfig {
    /// `http://…` or `https://…`, with or without a path before the service's own.
    pub base_url: String,
    /// Signs our service JWTs: the first of the rotation list.
    pub jwt_secret: SecretString,
    /// What we are called where tokens are narrowed to an audience: those that name others are invalid here, and, unless
    /// this is set, so are all that name anybody.
    pub audience: Option<String>,
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
            audience: None,
            connect_timeout: Duration::from_secs(1),
            total_timeout: Duration::from_secs(5),
        }
    }
}

/// The auth service. One value serves a whole program: connections are kept and used again.
pub struct AuthClient {
    pub(crate) connections: Connections,
    base_url: Url,
    /// The service's name, as each request tells it.
    pub(crate) host: HeaderValue,
    /// The path of `POST /tokens/validate`.
    pub(crate) validation: Uri,
    pub(crate) total_timeout: Duration,
    pub(crate) audience: Option<String>,
    #[cfg(feature = "axum")]
    pub(crate) chance: Chance,
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
    /// The certificates that the system trusts cannot be read.
    #[error("TLS cannot be set up")]
    Tls(#[source] std::io::Error),
}

impl AuthClient {
    /// Sets up a client; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// If the base URL is none, or TLS does not come up.
    pub fn new(config: &AuthClientConfig, clock: Arc<dyn Clock>, chance: Chance) -> Result<Self, SetupError> {
        let base_url = base_url(&config.base_url)?;
        let (address, host) = address(&base_url)?;
        let connector = connections::connector(&address).map_err(SetupError::Tls)?;
        Ok(Self {
            connections: Connections::new(connector, address, config.connect_timeout),
            validation: path_of(&under(&base_url, &["tokens", "validate"])),
            base_url,
            host,
            total_timeout: config.total_timeout,
            audience: config.audience.clone(),
            #[cfg(feature = "axum")]
            chance: chance.clone(),
            jwts: ServiceJwts::new(&config.jwt_secret, chance),
            breaker: Breaker::new(),
            metrics: Metrics::new(),
            clock,
        })
    }

    /// The URL of `segments` under the base URL, each escaped as needed.
    pub(crate) fn url(&self, segments: &[&str]) -> Url {
        under(&self.base_url, segments)
    }
}

fn under(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// What a request names of its URL: path and query.
pub(crate) fn path_of(url: &Url) -> Uri {
    url[Position::BeforePath..].parse().expect("a URL's path and query are escaped")
}

/// Where to connect to, and the service's name.
fn address(base: &Url) -> Result<(Uri, HeaderValue), SetupError> {
    let authority = &base[Position::BeforeHost..Position::AfterPort];
    let host = HeaderValue::from_str(authority).map_err(|_| SetupError::BaseUrl)?;
    let address = Uri::builder().scheme(base.scheme()).authority(authority).path_and_query("/").build();
    Ok((address.map_err(|_| SetupError::BaseUrl)?, host))
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
    fn the_service_is_named_as_the_url_does_but_for_a_port_that_goes_without_saying() {
        for (base, host, path) in [
            ("http://auth:3001", "auth:3001", "/tokens/validate"),
            ("http://auth:80/", "auth", "/tokens/validate"),
            ("https://example.com:443/a%20b/", "example.com", "/a%20b/tokens/validate"),
            ("http://[::1]:3001", "[::1]:3001", "/tokens/validate"),
        ] {
            let client = client(base).unwrap();
            assert_eq!((client.host.to_str().unwrap(), client.validation.to_string().as_str()), (host, path));
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
