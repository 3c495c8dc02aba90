//! The real address of whoever is calling.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use telemetry::{Counter, Registry};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies whose `X-Forwarded-For` is believed. From anybody else the header is a claim and is ignored, or an
/// attacker would choose the address that limits count. Clones count and warn together.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    ignored: Arc<Ignored>,
}

/// What was claimed by others. Mostly that is a proxy which somebody forgot to name, and then all of its clients are
/// one address.
#[derive(Debug, Default)]
struct Ignored {
    claims: Counter,
    /// Those that were warned about.
    peers: Mutex<HashSet<IpAddr>>,
}

/// Peers that are warned about, each once: anybody can send the header from many addresses.
const MAX_WARNINGS: usize = 16;

impl TrustedProxies {
    /// Trusts the proxies within these networks.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self { networks, ignored: Arc::default() }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The address of the client: the peer itself, or, as far as trusted proxies vouch for it, the right-most address
    /// of `X-Forwarded-For` that is not a trusted proxy's own.
    ///
    /// `None`, which is to say unknown, when the walk comes to a part that is no address: a trusted proxy passed
    /// something on that it did not write itself, and whoever wrote it must not get the proxy's address by it.
    #[must_use]
    pub fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            if headers.contains_key(FORWARDED_FOR) {
                self.ignored.note(peer);
            }
            return Some(peer);
        }
        let mut client = peer;
        // Several header lines are one list, in order (RFC 9110 §5.3). As bytes: a line that is no text would otherwise
        // look like one that is not there.
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        for hop in lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
            client = parse_hop(hop)?.to_canonical();
            if !self.trusts(client) {
                break;
            }
        }
        Some(client)
    }

    /// Shows how many requests carried the header and came from none of them.
    pub fn register_metrics(&self, registry: &mut Registry) {
        let help = "Requests with an X-Forwarded-For whose sender TRUSTED_PROXIES does not name";
        registry.add("ignored_forwarded_for", help, self.ignored.claims.clone());
    }
}

impl Ignored {
    fn note(&self, peer: IpAddr) {
        self.claims.inc();
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() == MAX_WARNINGS || !peers.insert(peer) {
            return;
        }
        tracing::warn!(
            %peer,
            "X-Forwarded-For of this peer is ignored: if it is a proxy of yours, name it in TRUSTED_PROXIES, or limits \
             and allow-lists take all of its clients for one address"
        );
        if peers.len() == MAX_WARNINGS {
            tracing::warn!("X-Forwarded-For of further peers is ignored without a line in the log");
        }
    }
}

/// `192.0.2.1`, `2001:db8::1`, and with a port as some proxies add it: `192.0.2.1:80`, `[2001:db8::1]:80`.
fn parse_hop(hop: &[u8]) -> Option<IpAddr> {
    let hop = str::from_utf8(hop.trim_ascii()).ok()?;
    hop.parse()
        .ok()
        .or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn proxies(trusted: &[&str]) -> TrustedProxies {
        TrustedProxies::new(trusted.iter().map(|network| network.parse().unwrap()).collect())
    }

    fn forwarded(lines: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line).unwrap());
        }
        headers
    }

    fn client(trusted: &[&str], peer: &str, lines: &[&[u8]]) -> String {
        let client = proxies(trusted).client_address(peer.parse().unwrap(), &forwarded(lines));
        client.map_or_else(|| "unknown".to_owned(), |client| client.to_string())
    }

    #[test]
    fn an_untrusted_peer_cannot_claim_an_address() {
        assert_eq!(client(&[], "203.0.113.9", &[b"198.51.100.1"]), "203.0.113.9");
        assert_eq!(client(&["10.0.0.0/8"], "203.0.113.9", &[b"198.51.100.1"]), "203.0.113.9");
        assert_eq!(client(&["10.0.0.0/8"], "203.0.113.9", &[b"\xff"]), "203.0.113.9");
    }

    #[test]
    fn trusted_proxies_are_walked_from_the_right() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(client(&trusted, "10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client(&trusted, "10.0.0.1", &[b"198.51.100.1"]), "198.51.100.1");
        assert_eq!(client(&trusted, "10.0.0.1", &[b"6.6.6.6, 198.51.100.1, 10.0.0.2"]), "198.51.100.1");
        assert_eq!(client(&trusted, "10.0.0.1", &[b"6.6.6.6", b"198.51.100.1"]), "198.51.100.1");
        assert_eq!(client(&trusted, "10.0.0.1", &[b"6.6.6.6", b"10.0.0.2"]), "6.6.6.6");
        assert_eq!(client(&trusted, "10.0.0.1", &[b"10.0.0.3"]), "10.0.0.3");
    }

    #[test]
    fn a_part_that_is_no_address_makes_the_client_unknown() {
        let trusted = ["10.0.0.0/8"];
        for part in [&b"\xff"[..], b"\x80", b"unknown", b"", b"198.51.100.1\xff", b"\xc3\xa4", b"_hidden", b"300.1.1.1"]
        {
            let last = [&b"198.51.100.1, "[..], part].concat();
            let middle = [part, b", 10.0.0.2"].concat();
            let first = [part, b", 203.0.113.9"].concat();
            assert_eq!(client(&trusted, "10.0.0.1", &[part]), "unknown", "{part:?}");
            assert_eq!(client(&trusted, "10.0.0.1", &[&last]), "unknown", "{part:?}");
            assert_eq!(client(&trusted, "10.0.0.1", &[&middle]), "unknown", "{part:?}");
            assert_eq!(client(&trusted, "10.0.0.1", &[b"198.51.100.1", part]), "unknown", "{part:?}");
            assert_eq!(client(&trusted, "10.0.0.1", &[part, b"10.0.0.2"]), "unknown", "{part:?}");
            // What stands left of an address that a trusted proxy saw was written by whoever is there.
            assert_eq!(client(&trusted, "10.0.0.1", &[&first]), "203.0.113.9", "{part:?}");
            assert_eq!(client(&trusted, "10.0.0.1", &[part, b"203.0.113.9"]), "203.0.113.9", "{part:?}");
        }
    }

    #[test]
    fn ports_and_mapped_addresses_are_understood() {
        let trusted = ["10.0.0.0/8", "::1/128"];
        assert_eq!(client(&trusted, "10.0.0.1", &[b"198.51.100.1:4711"]), "198.51.100.1");
        assert_eq!(client(&trusted, "::1", &[b"[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(client(&trusted, "::ffff:10.0.0.1", &[b"198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn claims_of_others_are_counted_and_each_peer_is_warned_about_once() {
        let proxies = proxies(&["10.0.0.0/8"]);
        let claimed = forwarded(&[b"198.51.100.1"]);
        for number in 0..100 {
            for _ in 0..2 {
                let _ = proxies.clone().client_address(format!("203.0.113.{number}").parse().unwrap(), &claimed);
            }
        }
        let silent = "203.0.114.1".parse().unwrap();
        let _ = proxies.client_address(silent, &HeaderMap::new());
        let _ = proxies.client_address("10.0.0.1".parse().unwrap(), &claimed);
        assert_eq!(proxies.ignored.claims.get(), 200);
        let warned_about = proxies.ignored.peers.lock().unwrap();
        assert_eq!(warned_about.len(), MAX_WARNINGS);
        assert!(!warned_about.contains(&silent));
    }
}
