//! The auth service's settings.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use ::auth::{Config, EthereumRpc, LeakPolicy, Limits, Reauth, Secrets};
use ::http::uri::Authority;
use domain::{Limit, PhoneNumber, PhoneNumberError, parse_duration};
use limiter::Redis;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::oauth::oauth;
use super::{Listen, Problems, Source, check_secret, jwt_secrets, listen, origin, secrets, trusted_proxies};

/// All that `afd auth` needs to know.
pub(crate) struct AuthSettings {
    pub listen: Listen,
    pub database_url: String,
    pub database: store::Options,
    pub auto_migrate: bool,
    pub redis: Option<RedisSettings>,
    pub mail: Option<Mail>,
    pub sms: Option<Sms>,
    /// The sender of mail.
    pub from: String,
    /// What messages call the installation.
    pub product: String,
    /// The operator's own templates.
    pub templates: Option<PathBuf>,
    /// What is to be said at start: a setting that does something else than whoever wrote it may expect.
    pub notice: Option<&'static str>,
    pub service: Config,
}

/// Where all instances count together.
pub(crate) struct RedisSettings {
    pub url: SecretString,
    pub timeout: Duration,
    pub fallback_divisor: NonZeroU32,
}

/// How mail is sent.
pub(crate) enum Mail {
    Smtp { url: SecretString },
    Resend { api_url: String, key: SecretString },
}

/// How SMS are sent.
pub(crate) enum Sms {
    HttpSms { api_url: String, key: SecretString, from: String },
    Twilio { api_url: String, account: String, token: SecretString, from: String },
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
    let seal = seal_secrets(source);
    let public_url = source.read("PUBLIC_URL", http_url);
    if public_url.is_none() && source.text("PUBLIC_URL").is_none() {
        source.missing("PUBLIC_URL", "the service's address as browsers see it, such as https://auth.example.com");
    }
    // Never used: a configuration without the address is refused.
    let nowhere = Url::parse("http://localhost").expect("this is a URL");
    let host = public_url.as_ref().and_then(Url::host_str).unwrap_or("localhost");
    let domain = source.text("DOMAIN").unwrap_or_else(|| host.to_owned());

    let (sign_in_domain, sign_in_uri) = sign_in_site(source, public_url.as_ref());
    let ethereum = ethereum(source);

    let sms = sms(source);
    let (limits, notice) = limits(source);
    let settings = AuthSettings {
        listen: listen(source, "0.0.0.0", 3001),
        database_url: database_setting(source),
        database: database_options(source),
        auto_migrate: source.flag("AUTO_MIGRATE", true),
        redis: redis(source),
        mail: mail(source),
        sms,
        from: source.text("FROM_EMAIL").unwrap_or_else(|| format!("no-reply@{domain}")),
        product: domain,
        templates: source.text("MAIL_TEMPLATES_DIR").map(PathBuf::from),
        notice,
        service: Config {
            secrets: Secrets { service_jwt, refresh_jwt: refresh_jwt.unwrap_or_default(), seal },
            access_lifetime: duration(source, "JWT_EXPIRES_IN", Duration::from_mins(15)),
            refresh_lifetime: duration(source, "JWT_REFRESH_EXPIRES_IN", Duration::from_hours(7 * 24)),
            session_max_lifetime: duration(source, "SESSION_MAX_LIFETIME", Duration::from_hours(30 * 24)),
            reauth: reauth(source),
            limits,
            bcrypt_cost: bcrypt_cost(source),
            cache_memory: source.read_or("CACHE_MEMORY", Config::CACHE_MEMORY, cache_memory),
            trusted_proxies: trusted_proxies(source),
            audit_retention: source.read_or("AUDIT_RETENTION", None, audit_retention),
            leak_policy: source.read_or("LEAK_POLICY", LeakPolicy::Revoke, leak_policy),
            security_mails: source.flag("SECURITY_MAILS", true),
            cors_origins: source.list("CORS_ORIGIN", origin),
            oauth: oauth(source),
            public_url: public_url.unwrap_or(nowhere),
            app_url: ["APP_URL", "FRONTEND_URL"].iter().find_map(|name| http_url(&source.text(name)?).ok()),
            validate_allow_anonymous: source.flag("VALIDATE_ALLOW_ANONYMOUS", false),
            sign_in_domain,
            sign_in_uri,
            ethereum,
        },
    };
    source.finish(settings)
}

