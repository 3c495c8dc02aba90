//! The auth service's settings.

use std::path::PathBuf;
use std::time::Duration;

use ::auth::{Config, EthereumRpc, Limits, Secrets};
use ::http::Uri;
use ::http::uri::Authority;
use domain::{Limit, parse_duration};
use secrecy::{ExposeSecret, SecretString};

use super::oauth::oauth;
use super::{Listen, Problems, Source, check_secret, jwt_secrets, listen, origin, trusted_proxies};

/// All that `afd auth` needs to know.
pub(crate) struct AuthSettings {
    pub listen: Listen,
    pub database_url: String,
    pub auto_migrate: bool,
    pub mail: Option<Mail>,
    /// The sender of mail.
    pub from: String,
    /// What messages call the installation.
    pub product: String,
    /// The operator's own templates.
    pub templates: Option<PathBuf>,
    pub service: Config,
}

/// How mail is sent.
pub(crate) enum Mail {
    Smtp { url: SecretString },
    Resend { api_url: String, key: SecretString },
}

/// Where tokens are kept unless somebody says otherwise.
const DEFAULT_DATABASE_URL: &str = "sqlite://./data/auth.db";

/// Reads the settings of `afd auth`.
///
/// # Errors
/// Everything that is wrong, at once.
pub(crate) fn auth(mut source: Source) -> Result<AuthSettings, Problems> {
    let source = &mut source;
    let service_jwt = jwt_secrets(source);
    let refresh_jwt = refresh_secret(source, &service_jwt);
    let seal = source.secret("TOKEN_SEAL_KEY", "TOKEN_SEAL_KEY_FILE");
    if let Some(Err(what)) = seal.as_ref().map(check_secret) {
        source.problem("TOKEN_SEAL_KEY", what);
    }
    let public_url = source.read("PUBLIC_URL", http_url);
    if public_url.is_none() && source.text("PUBLIC_URL").is_none() {
        source.missing("PUBLIC_URL", "the service's address as browsers see it, such as https://auth.example.com");
    }
    let host = public_url.as_ref().and_then(Uri::host).unwrap_or("localhost");
    let domain = source.text("DOMAIN").unwrap_or_else(|| host.to_owned());

    let (sign_in_domain, sign_in_uri) = sign_in_site(source, public_url.as_ref());
    let ethereum = ethereum(source);

    let settings = AuthSettings {
        listen: listen(source, "0.0.0.0", 3001),
        database_url: database_setting(source),
        auto_migrate: source.flag("AUTO_MIGRATE", true),
        mail: mail(source),
        from: source.text("FROM_EMAIL").unwrap_or_else(|| format!("no-reply@{domain}")),
        product: domain,
        templates: source.text("MAIL_TEMPLATES_DIR").map(PathBuf::from),
        service: Config {
            public_url: public_url.map_or_else(String::new, |url| url.to_string().trim_end_matches('/').to_owned()),
            secrets: Secrets { service_jwt, refresh_jwt: refresh_jwt.unwrap_or_default(), seal },
            access_lifetime: duration(source, "JWT_EXPIRES_IN", Duration::from_mins(15)),
            refresh_lifetime: duration(source, "JWT_REFRESH_EXPIRES_IN", Duration::from_hours(7 * 24)),
            session_max_lifetime: duration(source, "SESSION_MAX_LIFETIME", Duration::from_hours(30 * 24)),
            limits: limits(source),
            bcrypt_cost: source.number("BCRYPT_COST", 10, 4, 14),
            trusted_proxies: trusted_proxies(source),
            cors_origins: source.list("CORS_ORIGIN", origin),
            oauth: oauth(source),
            validate_allow_anonymous: source.flag("VALIDATE_ALLOW_ANONYMOUS", false),
            sign_in_domain,
            sign_in_uri,
            ethereum,
        },
    };
    source.finish(settings)
}

/// Which database `afd migrate` and the operator's commands work on.
///
/// # Errors
/// When `DATABASE_URL` names none.
pub(crate) fn database(mut source: Source) -> Result<String, Problems> {
    let url = database_setting(&mut source);
    source.finish(url)
}

