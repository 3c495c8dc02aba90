//! Signed-in devices: seeing and ending them.

use auth_api::{Device, SessionsReply};
use domain::{EventId, SessionId};
use store::MarkedCredential;
use web::ApiError;

use crate::principal::OwnSession;
use crate::{AuthService, internal, no_list};

/// The caller's signed-in devices.
pub(crate) async fn list(auth: &AuthService, caller: &OwnSession) -> Result<SessionsReply, ApiError> {
    let sessions =
        auth.store.list_sessions(&caller.principal.user_id, auth.clock.now()).await.map_err(no_list(auth))?;
    let device = |session: store::Session| Device {
        device: device_name(session.user_agent.as_deref().unwrap_or_default()),
        ip: session.ip.map(|ip| ip.to_string()),
        created_at: session.created_at,
        last_seen_at: session.last_seen_at,
        current: session.id == caller.session_id,
        id: session.id,
    };
    Ok(SessionsReply { sessions: sessions.into_iter().map(device).collect() })
}

/// Ends one of the caller's sessions; somebody else's is not found.
pub(crate) async fn end(auth: &AuthService, caller: &OwnSession, id: &SessionId) -> Result<(), ApiError> {
    let user_id = &caller.principal.user_id;
    // Asked first, so that nobody can put marks on sessions that are not theirs.
    let found = auth.store.find_session(id).await.map_err(internal)?;
    if found.is_none_or(|(session, _)| session.user_id != *user_id) {
        return Err(ApiError::not_found());
    }
    let event = caller.principal.event(auth.chance.with(|rng| EventId::generate(rng)), auth.clock.now());
    let ending = auth.store.end_session(user_id, id, &event);
    auth.revoking(&[MarkedCredential::Session(id.clone())], ending).await?.ok_or_else(ApiError::not_found)?;
    Ok(())
}

/// Ends all of the caller's sessions but the one that asks; returns how many.
pub(crate) async fn end_others(auth: &AuthService, caller: &OwnSession) -> Result<u32, ApiError> {
    let user_id = &caller.principal.user_id;
    let event = caller.principal.event(auth.chance.with(|rng| EventId::generate(rng)), auth.clock.now());
    let ending = auth.store.end_other_sessions(user_id, &caller.session_id, &event);
    auth.revoking(&[MarkedCredential::Owner(user_id.clone())], ending).await
}

/// `Firefox on Linux`, or the program's own name.
pub(crate) fn device_name(user_agent: &str) -> String {
    known_device(user_agent).unwrap_or_else(|| {
        let program = user_agent.split(['/', ' ']).next().unwrap_or_default();
        if program.is_empty() { "Unknown device".to_owned() } else { program.chars().take(40).collect() }
    })
}

/// The browser and the system that the text is of, in our own words and no others.
pub(crate) fn known_device(user_agent: &str) -> Option<String> {
    let first = |names: &[(&str, &'static str)]| {
        names.iter().find(|(mark, _)| user_agent.contains(mark)).map(|(_, name)| *name)
    };
    // The order matters: browsers name those that they descend from.
    let browser = first(&[
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("CriOS/", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ]);
    let system = first(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ]);
    match (browser, system) {
        (Some(browser), Some(system)) => Some(format!("{browser} on {system}")),
        (Some(name), None) | (None, Some(name)) => Some(name.to_owned()),
        (None, None) => None,
    }
}
