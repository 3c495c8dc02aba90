//! What people are told of a machine that asks for something in their name, beside what it says of itself.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// A name that a program claims, fit for people's eyes: printable ASCII on one line, at most 60 characters. What turns
/// text around, hides in it or only looks like other letters is left out, so it shows nothing but itself; whether it is
/// true nobody knows, so it belongs in quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedName(String);

const MAX_LENGTH: usize = 60;

impl ClaimedName {
    /// The name without what does not belong in one; `None` when nothing is left.
    #[must_use]
    pub fn clean(text: &str) -> Option<Self> {
        let printable = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c });
        let printable: String = printable.filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
        let mut clean = printable.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        if clean.len() > MAX_LENGTH {
            clean.truncate(MAX_LENGTH - 3);
            clean.truncate(clean.trim_end().len());
            clean += "...";
        }
        (!clean.is_empty()).then_some(Self(clean))
    }

    /// The same of a `User-Agent`; that of a browser is said in words, such as `Firefox on Linux`.
    #[must_use]
    pub fn of_agent(agent: &str) -> Option<Self> {
        browser(agent).or_else(|| Self::clean(agent))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Browsers say that they are each other, so the order counts: whoever says `Edg/` says `Chrome/` and `Safari/` as well.
fn browser(agent: &str) -> Option<ClaimedName> {
    let first =
        |known: &[(&str, &'static str)]| known.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name);
    if !agent.starts_with("Mozilla/5.0 (") {
        return None;
    }
    let name = first(&[
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("CriOS/", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ])?;
    let system = first(&[
        ("iPhone", "an iPhone"),
        ("iPad", "an iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS X", "a Mac"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ])?;
    Some(ClaimedName(format!("{name} on {system}")))
}

impl fmt::Display for ClaimedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// About where an address is: its /24, or of IPv6 its /48. What one household or company has is rarely more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbourhood(IpNet);

impl Neighbourhood {
    /// That of this address. An IPv4 address is the same whether it comes as itself or mapped into IPv6.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let length = if address.is_ipv4() { 24 } else { 48 };
        Self(IpNet::new(address, length).map_or(IpNet::from(address), |network| network.trunc()))
    }
}

impl fmt::Display for Neighbourhood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> Option<String> {
        ClaimedName::clean(text).map(|name| name.to_string())
    }

    #[test]
    fn a_claimed_name_is_one_line_of_plain_letters() {
        assert_eq!(clean("curl/8.5.0").as_deref(), Some("curl/8.5.0"));
        assert_eq!(clean("  a \r\n\tb\u{2028}c ").as_deref(), Some("a b c"));
        // Right to left, zero width, a tag, a combining stroke, Cyrillic that looks Latin.
        assert_eq!(clean("\u{202e}Goo\u{200b}gle\u{2066}\u{e0041}\u{338}\u{430}").as_deref(), Some("Google"));
        assert_eq!(clean("\u{feff}\u{0}\u{7f}\u{200f}"), None);
        let long = clean(&"word ".repeat(40)).unwrap();
        assert!(long.len() <= 60 && long.ends_with("..."), "{long}");
        for c in (0..0x11_0000).filter_map(char::from_u32) {
            let shown = clean(&format!("x{c}x")).unwrap();
            assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn browsers_are_said_in_words() {
        let of = |agent: &str| ClaimedName::of_agent(agent).unwrap().to_string();
        let windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)";
        assert_eq!(of(&format!("{windows} Chrome/131.0.0.0 Safari/537.36")), "Chrome on Windows");
        assert_eq!(of(&format!("{windows} Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0")), "Edge on Windows");
        assert_eq!(of("Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"), "Firefox on Linux");
        let phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)";
        assert_eq!(of(&format!("{phone} Version/18.1 Mobile/15E148 Safari/604.1")), "Safari on an iPhone");
        assert_eq!(of("af-cli/1.2 Firefox/1 Linux"), "af-cli/1.2 Firefox/1 Linux", "what is no browser stays as it is");
    }

    #[test]
    fn a_neighbourhood_is_a_network() {
        let of = |text: &str| Neighbourhood::of(text.parse().unwrap()).to_string();
        assert_eq!(of("203.0.113.77"), "203.0.113.0/24");
        assert_eq!(of("::ffff:203.0.113.77"), "203.0.113.0/24");
        assert_eq!(of("2001:db8:1:2::3"), "2001:db8:1::/48");
    }
}
