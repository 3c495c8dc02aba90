//! The state of a limit in a reply's headers.

use std::time::Duration;

use auth_api::RateLimit;
use domain::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The state of one limit, as `X-RateLimit-*` and as the IETF's `RateLimit` and `RateLimit-Policy`
/// (draft-ietf-httpapi-ratelimit-headers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How many are admitted in one window.
    pub limit: u32,
    /// How many are left.
    pub remaining: u32,
    /// When the first of those counted leaves the window.
    pub reset_at: Timestamp,
    /// The window's length.
    pub length: Duration,
}

/// What the auth service counts a credential's uses in.
const CREDENTIAL_WINDOW: Duration = Duration::from_mins(1);

/// The window of a credential.
impl From<&RateLimit> for Window {
    fn from(&RateLimit { limit, remaining, reset_at }: &RateLimit) -> Self {
        Self { limit, remaining, reset_at, length: CREDENTIAL_WINDOW }
    }
}

impl Window {
    /// Writes the five fields.
    pub fn write(&self, headers: &mut HeaderMap, now: Timestamp) {
        let Self { limit, remaining, reset_at, length } = *self;
        let wait = reset_at.since(now).as_millis().div_ceil(1000);
        headers.insert(LIMIT, limit.into());
        headers.insert(REMAINING, remaining.into());
        let mut set = |name: HeaderName, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        set(RESET, reset_at.to_string());
        set(STATE, format!("\"default\";r={remaining};t={wait}"));
        set(POLICY, format!("\"default\";q={limit};w={}", length.as_secs()));
    }
}

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
