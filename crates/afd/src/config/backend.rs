//! The GraphQL backend's settings.

use ::http::HeaderValue;
use secrecy::SecretString;
use web::TrustedProxies;

use super::{Listen, Problems, Source, jwt_secrets, listen, origin, trusted_proxies};

/// All that `afd backend` needs to know.
pub(crate) struct BackendSettings {
    pub listen: Listen,
    pub auth_service_url: String,
    /// Signs service JWTs.
    pub jwt_secret: SecretString,
    pub trusted_proxies: TrustedProxies,
    pub cors_origins: Vec<HeaderValue>,
}

/// Reads the settings of `afd backend`.
///
/// # Errors
/// Everything that is wrong, at once.
pub(crate) fn backend(mut source: Source) -> Result<BackendSettings, Problems> {
    let source = &mut source;
    let jwt_secret = jwt_secrets(source).into_iter().next().unwrap_or_default();
    let auth_service_url = source.text("AUTH_SERVICE_URL").unwrap_or_default();
    if auth_service_url.is_empty() {
        source.missing("AUTH_SERVICE_URL", "the auth service's address, such as http://localhost:3001");
    } else if !auth_service_url.starts_with("http://") && !auth_service_url.starts_with("https://") {
        source.problem("AUTH_SERVICE_URL", "must be a URL such as http://localhost:3001");
    }
    let settings = BackendSettings {
        listen: listen(source, "0.0.0.0", 4000),
        auth_service_url,
        jwt_secret,
        trusted_proxies: trusted_proxies(source),
        cors_origins: source.list("CORS_ORIGIN", origin),
    };
    source.finish(settings)
}
