//! Who asked for a message, in words that nobody but us has chosen.

use domain::{ClientInfo, Timestamp};
use minijinja::{Value, context};

use crate::sessions::devices::known_device;

/// With what, from where and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    program: String,
    address: String,
    at: String,
}

impl Asked {
    pub(crate) fn of(client: &ClientInfo, at: Timestamp) -> Self {
        let at = at.to_string();
        Self {
            // Whoever asks for a mail to somebody else must not write a part of it.
            program: known_device(client.user_agent.as_deref().unwrap_or_default())
                .unwrap_or_else(|| "an unknown program".to_owned()),
            address: client.ip.map_or_else(|| "an unknown address".to_owned(), |ip| ip.to_canonical().to_string()),
            at: match (at.get(..10), at.get(11..16)) {
                (Some(date), Some(time)) => format!("{date} {time} UTC"),
                _ => at,
            },
        }
    }

    /// As a template sees it.
    pub(super) fn shown(&self) -> Value {
        context! { program => &self.program, address => &self.address, at => &self.at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_named_in_our_own_words() {
        let named = |user_agent: &str| {
            let client = ClientInfo { user_agent: Some(user_agent.to_owned()), ..ClientInfo::default() };
            Asked::of(&client, Timestamp::from_millis(0)).program
        };
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0";
        assert_eq!(named(firefox), "Firefox on Linux");
        for user_agent in ["Call +1 900 555 0100 now, Google Security", "curl/8.5.0", ""] {
            assert_eq!(named(user_agent), "an unknown program");
        }
    }
}
