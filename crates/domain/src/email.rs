//! E-mail addresses as people see them: one mailbox, one spelling, one account.

use std::fmt;
use std::str::FromStr;

/// A normalised address: trimmed, lower case, an internationalised domain in its ASCII form.
///
/// RFC 5321 lets a mailbox's local part be case-sensitive; no provider that people use does so, and treating
/// `Ann@example.com` and `ann@example.com` as two accounts would give one mailbox two of every limit.
///
/// No letter outside ASCII becomes one of ASCII on the way: a mailbox whose name only looks like somebody's must not
/// open their account. Lower-casing makes a `k` of the Kelvin sign, and IDNA a `tel` of `℡`; both are refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EmailAddress(String);

/// Text that is no e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an e-mail address such as ann@example.com")]
pub struct EmailAddressError;

/// RFC 5321 §4.5.3.1, less the angle brackets.
const MAX_LENGTH: usize = 254;
const MAX_LOCAL_LENGTH: usize = 64;

impl EmailAddress {
    /// The normalised address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The mailbox that mail to it arrives in, as far as the provider is known to ignore a part of the address. For
    /// what one mailbox may get; whose the address is, it does not say.
    #[must_use]
    pub fn mailbox(&self) -> String {
        let (local, domain) = self.0.rsplit_once('@').unwrap_or((&self.0, ""));
        let Some(provider) = PROVIDERS.iter().find(|provider| provider.domains.contains(&domain)) else {
            return self.0.clone();
        };
        let name = local.split('+').next().filter(|name| !name.is_empty()).unwrap_or(local);
        let name = if provider.ignores_dots { name.replace('.', "") } else { name.to_owned() };
        let domain = if provider.is_one_domain { provider.domains[0] } else { domain };
        format!("{name}@{domain}")
    }
}

/// Who delivers what is addressed to `name+anything` to `name`.
struct Provider {
    domains: &'static [&'static str],
    /// Whether a name is the same mailbox in all of them.
    is_one_domain: bool,
    ignores_dots: bool,
}

const PROVIDERS: &[Provider] = &[
    Provider { domains: &["gmail.com", "googlemail.com"], is_one_domain: true, ignores_dots: true },
    Provider {
        domains: &["outlook.com", "hotmail.com", "live.com", "msn.com"],
        is_one_domain: false,
        ignores_dots: false,
    },
    Provider { domains: &["fastmail.com", "fastmail.fm"], is_one_domain: false, ignores_dots: false },
    Provider { domains: &["icloud.com", "me.com", "mac.com"], is_one_domain: true, ignores_dots: false },
    Provider { domains: &["proton.me", "protonmail.com", "pm.me"], is_one_domain: true, ignores_dots: false },
];

impl FromStr for EmailAddress {
    type Err = EmailAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Not `trim`: an ideographic space before a name would vanish like the Kelvin sign.
        let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
        let (local, domain) = text.rsplit_once('@').ok_or(EmailAddressError)?;
        if local.chars().any(becomes_ascii) || domain.chars().any(becomes_ascii_in_domain) {
            return Err(EmailAddressError);
        }
        let local = local.to_lowercase();
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| EmailAddressError)?;
        let address = format!("{local}@{domain}");
        let well_formed = is_dot_atom(&local)
            && local.len() <= MAX_LOCAL_LENGTH
            && is_host_name(&domain)
            && address.len() <= MAX_LENGTH;
        if well_formed { Ok(Self(address)) } else { Err(EmailAddressError) }
    }
}

/// Whether lower-casing makes something of ASCII of what is not.
fn becomes_ascii(c: char) -> bool {
    !c.is_ascii() && c.to_lowercase().any(|lower| lower.is_ascii())
}

/// The same of UTS #46, which IDNA maps domains by; what it leaves out altogether, such as a soft hyphen, counts as well.
fn becomes_ascii_in_domain(c: char) -> bool {
    if c.is_ascii() {
        return false;
    }
    let (mapped, _) = idna::domain_to_unicode(c.encode_utf8(&mut [0; 4]));
    becomes_ascii(c) || mapped.is_empty() || mapped.chars().any(|c| c.is_ascii())
}

/// RFC 5322's dot-atom, and letters outside ASCII (RFC 6532). Quoted local parts are legal and used by nobody but
/// attackers.
fn is_dot_atom(local: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || "!#$%&'*+/=?^_`{|}~-".contains(c);
    local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(allowed))
}