/// Creations are limited by the events of 24 hours, on whatever clock.
const MIN_AUDIT_RETENTION: Duration = Duration::from_hours(48);

pub(super) fn audit_retention(text: &str) -> Result<Option<Duration>, &'static str> {
    if text == "forever" {
        return Ok(None);
    }
    let kept = parse_duration(text).ok().filter(|kept| *kept >= MIN_AUDIT_RETENTION);
    kept.map(Some).ok_or("must be forever, or a duration of at least 2d such as 365d")
}

/// A number of bytes, by itself or with a unit.
fn cache_memory(text: &str) -> Result<usize, &'static str> {
    const MISTAKE: &str = "must be an amount of memory of at least 16MiB, such as 256MiB, 1GiB or 268435456";
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(MISTAKE),
    };
    let number = digits.trim_end().parse::<usize>().ok();
    let bytes = number.and_then(|number| number.checked_mul(unit));
    bytes.filter(|bytes| *bytes >= Config::MIN_CACHE_MEMORY).ok_or(MISTAKE)
}

fn leak_policy(text: &str) -> Result<LeakPolicy, &'static str> {
    match text {
        "revoke" => Ok(LeakPolicy::Revoke),
        "notify" => Ok(LeakPolicy::Notify),
        _ => Err("must be revoke or notify"),
    }
}

/// The database, and the secrets under which its keys are sealed, for `afd keys`.
///
/// # Errors
/// Everything that is wrong, at once.
pub(crate) fn signing(mut source: Source) -> Result<(String, Secrets), Problems> {
    let source = &mut source;
    let service_jwt = jwt_secrets(source);
    let refresh_jwt = refresh_secret(source, &service_jwt).unwrap_or_default();
    let seal = secrets(source, "TOKEN_SEAL_KEY", "TOKEN_SEAL_KEY_FILE").unwrap_or_default();
    let url = database_setting(source);
    source.finish((url, Secrets { service_jwt, refresh_jwt, seal }))
}

/// Which database `afd migrate` works on, and how: in a container it may be there before the database.
///
/// # Errors
/// When `DATABASE_URL` names none, or another of the database's settings is wrong.
pub(crate) fn migration(mut source: Source) -> Result<(String, store::Options), Problems> {
    let database = (database_setting(&mut source), database_options(&mut source));
    source.finish(database)
}

pub(super) fn seal_secrets(source: &mut Source) -> Vec<SecretString> {
    secrets(source, "TOKEN_SEAL_KEY", "TOKEN_SEAL_KEY_FILE").unwrap_or_default()
}

pub(super) fn bcrypt_cost(source: &mut Source) -> u32 {
    source.number("BCRYPT_COST", 10, 4, 14)
}

pub(super) fn database_setting(source: &mut Source) -> String {
    // It can hold a password.
    let Some(url) = source.secret("DATABASE_URL", "DATABASE_URL_FILE") else { return DEFAULT_DATABASE_URL.to_owned() };
    database_url(url.expose_secret()).unwrap_or_else(|what| {
        source.problem("DATABASE_URL", what);
        String::new()
    })
}

fn database_options(source: &mut Source) -> store::Options {
    let default = store::Options::default();
    store::Options {
        connections: source.number("DATABASE_POOL_SIZE", default.connections, 2, 1000),
        lock_timeout: duration(source, "DATABASE_LOCK_TIMEOUT", default.lock_timeout),
        statement_timeout: duration(source, "DATABASE_STATEMENT_TIMEOUT", default.statement_timeout),
        acquire_timeout: source.read("DATABASE_ACQUIRE_TIMEOUT", parse_duration).or(default.acquire_timeout),
        start_up_wait: duration(source, "DATABASE_STARTUP_WAIT", default.start_up_wait),
    }
}

