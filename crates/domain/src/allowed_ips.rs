//! From where a token may be used.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize, Serializer};

/// One network: `192.0.2.0/24`, `2001:db8::/32`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network(IpNet);

/// The networks from which a token may be used: 1 to 32, without repetitions, in the order given.
///
/// An IPv4 address is the same whether it comes as itself or mapped into IPv6; networks of one family allow no address
/// of the other.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Network>")]
pub struct AllowedIps(Vec<IpNet>);

/// The most networks one token names.
const MAX_NETWORKS: usize = 32;

/// Text that is no network, or a list that is too long or empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AllowedIpsError {
    /// Neither an address nor a network in CIDR notation.
    #[error("must be a network such as 192.0.2.0/24 or 2001:db8::/32, or an address")]
    Malformed,
    /// `192.0.2.1/24`: one address may be meant, or the whole network.
    #[error("has bits set beyond its length: is {0} meant, or one address?")]
    HostBits(IpNet),
    /// More than 32.
    #[error("a token names at most 32 networks")]
    TooMany,
    /// A token that could be used from nowhere; leaving the list out means from anywhere.
    #[error("name at least one network, or leave the list out for anywhere")]
    Empty,
}

impl FromStr for Network {
    type Err = AllowedIpsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse().map_err(|_| AllowedIpsError::Malformed)?,
        };
        if network.trunc() != network {
            return Err(AllowedIpsError::HostBits(network.trunc()));
        }
        Ok(Self(canonical(network)))
    }
}

/// `::ffff:192.0.2.0/120` is `192.0.2.0/24`: addresses are compared in that form.
fn canonical(network: IpNet) -> IpNet {
    /// How many bits of a mapped address stand before the IPv4 address.
    const MAPPED: u8 = 96;
    match (network.addr().to_canonical(), network.prefix_len().checked_sub(MAPPED)) {
        (IpAddr::V4(address), Some(length)) if matches!(network, IpNet::V6(_)) => {
            Ipv4Net::new(address, length).map_or(network, IpNet::V4)
        }
        _ => network,
    }
}

impl TryFrom<String> for Network {
    type Error = AllowedIpsError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl AllowedIps {
    /// Whether a token with this list may be used from there.
    #[must_use]
    pub fn allow(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether every address that `narrower` allows is allowed here as well.
    #[must_use]
    pub fn contain(&self, narrower: &Self) -> bool {
        // Two halves hold what their whole holds.
        let held = IpNet::aggregate(&self.0);
        narrower.0.iter().all(|network| held.iter().any(|held| held.contains(network)))
    }

    /// Bytes that they take in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// The networks one by one, as text.
    pub fn iter(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|network| match network {
            // As it was most likely written.
            IpNet::V4(one) if one.prefix_len() == 32 => one.addr().to_string(),
            IpNet::V6(one) if one.prefix_len() == 128 => one.addr().to_string(),
            network => network.to_string(),
        })
    }
}

impl TryFrom<Vec<Network>> for AllowedIps {
    type Error = AllowedIpsError;

    fn try_from(networks: Vec<Network>) -> Result<Self, Self::Error> {
        if networks.is_empty() {
            return Err(AllowedIpsError::Empty);
        }
        if networks.len() > MAX_NETWORKS {
            return Err(AllowedIpsError::TooMany);
        }
        let mut unique = Vec::with_capacity(networks.len());
        for Network(network) in networks {
            if !unique.contains(&network) {
                unique.push(network);
            }
        }
        Ok(Self(unique))
    }
}

impl Serialize for AllowedIps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// Space-separated, as the database keeps them.
impl fmt::Display for AllowedIps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, network) in self.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&network)?;
        }
        Ok(())
    }
}

impl FromStr for AllowedIps {
    type Err = AllowedIpsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split_ascii_whitespace().map(str::parse).collect::<Result<Vec<Network>, _>>()?.try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: &str) -> AllowedIps {
        text.parse().unwrap()
    }

    fn allow(list: &str, address: &str) -> bool {
        allowed(list).allow(address.parse().unwrap())
    }

    #[test]
    fn networks_and_addresses_of_both_families_are_read() {
        for text in ["192.0.2.0/24", "192.0.2.1", "0.0.0.0/0", "2001:db8::/32", "2001:db8::1", "::/0"] {
            assert_eq!(allowed(text).to_string(), text);
        }
        assert_eq!(allowed("192.0.2.1/32 2001:db8::1/128").to_string(), "192.0.2.1 2001:db8::1");
        assert_eq!(allowed("::ffff:192.0.2.0/120 ::ffff:192.0.2.7").to_string(), "192.0.2.0/24 192.0.2.7");
        assert_eq!(serde_json::to_string(&allowed("192.0.2.0/24")).unwrap(), r#"["192.0.2.0/24"]"#);
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "x", "192.0.2.0/33", "192.0.2.0/-1", "192.0.2/24", "2001:db8::/129", "192.0.2.0/ 24", "*"] {
            assert_eq!(text.parse::<Network>(), Err(AllowedIpsError::Malformed), "{text:?}");
        }
        let told = "192.0.2.1/24".parse::<Network>().unwrap_err().to_string();
        assert!(told.contains("192.0.2.0/24"), "{told}");
        assert_eq!("".parse::<AllowedIps>(), Err(AllowedIpsError::Empty));
    }

    #[test]
    fn lists_are_bounded_and_without_repetitions() {
        assert_eq!(allowed("10.0.0.0/8 192.0.2.1 10.0.0.0/8").to_string(), "10.0.0.0/8 192.0.2.1");
        let many = (0..33).map(|n| format!("192.0.2.{n}")).collect::<Vec<_>>().join(" ");
        assert_eq!(many.parse::<AllowedIps>(), Err(AllowedIpsError::TooMany));
        assert!(many[..many.rfind(' ').unwrap()].parse::<AllowedIps>().is_ok());
    }

    #[test]
    fn an_address_is_the_same_in_both_forms_and_families_are_apart() {
        assert!(allow("192.0.2.0/24", "192.0.2.255"));
        assert!(allow("192.0.2.0/24", "::ffff:192.0.2.255"));
        assert!(allow("::ffff:192.0.2.0/120", "192.0.2.255"));
        assert!(!allow("192.0.2.0/24", "192.0.3.0"));
        assert!(allow("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!allow("::/0", "192.0.2.1") && !allow("0.0.0.0/0", "2001:db8::1"));
    }

    #[test]
    fn nothing_contains_more_than_itself() {
        let contain = |held: &str, wanted: &str| allowed(held).contain(&allowed(wanted));
        assert!(contain("10.0.0.0/8", "10.1.0.0/16 10.2.3.4"));
        assert!(contain("10.0.0.0/9 10.128.0.0/9", "10.0.0.0/8"), "two halves are a whole");
        assert!(!contain("10.1.0.0/16", "10.0.0.0/8"));
        assert!(!contain("10.0.0.0/8", "10.1.0.0/16 192.0.2.1"));
        assert!(!contain("0.0.0.0/0", "::/0"));
    }
}
