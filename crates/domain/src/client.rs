//! Who is at the other end, as far as the network tells.

use std::net::IpAddr;

/// The end user's side of a request, for limits by address and for the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// The real address: the peer's, or what a trusted proxy says it is.
    pub ip: Option<IpAddr>,
    /// `User-Agent`, printable characters only, at most 256 of them.
    pub user_agent: Option<String>,
    /// The id under which both services log the request.
    pub request_id: Option<String>,
}

const MAX_USER_AGENT: usize = 256;
const MAX_REQUEST_ID: usize = 64;

impl ClientInfo {
    /// A user agent made fit for logs and for people's eyes; `None` when nothing printable is left.
    #[must_use]
    pub fn clean_user_agent(text: &str) -> Option<String> {
        let clean: String = text.chars().filter(|c| !c.is_control()).take(MAX_USER_AGENT).collect();
        let clean = clean.trim();
        (!clean.is_empty()).then(|| clean.to_owned())
    }

    /// Whether a caller's request id can be taken over: 1 to 64 of `[A-Za-z0-9._-]`, so that it cannot break a log
    /// line or a header.
    #[must_use]
    pub fn is_sane_request_id(text: &str) -> bool {
        !text.is_empty()
            && text.len() <= MAX_REQUEST_ID
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_agents_lose_what_could_forge_a_log_line() {
        assert_eq!(ClientInfo::clean_user_agent("curl/8\r\nx: y"), Some("curl/8x: y".to_owned()));
        assert_eq!(ClientInfo::clean_user_agent(" \n"), None);
        assert_eq!(ClientInfo::clean_user_agent(&"x".repeat(999)).unwrap().len(), 256);
    }

    #[test]
    fn request_ids_are_taken_only_when_harmless() {
        assert!(ClientInfo::is_sane_request_id("01J-abc_D.e"));
        for text in ["", "a b", "a\nb", "ä", &"x".repeat(65)] {
            assert!(!ClientInfo::is_sane_request_id(text), "{text:?}");
        }
    }
}