fn redis(source: &mut Source) -> Option<RedisSettings> {
    let divisor = source.number("REDIS_FALLBACK_DIVISOR", 10, 1, 1_000_000);
    let timeout = source.number("REDIS_TIMEOUT_MS", 250, 10, 10_000);
    let url = source.secret("REDIS_URL", "REDIS_URL_FILE")?;
    if let Err(error) = Redis::check_url(url.expose_secret()) {
        source.problem("REDIS_URL", &error.to_string());
    }
    Some(RedisSettings {
        url,
        timeout: Duration::from_millis(u64::from(timeout)),
        fallback_divisor: NonZeroU32::new(divisor).unwrap_or(NonZeroU32::MIN),
    })
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

fn reauth(source: &mut Source) -> Reauth {
    let default = Reauth::default();
    Reauth {
        max_age: source.read_or("REAUTH_MAX_AGE", default.max_age, |text| {
            let max_age = parse_duration(text).ok().filter(|age| (Reauth::SHORTEST..=Reauth::LONGEST).contains(age));
            max_age.ok_or("must be a duration between 1m and 24h such as 10m")
        }),
        for_tokens: source.flag("REAUTH_FOR_TOKENS", default.for_tokens),
    }
}

fn limits(source: &mut Source) -> (Limits, Option<&'static str>) {
    let default = Limits::default();
    let Limits { token, creations_per_day, exchanges, max_active_tokens, strict, standard, relaxed, .. } = default;
    let Strict { strict, by_address } = strict_limit(source.read("RATE_LIMIT_STRICT", str::parse).unwrap_or(strict));
    let sms_per_day = source.number("SMS_DAILY_CAP", default.sms_per_day, 1, 10_000_000);
    let limits = Limits {
        token: Limit::per_minute(source.number("RATE_LIMIT_TOKEN_PER_MINUTE", token.count, 1, 10_000_000)),
        creations_per_day: source.number("RATE_LIMIT_TOKEN_CREATION_PER_DAY", creations_per_day, 1, 10_000_000),
        exchanges: source.read_or("RATE_LIMIT_TOKEN_EXCHANGE", exchanges, str::parse),
        max_active_tokens: source.number("MAX_ACTIVE_TOKENS", max_active_tokens, 1, 10_000_000),
        mails_per_day: source.number("EMAIL_DAILY_CAP", default.mails_per_day, 1, 10_000_000),
        sms_per_day,
        sms_per_country: source.read("SMS_COUNTRY_DAILY_CAP", |text| part_of(text, sms_per_day)),
        sms_per_block: source
            .read_or("SMS_BLOCK_DAILY_CAP", default.sms_per_block.min(sms_per_day), |text| part_of(text, sms_per_day)),
        sms_countries: source.read_or("SMS_COUNTRIES", default.sms_countries, str::parse),
        sign_in: source.read_or("RATE_LIMIT_SIGN_IN", by_address.unwrap_or(default.sign_in), str::parse),
        strict,
        standard: source.read_or("RATE_LIMIT_STANDARD", standard, str::parse),
        relaxed: source.read_or("RATE_LIMIT_RELAXED", relaxed, str::parse),
    };
    (limits, by_address.map(|_| RAISED))
}

/// The most that one mailbox, number or wallet can be granted in 15 minutes.
const MAX_STRICT: u32 = 20;
const STRICT_WINDOW: Duration = Duration::from_mins(15);

const RAISED: &str = "RATE_LIMIT_STRICT counts as 20/15m: it is what one mailbox, number or wallet is granted wherever the \
     requests come from, and more would let strangers flood it. What it is set to is granted to each address, unless \
     RATE_LIMIT_SIGN_IN says what is: set that instead";

/// What `RATE_LIMIT_STRICT` comes to.
struct Strict {
    /// What one mailbox, number or wallet is granted.
    strict: Limit,
    /// What one address is granted, if it was this that the setting was raised for.
    by_address: Option<Limit>,
}

/// What guards a mailbox or a number cannot be raised into danger. It was the limit of an address as well, once, and was
/// raised for the many people behind one: for an installation whose settings are of that time it still does that.
fn strict_limit(given: Limit) -> Strict {
    let Limit { count, window } = given;
    let by_rate = u64::from(count) * STRICT_WINDOW.as_secs() <= u64::from(MAX_STRICT) * window.as_secs();
    if count <= MAX_STRICT && by_rate {
        return Strict { strict: given, by_address: None };
    }
    Strict { strict: Limit { count: MAX_STRICT, window: STRICT_WINDOW }, by_address: Some(given) }
}

/// A number of the day's SMS.
fn part_of(text: &str, all: u32) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=all).contains(number));
    number.ok_or(format!("must be a whole number between 1 and SMS_DAILY_CAP, which is {all}"))
}