fn is_host_name(domain: &str) -> bool {
    let label = |label: &str| !label.is_empty() && label.len() <= 63;
    // A last label of digits is an IPv4 address in disguise.
    let top_level = domain.rsplit('.').next().unwrap_or_default();
    domain.contains('.') && domain.split('.').all(label) && !top_level.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_mailbox_are_one_address() {
        let address: EmailAddress = "ann@example.com".parse().unwrap();
        for text in ["Ann@Example.COM", "  ann@example.com\n", "ANN@EXAMPLE.com"] {
            assert_eq!(text.parse(), Ok(address.clone()), "{text:?}");
        }
        assert_eq!("a@BÜCHER.example".parse::<EmailAddress>(), "a@xn--bcher-kva.example".parse());
    }

    #[test]
    fn addresses_of_one_mailbox_are_one_mailbox_where_the_provider_is_known() {
        let mailbox = |text: &str| text.parse::<EmailAddress>().unwrap().mailbox();
        for text in ["a.nn+shop@gmail.com", "ANN@googlemail.com", "a.n.n+a+b@googlemail.com", "ann+@gmail.com"] {
            assert_eq!(mailbox(text), "ann@gmail.com", "{text}");
        }
        assert_eq!(mailbox("a.nn+shop@outlook.com"), "a.nn@outlook.com");
        assert_eq!(mailbox("ann+shop@hotmail.com"), "ann@hotmail.com");
        assert_eq!(mailbox("ann+shop@live.com"), "ann@live.com");
        assert_eq!(mailbox("ann+shop@fastmail.com"), "ann@fastmail.com");
        assert_eq!(mailbox("ann+shop@me.com"), "ann@icloud.com");
        assert_eq!(mailbox("ann+shop@protonmail.com"), "ann@proton.me");
        // Somebody else's server may tell them apart.
        assert_eq!(mailbox("a.nn+shop@example.com"), "a.nn+shop@example.com");
        assert_eq!(mailbox("+shop@gmail.com"), "+shop@gmail.com");
    }

    #[test]
    fn usual_addresses_pass() {
        for text in ["a@b.co", "first.last+tag@sub.example.org", "o'neil@example.com", "jürgen@example.de"] {
            assert!(text.parse::<EmailAddress>().is_ok(), "{text}");
        }
    }

    /// Of every code point that is assigned or may soon be: planes 4 to 13 are empty, 15 and 16 private.
    #[test]
    fn nothing_outside_ascii_becomes_an_ascii_address() {
        let code_points = (0x80..0x4_0000).chain(0xe_0000..0xe_1000).filter_map(char::from_u32);
        for c in code_points {
            for text in [format!("{c}ate@example.com"), format!("k{c}@example.com"), format!(" {c}kate@example.com")] {
                let kept_apart = text.parse::<EmailAddress>().map_or(true, |address| !address.as_str().is_ascii());
                assert!(kept_apart, "U+{:04X} in {text:?}", u32::from(c));
            }
            for domain in [format!("ex{c}ample.com"), format!("{c}.com"), format!("example{c}com.example")] {
                let Ok(address) = format!("kate@{domain}").parse::<EmailAddress>() else { continue };
                assert!(address.as_str().contains("xn--"), "U+{:04X}: {address}", u32::from(c));
            }
        }
    }

    #[test]
    fn signs_that_turn_into_letters_are_refused() {
        for text in [
            "\u{212a}ate@example.com",
            "kate@\u{212a}.example",
            "k\u{130}m@example.com",
            "kate@o\u{fb00}ice.example",
            "kate@\u{2121}.example",
            "kate@\u{ff45}xample.com",
            "kate@exam\u{ad}ple.com",
            "kate@example\u{3002}com",
            "\u{3000}kate@example.com",
            "kate@example.com\u{a0}",
        ] {
            assert_eq!(text.parse::<EmailAddress>(), Err(EmailAddressError), "{text:?}");
        }
        // Full width is a letter of its own, and another mailbox.
        assert_ne!("\u{ff4b}ate@example.com".parse::<EmailAddress>(), "kate@example.com".parse());
    }

    #[test]
    fn others_are_refused() {
        let long_local = format!("{}@example.com", "x".repeat(65));
        let long_domain = format!("a@{}.com", "x".repeat(64));
        for text in [
            "",
            "ann",
            "@example.com",
            "ann@",
            "ann@localhost",
            "a b@example.com",
            "a@b@example.com",
            "a..b@example.com",
            ".a@example.com",
            "a@example..com",
            "a@-x.com",
            "a@exa mple.com",
            "a@example.com\r\nBcc: b@example.com",
            "a\0@example.com",
            "\"a\"@example.com",
            "a@127.0.0.1",
            "a@[127.0.0.1]",
            "<a@example.com>",
            "a@example.com.",
            &long_local,
            &long_domain,
        ] {
            assert_eq!(text.parse::<EmailAddress>(), Err(EmailAddressError), "{text:?}");
        }
    }
}
