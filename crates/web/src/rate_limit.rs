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
        let wait = u64::try_from(reset_at.since(now).as_millis().div_ceil(1000)).unwrap_or(u64::MAX);
        let mut value = Value { text: [0; 64], length: 0 };
        headers.insert(LIMIT, value.number(limit).take());
        headers.insert(REMAINING, value.number(remaining).take());
        match reset_at.iso_8601() {
            Some(text) => headers.insert(RESET, value.text(&text).take()),
            None => headers.insert(RESET, value.text(reset_at.to_string().as_bytes()).take()),
        };
        value.text(b"\"default\";r=").number(remaining).text(b";t=").number(wait);
        headers.insert(STATE, value.take());
        value.text(b"\"default\";q=").number(limit).text(b";w=").number(length.as_secs());
        headers.insert(POLICY, value.take());
    }
}

/// A header's value in the making. Five of them are written with every validation, and to format them takes several
/// times as long.
struct Value {
    text: [u8; 64],
    length: usize,
}

impl Value {
    /// What there is no room for is left out; the longest of the fields takes 48 bytes.
    fn text(&mut self, text: &[u8]) -> &mut Self {
        if let Some(room) = self.text.get_mut(self.length..self.length + text.len()) {
            room.copy_from_slice(text);
            self.length += text.len();
        }
        self
    }

    fn number(&mut self, number: impl itoa::Integer) -> &mut Self {
        let mut digits = itoa::Buffer::new();
        self.text(digits.format(number).as_bytes())
    }

    /// The value; the next one begins.
    fn take(&mut self) -> HeaderValue {
        let length = std::mem::take(&mut self.length);
        HeaderValue::from_bytes(&self.text[..length]).expect("digits, letters and signs are good for a header")
    }
}

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

#[cfg(test)]
mod tests {
    use super::*;

    fn written(window: Window, now: i64) -> Vec<String> {
        let mut headers = HeaderMap::new();
        window.write(&mut headers, Timestamp::from_millis(now));
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn the_five_fields_of_a_window() {
        let window = Window {
            limit: 1000,
            remaining: 7,
            reset_at: Timestamp::from_millis(1_762_603_200_001),
            length: CREDENTIAL_WINDOW,
        };
        let expected = [
            "x-ratelimit-limit: 1000",
            "x-ratelimit-remaining: 7",
            "x-ratelimit-reset: 2025-11-08T12:00:00.001Z",
            r#"ratelimit: "default";r=7;t=60"#,
            r#"ratelimit-policy: "default";q=1000;w=60"#,
        ];
        assert_eq!(written(window, 1_762_603_141_000), expected, "59.001 s are a minute: nobody is told to come early");
        assert!(written(window, 1_762_603_200_001).contains(&r#"ratelimit: "default";r=7;t=0"#.to_owned()));
    }

    #[test]
    fn the_longest_values_have_room() {
        let reset_at = Timestamp::from_millis(i64::MAX);
        let written =
            written(Window { limit: u32::MAX, remaining: u32::MAX, reset_at, length: Duration::MAX }, i64::MIN);
        assert_eq!(written[2], format!("x-ratelimit-reset: {reset_at}"));
        assert_eq!(written[3], r#"ratelimit: "default";r=4294967295;t=9223372036854776"#);
        assert_eq!(written[4], r#"ratelimit-policy: "default";q=4294967295;w=18446744073709551615"#);
    }
}
