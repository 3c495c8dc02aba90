//! The configuration of each command, checked whole before anything starts.

mod auth;
mod backend;
#[cfg(test)]
mod documented;
mod oauth;
mod operator;
mod source;

use std::net::IpAddr;
use std::time::Duration;

use ::http::{HeaderValue, Uri};
use domain::parse_duration;
use secrecy::{ExposeSecret, SecretString};
use web::TrustedProxies;

pub(crate) use self::auth::{AuthSettings, Mail, RedisSettings, Sms, auth, migration, signing};
pub(crate) use self::backend::{BackendSettings, backend};
pub(crate) use self::operator::{IssuerSettings, OperatorSettings, issuer, operator};
pub(crate) use self::source::{Problems, Source};

/// HMAC-SHA-256 is as strong as its key, up to its 32 bytes (RFC 7518 §3.2).
const MIN_SECRET_BYTES: usize = 32;

/// Secrets that documentation shows. Whoever runs with one runs with a secret that everybody knows.
const EXAMPLE_SECRETS: [&str; 3] = [
    "replace-me-with-openssl-rand-base64-48-output",
    "replace-me-too-with-openssl-rand-base64-48-output",
    "your-super-secret-jwt-key-change-this-in-production",
];

/// What both services share.
#[derive(Debug, Clone)]
pub(crate) struct Listen {
    pub host: IpAddr,
    pub port: u16,
    /// Where metrics are shown.
    pub metrics_port: Option<u16>,
    /// How long the service goes on answering after it was told to stop.
    pub drain_delay: Duration,
}

/// Load balancers ask every few seconds whether a service is ready.
const DRAIN_DELAY: Duration = Duration::from_secs(5);
/// Whoever is told to stop and does not is killed sooner or later.
const MAX_DRAIN_DELAY: Duration = Duration::from_mins(5);

fn listen(source: &mut Source, default_host: &str, default_port: u16) -> Listen {
    let parse_host = |text: &str| text.parse().map_err(|_| "must be an IP address such as 0.0.0.0");
    let default_host = default_host.parse().expect("the default is an address");
    let port = |text: &str| text.parse().map_err(|_| "must be a port between 0 and 65535");
    Listen {
        host: source.read_or("HOST", default_host, parse_host),
        port: source.read_or("PORT", default_port, port),
        metrics_port: source.read("METRICS_PORT", port),
        drain_delay: source.read_or("DRAIN_DELAY", DRAIN_DELAY, drain_delay),
    }
}

/// Where the service that this configures answers, as seen from its own machine.
///
/// # Errors
/// When `PORT` is none.
pub(crate) fn own_address(mut source: Source) -> Result<String, Problems> {
    let port = listen(&mut source, "0.0.0.0", 3001).port;
    source.finish(format!("http://127.0.0.1:{port}"))
}

fn drain_delay(text: &str) -> Result<Duration, &'static str> {
    let delay = if matches!(text, "0" | "0s") { Ok(Duration::ZERO) } else { parse_duration(text) };
    delay.ok().filter(|delay| *delay <= MAX_DRAIN_DELAY).ok_or("must be a duration of at most 5m, such as 5s or 0s")
}

/// Whether the secret can be used as one.
fn check_secret(secret: &SecretString) -> Result<(), &'static str> {
    let secret = secret.expose_secret();
    if secret.len() < MIN_SECRET_BYTES {
        return Err("must have at least 32 bytes; make one with: openssl rand -base64 48");
    }
    if EXAMPLE_SECRETS.contains(&secret) {
        return Err("is the one from the documentation, which everybody knows; make one with: openssl rand -base64 48");
    }
    Ok(())
}

/// `JWT_SECRET`: one secret, or during a rotation several.
fn jwt_secrets(source: &mut Source) -> Vec<SecretString> {
    secrets(source, "JWT_SECRET", "JWT_SECRET_FILE").unwrap_or_else(|| {
        source.missing("JWT_SECRET", "a secret of at least 32 bytes, the same for both services");
        Vec::new()
    })
}

/// A comma-separated list of secrets; `None` where there is none.
fn secrets(source: &mut Source, name: &'static str, file_name: &'static str) -> Option<Vec<SecretString>> {
    let list = source.secret(name, file_name)?;
    let parts = list.expose_secret().split(',').map(str::trim).filter(|part| !part.is_empty());
    let secrets: Vec<SecretString> = parts.map(SecretString::from).collect();
    if secrets.is_empty() {
        source.problem(name, "holds nothing but commas");
    }
    for what in secrets.iter().filter_map(|secret| check_secret(secret).err()) {
        source.problem(name, what);
    }
    Some(secrets)
}

