//! Addresses as limits see them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address and the networks it is in, the address first: what each of them is called, and how many times the limit
/// of one address is granted to it.
pub(crate) struct Levels {
    pub(crate) levels: Vec<(String, u32)>,
}

impl Levels {
    /// An IPv6 /64, which is what one customer of a provider has, is one address; the /56 and the /48 around it, as an
    /// office or a data centre has them, get four times as much each step, and so does an IPv4 /24. Callers whose
    /// address nobody knows are one address.
    pub(crate) fn of(ip: Option<IpAddr>) -> Self {
        let levels = match ip.map(|ip| ip.to_canonical()) {
            None => vec![("unknown".to_owned(), 1)],
            Some(IpAddr::V4(ip)) => {
                let network = Ipv4Addr::from_bits(ip.to_bits() >> 8 << 8);
                vec![(ip.to_string(), 1), (format!("{network}/24"), 4)]
            }
            Some(IpAddr::V6(ip)) => [(64, 1), (56, 4), (48, 16)]
                .map(|(length, times)| {
                    let network = Ipv6Addr::from_bits(ip.to_bits() >> (128 - length) << (128 - length));
                    (format!("{network}/{length}"), times)
                })
                .into(),
        };
        Self { levels }
    }

    /// What all of them are in.
    pub(crate) fn network(&self) -> &str {
        self.levels.last().map_or("", |(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_counts_for_the_networks_it_is_in() {
        let levels = |text: &str| Levels::of(Some(text.parse().unwrap())).levels;
        let named = |levels: &[(&str, u32)]| levels.iter().map(|&(name, n)| (name.to_owned(), n)).collect::<Vec<_>>();
        assert_eq!(
            levels("2001:db8:1:2345:6::7"),
            named(&[("2001:db8:1:2345::/64", 1), ("2001:db8:1:2300::/56", 4), ("2001:db8:1::/48", 16)])
        );
        assert_eq!(levels("192.0.2.77"), named(&[("192.0.2.77", 1), ("192.0.2.0/24", 4)]));
        assert_eq!(levels("::ffff:192.0.2.77"), levels("192.0.2.77"));
        assert_eq!(Levels::of(None).levels, named(&[("unknown", 1)]));
        assert_eq!(Levels::of(Some("2001:db8:1:2::1".parse().unwrap())).network(), "2001:db8:1::/48");
    }
}
