//! What an operator decides; `afd` reads it from the environment and hands it over whole.

use std::time::Duration;

use domain::Limit;
use http::HeaderValue;
use secrecy::SecretString;
use url::Url;
use web::TrustedProxies;

use crate::LeakPolicy;
use crate::OAuth;
use crate::sign_in::EthereumRpc;

/// The auth service's configuration. All of it has been checked; nothing here is optional to save a check.
pub struct Config {
    /// Secrets, each of at least 32 bytes.
    pub secrets: Secrets,
    /// How long an access JWT lives.
    pub access_lifetime: Duration,
    /// How long a refresh JWT lives.
    pub refresh_lifetime: Duration,
    /// How long a session lives, however often it is refreshed.
    pub session_max_lifetime: Duration,
    /// Limits.
    pub limits: Limits,
    /// bcrypt's cost for new tokens.
    pub bcrypt_cost: u32,
    /// Bytes that caches and windows take in memory at most.
    pub cache_memory: usize,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// How long audit events are kept; `None` is for ever.
    pub audit_retention: Option<Duration>,
    /// What becomes of a token that was reported as leaked.
    pub leak_policy: LeakPolicy,
    /// Whether people are told by mail what happens to their accounts.
    pub security_mails: bool,
    /// Origins whose pages may call the service.
    pub cors_origins: Vec<HeaderValue>,
    /// Sign-in at providers.
    pub oauth: OAuth,
    /// The service's own address as people's browsers see it.
    pub public_url: Url,
    /// The app that people sign in to, where those go who named no other place.
    pub app_url: Option<Url>,
    /// Whether `POST /tokens/validate` answers callers without a service JWT.
    pub validate_allow_anonymous: bool,
    /// The site that wallets are asked to sign in to: an RFC 3986 authority, that of the pages that ask them.
    pub sign_in_domain: String,
    /// The URI of that site.
    pub sign_in_uri: String,
    /// `ETH_RPC_URL`; without it, smart-contract wallets cannot sign in.
    pub ethereum: Option<EthereumRpc>,
}

impl Config {
    /// 256 MiB for [`cache_memory`](Self::cache_memory).
    pub const CACHE_MEMORY: usize = 256 * 1024 * 1024;
    /// With less, a service of a few users would do without a cache.
    pub const MIN_CACHE_MEMORY: usize = 16 * 1024 * 1024;

    pub(crate) fn memory(&self) -> Memory {
        let quarter = self.cache_memory / 4;
        let descriptions = quarter / 4;
        Memory { copies: 2 * quarter - descriptions, descriptions, token_windows: quarter, caller_windows: quarter }
    }
}

/// What each of them may take of [`Config::cache_memory`], in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Copies of credentials.
    pub(crate) copies: usize,
    /// What users see of themselves.
    pub(crate) descriptions: usize,
    /// Windows and marks of credentials.
    pub(crate) token_windows: usize,
    /// Windows of addresses, users, mailboxes and phones. Apart from the others: somebody with many addresses can fill
    /// these, and must not crowd out customers' tokens with them.
    pub(crate) caller_windows: usize,
}

/// The secrets of the auth service.
pub struct Secrets {
    /// `JWT_SECRET`: all verify service JWTs; while `seal` is empty the first seals, and all open.
    pub service_jwt: Vec<SecretString>,
    /// `JWT_REFRESH_SECRET`.
    pub refresh_jwt: SecretString,
    /// `TOKEN_SEAL_KEY`: the first seals, all open.
    pub seal: Vec<SecretString>,
}

impl Secrets {
    /// The secret under which digests and seals are made, then those under which older ones may have been.
    pub(crate) fn sealing(&self) -> impl Iterator<Item = &SecretString> {
        self.seal.iter().chain(&self.service_jwt)
    }
}

/// How much of what is granted.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Requests a minute for each credential.
    pub token: Limit,
    /// Creations and rotations of tokens that a user may make in any 24 hours.
    pub creations_per_day: u32,
    /// Token exchanges of a user.
    pub exchanges: Limit,
    /// Tokens a user may have that have not expired.
    pub max_active_tokens: u32,
    /// SMS that are sent in one day of UTC, to whomever: they cost money.
    pub sms_per_day: u32,
    /// By address, for what can be guessed or costs money to send.
    pub strict: Limit,
    /// By user or address, for the rest of sign-in, account and tokens.
    pub standard: Limit,
    /// By address, for public reads.
    pub relaxed: Limit,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            token: Limit::per_minute(1000),
            creations_per_day: 50,
            exchanges: Limit::per_minute(60),
            max_active_tokens: 500,
            sms_per_day: 1000,
            strict: Limit { count: 5, window: Duration::from_mins(15) },
            standard: Limit::per_minute(60),
            relaxed: Limit::per_minute(200),
        }
    }
}
