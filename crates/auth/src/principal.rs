//! On whose behalf something happens, by what means, and within what bounds.

use std::collections::BTreeMap;

use auth_api::ErrorCode;
use domain::audit::Actor;
use domain::{AllowedIps, ClientInfo, EventId, Scopes, SessionId, Timestamp, TokenSecretId, UserId};
use store::{NewEvent, Shown};
use web::ApiError;

/// A caller who acts for a user. Made by the extractors of `http::caller` and nowhere else.
#[derive(Debug, Clone)]
pub(crate) struct Principal {
    pub(crate) user_id: UserId,
    /// By what means, for the audit log.
    pub(crate) actor: Actor,
    /// The end user's side: of the direct caller, or as the calling service reports it.
    pub(crate) client: ClientInfo,
    /// What a personal access token may do at most; a session may do everything.
    pub(crate) bounds: Option<Bounds>,
}

/// The reach of the personal access token that is used.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    /// The secret that was shown. Whether a rotation has replaced it, the database says.
    pub(crate) secret_id: TokenSecretId,
    pub(crate) scopes: Scopes,
    /// The end of the token, of the secret or of the narrowed JWT, whichever is first.
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) allowed_ips: Option<AllowedIps>,
    /// Whether it is a narrowed JWT. Such a one makes no tokens: they would live on when its parent is dead.
    pub(crate) is_narrowed: bool,
}

impl Principal {
    /// An audit event of something that this caller does now.
    pub(crate) fn event(&self, id: EventId, at: Timestamp) -> NewEvent {
        NewEvent { id, at, actor: self.actor.clone(), client: self.client.clone(), metadata: BTreeMap::new() }
    }

    /// By what the caller came, if by something that ends: looked at again where a secret is made.
    pub(crate) fn shown(&self) -> Option<Shown> {
        let secret = self.bounds.as_ref().map(|bounds| Shown::Secret(bounds.secret_id.clone()));
        secret.or_else(|| self.actor.session_id.clone().map(Shown::Session))
    }

    /// Whether the caller may do what `scope` names.
    pub(crate) fn may(&self, scope: &str) -> bool {
        self.bounds.as_ref().is_none_or(|bounds| bounds.scopes.allow(scope))
    }

    /// Whether the caller may hold a secret with these scopes until then, for use from there: a token mints nothing
    /// wider or longer-lived than itself.
    pub(crate) fn may_mint(
        &self,
        scopes: &Scopes,
        expires_at: Option<Timestamp>,
        allowed_ips: Option<&AllowedIps>,
    ) -> Result<(), ApiError> {
        let Some(bounds) = &self.bounds else { return Ok(()) };
        if bounds.is_narrowed {
            return Err(ApiError::new(ErrorCode::Forbidden, "A narrowed token cannot make tokens"));
        }
        if !bounds.scopes.contain(scopes) {
            return Err(ApiError::new(ErrorCode::Forbidden, "A token cannot make one that may do more than itself"));
        }
        if bounds.expires_at.is_some_and(|end| expires_at.is_none_or(|wanted| wanted > end)) {
            return Err(ApiError::new(ErrorCode::Forbidden, "A token cannot make one that lives longer than itself"));
        }
        if bounds.allowed_ips.as_ref().is_some_and(|held| allowed_ips.is_none_or(|wanted| !held.contain(wanted))) {
            return Err(ApiError::new(
                ErrorCode::Forbidden,
                "A token cannot make one for use from elsewhere than itself",
            ));
        }
        Ok(())
    }
}

/// The user's own session, for routes that no token reaches.
#[derive(Debug, Clone)]
pub(crate) struct OwnSession {
    pub(crate) session_id: SessionId,
    pub(crate) principal: Principal,
}