/// An origin as browsers send it: `https://app.example.com`.
fn origin(text: &str) -> Result<HeaderValue, &'static str> {
    let wrong = "must be an origin such as https://app.example.com, or * for all";
    if text == "*" {
        return Ok(HeaderValue::from_static("*"));
    }
    let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| wrong)?;
    let is_origin =
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some() && uri.path() == "/";
    if !is_origin || uri.query().is_some() {
        return Err(wrong);
    }
    HeaderValue::from_str(text.trim_end_matches('/')).map_err(|_| wrong)
}

fn trusted_proxies(source: &mut Source) -> TrustedProxies {
    let network = |text: &str| {
        let address = text.parse::<IpAddr>().map(Into::into);
        text.parse().or(address).map_err(|_| "must be a network such as 10.0.0.0/8")
    };
    TrustedProxies::new(source.list("TRUSTED_PROXIES", network))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(result: Result<impl Sized, Problems>) -> String {
        result.err().map(|problems| problems.to_string()).unwrap_or_default()
    }

    fn source(settings: &[(&str, &str)]) -> Source {
        Source::new(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    const GOOD: [(&str, &str); 3] = [
        ("JWT_SECRET", "an-unpublished-secret-of-32-bytes-or-more"),
        ("JWT_REFRESH_SECRET", "another-unpublished-secret-of-32-bytes"),
        ("PUBLIC_URL", "https://auth.example.com"),
    ];

    #[test]
    fn everything_that_is_missing_is_told_at_once() {
        let told = problems(auth(source(&[])));
        for name in ["JWT_SECRET", "JWT_REFRESH_SECRET", "PUBLIC_URL"] {
            assert!(told.contains(&format!("  {name}: is required")), "{told}");
        }
        let told = problems(backend(source(&[])));
        for name in ["JWT_SECRET", "AUTH_SERVICE_URL"] {
            assert!(told.contains(&format!("  {name}: is required")), "{told}");
        }
    }

    #[test]
    fn half_of_a_gateways_settings_is_a_mistake() {
        for (set, missing) in [
            (vec![("HTTPSMS_API_KEY", "key")], vec!["HTTPSMS_PHONE_NUMBER"]),
            (vec![("HTTPSMS_PHONE_NUMBER", "+14155552671")], vec!["HTTPSMS_API_KEY"]),
            (vec![("TWILIO_FROM", "+14155552671")], vec!["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"]),
        ] {
            let mut settings = GOOD.to_vec();
            settings.extend(set);
            let told = problems(auth(source(&settings)));
            assert_eq!(told.matches("is required").count(), missing.len(), "{told}");
            assert!(missing.iter().all(|name| told.contains(&format!("  {name}: is required"))), "{told}");
        }
        let mut settings = GOOD.to_vec();
        settings.extend([("HTTPSMS_API_KEY", "key"), ("HTTPSMS_PHONE_NUMBER", "+1 415 555 2671")]);
        assert!(
            matches!(auth(source(&settings)).unwrap().sms, Some(Sms::HttpSms { from, .. }) if from == "+14155552671")
        );
    }

    #[test]
    fn the_least_that_is_needed_suffices() {
        assert_eq!(problems(auth(source(&GOOD))), "");
        let with_url = [GOOD[0], ("AUTH_SERVICE_URL", "http://localhost:3001")];
        assert_eq!(problems(backend(source(&with_url))), "");
    }

    #[test]
    fn weak_and_published_secrets_are_refused_without_being_repeated() {
        for secret in ["short", EXAMPLE_SECRETS[0], "an-unpublished-secret-of-32-bytes-or-more,short"] {
            let told = problems(auth(source(&[("JWT_SECRET", secret), GOOD[1], GOOD[2]])));
            assert!(told.contains("  JWT_SECRET: "), "{told}");
            assert!(!told.contains(secret), "{told}");
        }
        let told = problems(auth(source(&[GOOD[0], ("JWT_REFRESH_SECRET", GOOD[0].1), GOOD[2]])));
        assert!(told.contains("JWT_REFRESH_SECRET: must differ from JWT_SECRET"), "{told}");
    }

    #[test]
    fn no_limit_can_be_switched_off() {
        for (name, value) in [
            ("RATE_LIMIT_TOKEN_PER_MINUTE", "0"),
            ("RATE_LIMIT_TOKEN_PER_MINUTE", "-1"),
            ("RATE_LIMIT_TOKEN_CREATION_PER_DAY", "off"),
            ("MAX_ACTIVE_TOKENS", "0"),
            ("RATE_LIMIT_STRICT", "0/15m"),
            ("RATE_LIMIT_SIGN_IN", "0/15m"),
            ("RATE_LIMIT_SIGN_IN", "off"),
            ("EMAIL_DAILY_CAP", "0"),
            ("SMS_COUNTRIES", "USA"),
            ("SMS_COUNTRIES", "us"),
            ("SMS_COUNTRY_DAILY_CAP", "0"),
            ("SMS_COUNTRY_DAILY_CAP", "1001"),
            ("SMS_BLOCK_DAILY_CAP", "0"),
            ("SMS_BLOCK_DAILY_CAP", "none"),
            ("RATE_LIMIT_STANDARD", "none"),
            ("RATE_LIMIT_RELAXED", "200"),
            ("SMS_DAILY_CAP", "0"),
            ("SMS_DAILY_CAP", "unlimited"),
            ("BCRYPT_COST", "3"),
            ("BCRYPT_COST", "15"),
            ("CACHE_MEMORY", "0"),
            ("CACHE_MEMORY", "15MiB"),
            ("CACHE_MEMORY", "16777215"),
            ("CACHE_MEMORY", "256MB"),
            ("CACHE_MEMORY", "256 mib"),
            ("CACHE_MEMORY", "-1GiB"),
            ("CACHE_MEMORY", "99999999999999999999"),
            ("CACHE_MEMORY", "17179869184GiB"),
            ("CACHE_MEMORY", "none"),
            ("JWT_EXPIRES_IN", "0m"),
            ("REAUTH_MAX_AGE", "59s"),
            ("REAUTH_MAX_AGE", "0"),
            ("REAUTH_MAX_AGE", "25h"),
            ("REAUTH_MAX_AGE", "never"),
            ("REAUTH_FOR_TOKENS", "sometimes"),
            ("TRUSTED_PROXIES", "everybody"),
            ("DATABASE_URL", "mysql://localhost"),
            ("DATABASE_POOL_SIZE", "1"),
            ("DATABASE_STATEMENT_TIMEOUT", "0s"),
            ("DATABASE_LOCK_TIMEOUT", "soon"),
            ("DATABASE_ACQUIRE_TIMEOUT", "never"),
            ("DATABASE_STARTUP_WAIT", "-1s"),
            ("CORS_ORIGIN", "app.example.com"),
            ("CORS_ORIGIN", "https://app.example.com/path"),
            ("AUDIT_RETENTION", "0"),
            ("AUDIT_RETENTION", "30"),
            ("AUDIT_RETENTION", "47h"),
            ("AUDIT_RETENTION", "never"),
            ("PORT", "70000"),
            ("METRICS_PORT", "on"),
            ("DRAIN_DELAY", "6m"),
            ("DRAIN_DELAY", "soon"),
            ("DOMAIN", "example.com/path"),
            ("DOMAIN", "ann@example.com"),
            ("ETH_RPC_URL", "rpc.example.com"),
            ("APP_URL", "app.example.com"),
            ("FRONTEND_URL", "javascript:alert(1)"),
            ("ALLOWED_REDIRECTS", "https://app.example.com,nonsense"),
            ("TWILIO_ACCOUNT_SID", "../AC1"),
            ("HTTPSMS_PHONE_NUMBER", "12345"),
            ("REDIS_URL", "localhost:6379"),
            ("REDIS_URL", "redis://a:6379,http://b"),
            ("REDIS_URL", "rediss://a:port"),
            ("REDIS_URL", "redis://a#insecure"),
            ("REDIS_FALLBACK_DIVISOR", "0"),
            ("REDIS_FALLBACK_DIVISOR", "none"),
            ("REDIS_TIMEOUT_MS", "0"),
        ] {
            let mut settings = GOOD.to_vec();
            settings.push((name, value));
            assert!(problems(auth(source(&settings))).contains(&format!("  {name}: ")), "{name}={value}");
        }
        // Compose files write `NAME=` for "not set".
        let mut settings = GOOD.to_vec();
        settings.push(("RATE_LIMIT_TOKEN_PER_MINUTE", ""));
        assert_eq!(auth(source(&settings)).unwrap().service.limits.token.count, 1000);
    }

    #[test]
    fn a_proof_may_be_ten_minutes_old_unless_somebody_says_otherwise() {
        let reauth = |more: &[(&str, &str)]| auth(source(&[&GOOD[..], more].concat())).unwrap().service.reauth;
        let told = |max_age, for_tokens| ::auth::Reauth { max_age: Duration::from_mins(max_age), for_tokens };
        assert_eq!(reauth(&[]), told(10, false));
        assert_eq!(reauth(&[("REAUTH_MAX_AGE", "1m"), ("REAUTH_FOR_TOKENS", "true")]), told(1, true));
        assert_eq!(reauth(&[("REAUTH_MAX_AGE", "24h")]), told(24 * 60, false));
    }

    #[test]
    fn what_guards_a_mailbox_is_not_raised_into_danger_and_an_old_setting_still_helps_who_shares_an_address() {
        let settings = |more: &[(&str, &str)]| auth(source(&[&GOOD[..], more].concat()));
        let limits = |more: &[(&str, &str)]| settings(more).map(|all| all.service.limits);
        for (text, count) in [("20/15m", 20), ("1/45s", 1), ("20/1d", 20)] {
            assert_eq!(limits(&[("RATE_LIMIT_STRICT", text)]).unwrap().strict.count, count, "{text}");
        }
        for text in ["21/15m", "5/1m", "100/1d", "4294967295/1s", "100/15m"] {
            let raised = limits(&[("RATE_LIMIT_STRICT", text)]).unwrap();
            let most = "20/15m".parse().unwrap();
            assert_eq!((raised.strict, raised.sign_in), (most, text.parse().unwrap()), "{text}");
            let both = limits(&[("RATE_LIMIT_STRICT", text), ("RATE_LIMIT_SIGN_IN", "40/15m")]).unwrap();
            assert_eq!((both.strict, both.sign_in.count), (most, 40), "{text}");
        }
        let told = settings(&[("RATE_LIMIT_STRICT", "100/15m")]).unwrap().notice.unwrap();
        assert!(told.contains("counts as 20/15m") && told.contains("RATE_LIMIT_SIGN_IN"), "{told}");
        assert_eq!(settings(&[("RATE_LIMIT_STRICT", "20/15m")]).unwrap().notice, None);
        let wide = limits(&[("RATE_LIMIT_SIGN_IN", "5000/15m")]).unwrap();
        assert_eq!((wide.sign_in.count, wide.strict.count), (5000, 5));
    }

    #[test]
    fn memory_is_a_number_of_bytes_with_or_without_a_unit() {
        let memory = |more: &[(&str, &str)]| auth(source(&[&GOOD[..], more].concat())).unwrap().service.cache_memory;
        assert_eq!(memory(&[]), 268_435_456);
        for (text, bytes) in [
            ("256MiB", 256 << 20),
            ("1GiB", 1 << 30),
            ("16384KiB", 16 << 20),
            ("16777216", 16 << 20),
            ("32 MiB", 32 << 20),
        ] {
            assert_eq!(memory(&[("CACHE_MEMORY", text)]), bytes, "{text}");
        }
        let told = problems(auth(source(&[&GOOD[..], &[("CACHE_MEMORY", "1MB")]].concat())));
        assert!(told.contains("CACHE_MEMORY: must be an amount of memory of at least 16MiB, such as 256MiB"), "{told}");
    }

    /// The redis crate would take this for the wish that nobody looks at the server's certificate.
    #[test]
    fn rediss_without_a_look_at_the_certificate_is_refused() {
        for url in
            ["rediss://:hunter2@a:6380#insecure", "rediss://:hunter2@a/0#insecure", "rediss://a,rediss://b/#insecure"]
        {
            let told = problems(auth(source(&[&GOOD[..], &[("REDIS_URL", url)]].concat())));
            assert!(told.contains("  REDIS_URL: must not have a fragment"), "{url}: {told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
        assert!(auth(source(&[&GOOD[..], &[("REDIS_URL", "rediss://:hunter%232@a:6380")]].concat())).is_ok());
    }

    #[test]
    fn wallets_sign_in_to_the_site_that_asks_them() {
        let site = |more: &[(&str, &str)]| {
            let config = auth(source(&[&GOOD[..], more].concat())).unwrap().service;
            (config.sign_in_domain, config.sign_in_uri)
        };
        let pair = |domain: &str, uri: &str| (domain.to_owned(), uri.to_owned());
        assert_eq!(site(&[]), pair("auth.example.com", "https://auth.example.com/"));
        assert_eq!(site(&[("DOMAIN", "example.com")]), pair("example.com", "https://auth.example.com/"));
        let app = ("APP_URL", "https://app.example.com:8443");
        assert_eq!(site(&[app]), pair("app.example.com:8443", "https://app.example.com:8443/"));
        assert_eq!(site(&[app, ("DOMAIN", "example.com")]), site(&[app]));
    }

    #[test]
    fn secrets_can_be_read_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwt");
        std::fs::write(&path, "an-unpublished-secret-of-32-bytes-or-more\n").unwrap();
        let file = path.to_str().unwrap();
        let settings = auth(source(&[("JWT_SECRET_FILE", file), GOOD[1], GOOD[2]])).unwrap();
        assert_eq!(
            settings.service.secrets.service_jwt[0].expose_secret(),
            "an-unpublished-secret-of-32-bytes-or-more"
        );

        let told = problems(auth(source(&[("JWT_SECRET_FILE", file), GOOD[0], GOOD[1], GOOD[2]])));
        assert!(told.contains("JWT_SECRET: is set twice"), "{told}");
        let told = problems(auth(source(&[("JWT_SECRET_FILE", "/nowhere/at/all"), GOOD[1], GOOD[2]])));
        assert!(told.contains("JWT_SECRET_FILE: /nowhere/at/all: "), "{told}");
    }
}
