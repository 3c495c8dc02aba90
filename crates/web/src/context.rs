//! What a handler may want to know about its request.

use std::net::IpAddr;
use std::sync::{Mutex, OnceLock, PoisonError};

use domain::ClientInfo;
use http::{HeaderMap, HeaderValue, header};

use crate::{RequestId, TrustedProxies, Window};

/// What a handler may want to know about its request, and what it tells the envelope about its reply.
#[derive(Debug)]
pub struct Context {
    /// The request's id in replies and logs.
    pub request_id: RequestId,
    /// The real address of whoever is at the other end; `None` where nobody knows it.
    pub ip: Option<IpAddr>,
    /// Whether the service was told to stop and asks to be sent nothing more.
    pub is_draining: bool,
    user_agent: Option<HeaderValue>,
    client: OnceLock<ClientInfo>,
    caller: OnceLock<&'static str>,
    window: Mutex<Option<Window>>,
}

impl Context {
    pub(crate) fn new(request_id: RequestId, ip: Option<IpAddr>, headers: &HeaderMap, is_draining: bool) -> Self {
        Self {
            request_id,
            ip,
            is_draining,
            user_agent: headers.get(header::USER_AGENT).cloned(),
            client: OnceLock::new(),
            caller: OnceLock::new(),
            window: Mutex::new(None),
        }
    }

    /// Who is at the other end. Put together when somebody asks first: most requests are never written down.
    pub fn client(&self) -> &ClientInfo {
        self.client.get_or_init(|| ClientInfo {
            ip: self.ip,
            user_agent: self.user_agent.as_ref().and_then(user_agent),
            request_id: Some(self.request_id.to_string()),
        })
    }

    /// Says that whoever is at the other end speaks for somebody else, whose side of the call this is. What was asked for
    /// before stays.
    pub fn speaks_for(&self, client: ClientInfo) {
        let request_id = client.request_id.or_else(|| Some(self.request_id.to_string()));
        let _ = self.client.set(ClientInfo { request_id, ..client });
    }

    /// Notes for the log by what kind of credential the caller is known: `session`, `pat`, `service`.
    pub fn note_caller(&self, kind: &'static str) {
        let _ = self.caller.set(kind);
    }

    pub(crate) fn caller(&self) -> Option<&'static str> {
        self.caller.get().copied()
    }

    /// Shows the state of a limit in the reply's headers; the last one noted is shown.
    pub fn note_window(&self, window: Window) {
        *self.window.lock().unwrap_or_else(PoisonError::into_inner) = Some(window);
    }

    pub(crate) fn window(&self) -> Option<Window> {
        *self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is at the other end, as far as the connection and its proxies tell.
#[must_use]
pub fn client_info(
    headers: &HeaderMap,
    peer: Option<IpAddr>,
    trusted_proxies: &TrustedProxies,
    request_id: &str,
) -> ClientInfo {
    ClientInfo {
        ip: peer.and_then(|peer| trusted_proxies.client_address(peer, headers)),
        user_agent: headers.get(header::USER_AGENT).and_then(user_agent),
        request_id: Some(request_id.to_owned()),
    }
}

fn user_agent(value: &HeaderValue) -> Option<String> {
    // A byte that is no text must not hide the rest.
    ClientInfo::clean_user_agent(&String::from_utf8_lossy(value.as_bytes()))
}
