//! The device that asked for something, as it is shown to whoever decides.

use std::net::IpAddr;

use domain::{ClaimedName, ClientInfo, Neighbourhood, Timestamp};
use minijinja::{Value, context};
use store::Pairing;

/// What a page or mail says of a device.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    /// What it says it is; absent when it says nothing that can be shown.
    pub(crate) agent: Option<String>,
    /// About where it is.
    pub(crate) network: Option<String>,
    /// When it asked, to the second.
    pub(crate) at: String,
}

impl Asker {
    pub(crate) fn of(ip: Option<IpAddr>, user_agent: Option<&str>, at: Timestamp) -> Self {
        let at = at.to_string();
        let at = match (at.get(..10), at.get(11..19)) {
            (Some(date), Some(time)) => format!("{date} {time} UTC"),
            _ => at,
        };
        Self {
            agent: user_agent.and_then(ClaimedName::of_agent).map(|name| name.to_string()),
            network: ip.map(|ip| Neighbourhood::of(ip).to_string()),
            at,
        }
    }
}

impl From<Asker> for Value {
    fn from(Asker { agent, network, at }: Asker) -> Self {
        context! { agent, network, at }
    }
}

/// What a program that waits calls itself, as pages and messages show it. A stranger has chosen it, and who gets the
/// message: there is no room in it for a message of the stranger's.
pub(crate) fn program_name(pairing: &Pairing) -> String {
    ClaimedName::clean(pairing.name.as_str()).map_or_else(String::new, |name| name.to_string())
}

/// Whether two addresses are of one network, as far as is known.
pub(crate) fn same_network(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    one.zip(other).is_some_and(|(one, other)| Neighbourhood::of(one) == Neighbourhood::of(other))
}

/// Whether it looks like one browser in one place. Two of a kind in one network cannot be told apart by this; it is to
/// notice who was sent a link, not to keep anybody out.
pub(crate) fn looks_the_same(asked: &ClientInfo, here: &ClientInfo) -> bool {
    asked.user_agent == here.user_agent && same_network(asked.ip, here.ip)
}