fn database_setting(source: &mut Source) -> String {
    source.read_or("DATABASE_URL", DEFAULT_DATABASE_URL.to_owned(), database_url)
}

fn refresh_secret(source: &mut Source, service_jwt: &[SecretString]) -> Option<SecretString> {
    let Some(secret) = source.secret("JWT_REFRESH_SECRET", "JWT_REFRESH_SECRET_FILE") else {
        source.missing("JWT_REFRESH_SECRET", "a secret of at least 32 bytes, other than JWT_SECRET");
        return None;
    };
    if let Err(what) = check_secret(&secret) {
        source.problem("JWT_REFRESH_SECRET", what);
    }
    if service_jwt.iter().any(|other| other.expose_secret() == secret.expose_secret()) {
        source.problem(
            "JWT_REFRESH_SECRET",
            "must differ from JWT_SECRET, or service JWTs and refresh JWTs could stand in for each other",
        );
    }
    Some(secret)
}

fn limits(source: &mut Source) -> Limits {
    let Limits { token, creations_per_day, max_active_tokens, strict, standard, relaxed } = Limits::default();
    Limits {
        token: Limit::per_minute(source.number("RATE_LIMIT_TOKEN_PER_MINUTE", token.count, 1, 10_000_000)),
        creations_per_day: source.number("RATE_LIMIT_TOKEN_CREATION_PER_DAY", creations_per_day, 1, 10_000_000),
        max_active_tokens: source.number("MAX_ACTIVE_TOKENS", max_active_tokens, 1, 10_000_000),
        strict: source.read_or("RATE_LIMIT_STRICT", strict, str::parse),
        standard: source.read_or("RATE_LIMIT_STANDARD", standard, str::parse),
        relaxed: source.read_or("RATE_LIMIT_RELAXED", relaxed, str::parse),
    }
}

fn mail(source: &mut Source) -> Option<Mail> {
    let api_url = source.text("RESEND_API_URL").unwrap_or_else(|| ::auth::Resend::DEFAULT_API_URL.to_owned());
    let smtp = source.secret("SMTP_URL", "SMTP_URL_FILE").map(|url| Mail::Smtp { url });
    let resend = source.secret("RESEND_API_KEY", "RESEND_API_KEY_FILE").map(|key| Mail::Resend { api_url, key });
    smtp.or(resend)
}

/// The site that wallets sign in to: they compare it with the page that asks, which is the app's.
fn sign_in_site(source: &mut Source, public_url: Option<&Uri>) -> (String, String) {
    let app_url = source.text("APP_URL").and_then(|text| http_url(&text).ok());
    let site = app_url.as_ref().or(public_url);
    let authority = site.and_then(Uri::authority).map(ToString::to_string).unwrap_or_default();
    let is_authority = |text: &str| match text.parse::<Authority>() {
        Ok(authority) if !authority.as_str().contains('@') => Ok(text.to_owned()),
        _ => Err("must be a host name such as example.com"),
    };
    // Without an app's address, the domain is the nearest to what the page will be.
    let domain = source.read("DOMAIN", is_authority).filter(|_| app_url.is_none()).unwrap_or(authority);
    let uri = site.map(ToString::to_string).unwrap_or_default();
    (domain, uri)
}

fn ethereum(source: &mut Source) -> Option<EthereumRpc> {
    let url = source.secret("ETH_RPC_URL", "ETH_RPC_URL_FILE")?;
    EthereumRpc::new(url).map_err(|what| source.problem("ETH_RPC_URL", what)).ok()
}

fn duration(source: &mut Source, name: &'static str, default: Duration) -> Duration {
    source.read_or(name, default, parse_duration)
}

fn database_url(text: &str) -> Result<String, &'static str> {
    let known = ["sqlite:", "postgres:", "postgresql:"];
    if known.iter().any(|scheme| text.starts_with(scheme)) { Ok(text.to_owned()) } else { Err("must be sqlite://PATH") }
}

fn http_url(text: &str) -> Result<Uri, &'static str> {
    let wrong = "must be a URL such as https://auth.example.com";
    let uri: Uri = text.parse().map_err(|_| wrong)?;
    if matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() { Ok(uri) } else { Err(wrong) }
}