fn mail(source: &mut Source) -> Option<Mail> {
    let api_url = source.text("RESEND_API_URL").unwrap_or_else(|| ::auth::Resend::DEFAULT_API_URL.to_owned());
    let smtp = source.secret("SMTP_URL", "SMTP_URL_FILE").map(|url| Mail::Smtp { url });
    let resend = source.secret("RESEND_API_KEY", "RESEND_API_KEY_FILE").map(|key| Mail::Resend { api_url, key });
    smtp.or(resend)
}

/// The site that wallets sign in to: they compare it with the page that asks, which is the app's.
fn sign_in_site(source: &mut Source, public_url: Option<&Url>) -> (String, String) {
    let app_url = source.text("APP_URL").and_then(|text| http_url(&text).ok());
    let site = app_url.as_ref().or(public_url);
    let authority = site.map(|url| url.authority().to_owned()).unwrap_or_default();
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

/// Half of a provider's settings is a mistake, and would be noticed only by those who wait for a code.
fn sms(source: &mut Source) -> Option<Sms> {
    let api_url = source.text("HTTPSMS_API_URL").unwrap_or_else(|| ::auth::HttpSms::DEFAULT_API_URL.to_owned());
    let key = source.secret("HTTPSMS_API_KEY", "HTTPSMS_API_KEY_FILE");
    let http_sms = match (key, source.read("HTTPSMS_PHONE_NUMBER", phone_number)) {
        (Some(key), Some(from)) => Some(Sms::HttpSms { api_url, key, from }),
        (Some(_), None) => {
            source.missing("HTTPSMS_PHONE_NUMBER", "the number that HTTPSMS_API_KEY sends from, such as +14155552671");
            None
        }
        (None, Some(_)) => {
            source.missing("HTTPSMS_API_KEY", "the key that goes with HTTPSMS_PHONE_NUMBER");
            None
        }
        (None, None) => None,
    };
    let api_url = source.text("TWILIO_API_URL").unwrap_or_else(|| ::auth::Twilio::DEFAULT_API_URL.to_owned());
    let account = source.read("TWILIO_ACCOUNT_SID", account_sid);
    let token = source.secret("TWILIO_AUTH_TOKEN", "TWILIO_AUTH_TOKEN_FILE");
    let from = source.text("TWILIO_FROM");
    let twilio = match (account, token, from) {
        (Some(account), Some(token), Some(from)) => Some(Sms::Twilio { api_url, account, token, from }),
        (None, None, None) => None,
        (account, token, from) => {
            let parts = [
                ("TWILIO_ACCOUNT_SID", account.is_some()),
                ("TWILIO_AUTH_TOKEN", token.is_some()),
                ("TWILIO_FROM", from.is_some()),
            ];
            for (name, _) in parts.into_iter().filter(|(_, is_there)| !is_there) {
                source.missing(name, "Twilio's settings belong together");
            }
            None
        }
    };
    http_sms.or(twilio)
}

fn phone_number(text: &str) -> Result<String, PhoneNumberError> {
    text.parse().map(|number: PhoneNumber| number.to_string())
}

/// It becomes a part of a path.
fn account_sid(text: &str) -> Result<String, &'static str> {
    let is_sid = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_sid { Ok(text.to_owned()) } else { Err("must be an account's SID such as AC0123…") }
}

fn duration(source: &mut Source, name: &'static str, default: Duration) -> Duration {
    source.read_or(name, default, parse_duration)
}

fn database_url(text: &str) -> Result<String, &'static str> {
    let known = ["sqlite:", "postgres:", "postgresql:"];
    if known.iter().any(|scheme| text.starts_with(scheme)) {
        Ok(text.to_owned())
    } else {
        Err("must be sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE")
    }
}

fn http_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.fragment().is_none());
    url.ok_or("must be a URL such as https://auth.example.com")
}
