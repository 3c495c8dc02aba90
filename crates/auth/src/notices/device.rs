//! What a device is, as far as a request shows it: the family of the program with its system, and the network. No
//! cookie is set for it. Versions do not count, nor does the place in the network.

use domain::{ClientInfo, Digest};

use crate::AuthService;
use crate::addresses::Levels;
use crate::sessions::devices::device_name;

/// A name of a program is cut off after this.
const LONGEST: usize = 40;

/// The device by which somebody signs in; worthless without the service's key.
pub(crate) fn digest(auth: &AuthService, client: &ClientInfo) -> Digest {
    let program = program(client.user_agent.as_deref());
    auth.code_digests.digest(&["device", &program, Levels::of(client.ip).network()])
}

/// The program's name, for people: whoever chose it may be the one that people are warned of, so it holds nothing that
/// reads as an address or a sentence of ours.
pub(super) fn program(user_agent: Option<&str>) -> String {
    let name = device_name(user_agent.unwrap_or_default());
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let name: String = name.chars().take_while(is_plain).take(LONGEST).collect();
    let name = name.trim();
    if name.is_empty() { "a program without a name".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_is_no_address() {
        for (agent, name) in [
            (Some("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"), "Firefox on Linux"),
            (Some("curl/8.5.0"), "curl"),
            (Some("evil.example/1"), "evil"),
            (Some("https://evil.example"), "https"),
            (Some("<b>call</b>"), "a program without a name"),
            (Some(""), "Unknown device"),
            (None, "Unknown device"),
        ] {
            assert_eq!(program(agent), name, "{agent:?}");
        }
        assert_eq!(program(Some(&"x".repeat(500))).len(), LONGEST);
    }
}
