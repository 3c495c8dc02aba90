//! What an operator decides; `afd` reads it from the environment and hands it over whole.

use std::time::Duration;

use domain::{Countries, Limit};
use http::HeaderValue;
use secrecy::SecretString;
use url::Url;
use web::TrustedProxies;

use crate::LeakPolicy;
use crate::OAuth;
use crate::sign_in::EthereumRpc;
use crate::sign_in::allowance::of_newcomers;

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
    /// What is demanded of sessions before they change what an account rests on.
    pub reauth: Reauth,
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

/// How fresh the proof of who somebody is has to be (RFC 9470).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reauth {
    /// How old it may be where ways in, the second factor or the whole account are at stake.
    pub max_age: Duration,
    /// Whether what makes a token wants it too.
    pub for_tokens: bool,
}

impl Reauth {
    /// With less, nobody could type a code and go on.
    pub const SHORTEST: Duration = Duration::from_mins(1);
    /// With more, a stolen session would be as good as its owner.
    pub const LONGEST: Duration = Duration::from_hours(24);
}

impl Default for Reauth {
    fn default() -> Self {
        Self { max_age: Duration::from_mins(10), for_tokens: false }
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
    /// Mails with codes that are sent in one day of UTC, to whomever: each costs a little of the sender's good name.
    pub mails_per_day: u32,
    /// SMS that are sent in one day of UTC, to whomever: they cost money.
    pub sms_per_day: u32,
    /// Of these, to new numbers of one country; half, or where there is only one country all that new numbers get, when
    /// it is `None`.
    pub sms_per_country: Option<u32>,
    /// Of these, to new numbers of one block of ten thousand.
    pub sms_per_block: u32,
    /// Countries whose numbers get SMS.
    pub sms_countries: Countries,
    /// By address, over all routes on which somebody signs in: for what can be guessed or costs money to send.
    pub sign_in: Limit,
    /// By mailbox, number or wallet, wherever the requests come from.
    pub strict: Limit,
    /// By user or address, for the rest of sign-in, account and tokens.
    pub standard: Limit,
    /// By address, for public reads.
    pub relaxed: Limit,
}

impl Limits {
    /// SMS a day to new numbers of one country.
    pub(crate) fn new_sms_of_country(&self) -> u32 {
        let all = of_newcomers(self.sms_per_day);
        let by_default = match &self.sms_countries {
            Countries::Only(countries) if countries.len() == 1 => all,
            Countries::Only(_) | Countries::All => (self.sms_per_day / 2).max(1),
        };
        self.sms_per_country.unwrap_or(by_default).min(all)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            token: Limit::per_minute(1000),
            creations_per_day: 50,
            exchanges: Limit::per_minute(60),
            max_active_tokens: 500,
            mails_per_day: 20_000,
            sms_per_day: 1000,
            sms_per_country: None,
            sms_per_block: 20,
            sms_countries: Countries::All,
            sign_in: Limit { count: 30, window: Duration::from_mins(15) },
            strict: Limit { count: 5, window: Duration::from_mins(15) },
            standard: Limit::per_minute(60),
            relaxed: Limit::per_minute(200),
        }
    }
}
