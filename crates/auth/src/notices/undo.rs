//! Ending all access by the link in a security mail.

use std::collections::BTreeMap;

use auth_api::ErrorCode;
use domain::audit::Actor;
use domain::{ClientInfo, Digest, EventId, OneTimeSecret};
use store::{MarkedCredential, NewEvent, SecureOutcome};
use url::Url;
use web::ApiError;

use crate::background::BATCH;
use crate::{AuthService, internal};

/// What has been ended.
pub(crate) struct Ended {
    /// Signed-in devices; of more than 10,000, so many.
    pub(crate) sessions: u32,
    pub(crate) tokens: u64,
}

/// What is kept of the link.
pub(super) fn digest(auth: &AuthService, secret: &OneTimeSecret) -> Digest {
    auth.code_digests.digest(&["undo", secret.expose()])
}

/// Where the link leads.
pub(super) fn url(auth: &AuthService, secret: &OneTimeSecret) -> Url {
    let mut url = auth.config.public_url.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(["undo", secret.expose()]);
    }
    url
}

/// Ends all sessions and tokens of whoever's mail the link was in: when this returns, no instance accepts any of them.
pub(crate) async fn undo(auth: &AuthService, client: &ClientInfo, secret: &OneTimeSecret) -> Result<Ended, ApiError> {
    let digest = digest(auth, secret);
    let user_id = auth.store.find_undo_link(&digest, auth.clock.now()).await.map_err(internal)?.ok_or_else(over)?;
    let event = || NewEvent {
        id: auth.chance.with(|rng| EventId::generate(rng)),
        at: auth.clock.now(),
        actor: Actor::default(),
        client: client.clone(),
        metadata: BTreeMap::new(),
    };
    let ending = async {
        let mut ended = 0;
        loop {
            match auth.store.secure_user(&digest, ended, BATCH, event).await? {
                SecureOutcome::More { tokens } => ended = tokens,
                SecureOutcome::Ended { sessions, tokens } => return Ok(Some(Ended { sessions, tokens })),
                SecureOutcome::NoLink => return Ok(None),
            }
        }
    };
    auth.revoking(&[MarkedCredential::Owner(user_id)], ending).await?.ok_or_else(over)
}

fn over() -> ApiError {
    ApiError::new(
        ErrorCode::CodeExpired,
        "This link has been used, or is too old. If it was you who used it, all sessions and tokens ended then",
    )
}
