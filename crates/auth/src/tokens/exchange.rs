//! Token exchange (RFC 8693): a short-lived JWT in the place of a personal access token, and no wider.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::audit::{Actor, EventType};
use domain::{ClientInfo, EventId, Scopes, Timestamp};
use limiter::{Quota, Verdict};
use store::{NewEvent, StoreError};
use web::ApiError;

use super::cache::CredentialId;
use super::validate::{Audience, MAX_PRESENTED_BYTES, Rejection, Validated};
use crate::keys::{Claims, NarrowedClaims, Narrowing};
use crate::{AuthService, internal};

/// What somebody wants who shows a token.
pub(crate) struct Exchange {
    /// The token.
    pub(crate) subject: String,
    /// What of its scopes; `None` for all.
    pub(crate) scope: Option<Scopes>,
    /// For whom alone; empty for everybody.
    pub(crate) audience: Vec<String>,
    /// For how long at most.
    pub(crate) lifetime: Duration,
}

/// A narrowed JWT.
pub(crate) struct Narrowed {
    pub(crate) jwt: String,
    pub(crate) scope: Scopes,
    pub(crate) expires_in: Duration,
}

/// Why there is none.
pub(crate) enum NotExchanged {
    /// The token is not good, or not good from there.
    Subject(Rejection),
    /// It is good, and no personal access token.
    NoToken,
    /// It does not have these scopes.
    Wider,
    /// More would be in the JWT than anybody takes as a credential.
    TooLong,
    /// Its owner has exchanged as often as one may.
    Limited {
        quota: Quota,
        retry_at: Timestamp,
    },
    Failed(ApiError),
}

/// Narrows the token. Counts in its window, as every use of it does, and in one of its owner's; is in the audit log.
pub(crate) async fn exchange(
    auth: &AuthService,
    client: &ClientInfo,
    wish: Exchange,
) -> Result<Narrowed, NotExchanged> {
    let validated = auth.validator.validate(&wish.subject, Audience::General, client).await;
    let Validated { credential, .. } = validated.map_err(NotExchanged::Subject)?;
    let (CredentialId::Pat(parent), Some(secret_id), None) =
        (&credential.id, &credential.secret_id, credential.narrowed())
    else {
        return Err(NotExchanged::NoToken);
    };
    let scope = wish.scope.unwrap_or_else(|| credential.scopes.clone());
    if !credential.scopes.contain(&scope) {
        return Err(NotExchanged::Wider);
    }
    let at = auth.clock.moment();
    let now = at.wall;
    // By user: each is an event in the audit log, and one has many tokens.
    let key = format!("user:{}:exchange", credential.user_id);
    let limit = auth.config.limits.exchanges;
    match auth.limiter.admit(&key, limit, at.steady).await.on_the_wall(at) {
        Verdict::Admitted(_) => {}
        Verdict::Refused { quota, retry_at } => return Err(NotExchanged::Limited { quota, retry_at }),
        Verdict::Unsaved => return Err(NotExchanged::Failed(internal(StoreError::WindowNotSaved))),
    }
    let wanted = now.plus(wish.lifetime);
    let expires_at = credential.expires_at.map_or(wanted, |end| end.min(wanted));
    let (jti, event_id) = auth.chance.with(|rng| (EventId::generate(rng).to_string(), EventId::generate(rng)));
    let event = NewEvent {
        id: event_id,
        at: now,
        actor: Actor { token_id: Some(parent.clone()), ..Actor::default() },
        client: client.clone(),
        metadata: BTreeMap::from([
            ("tokenId".to_owned(), parent.to_string()),
            ("jti".to_owned(), jti.clone()),
            ("scope".to_owned(), scope.to_string()),
            ("audience".to_owned(), wish.audience.join(" ")),
            ("expiresAt".to_owned(), expires_at.to_string()),
        ]),
    };
    let claims = NarrowedClaims::new(Narrowing {
        user_id: credential.user_id.clone(),
        parent: parent.clone(),
        parent_secret_id: secret_id.clone(),
        scope: scope.clone(),
        audience: wish.audience,
        jti,
        issued_at: now,
        expires_at,
    });
    let jwt = auth.validator.keys.sign(&Claims::Narrowed(claims), now);
    if jwt.len() > MAX_PRESENTED_BYTES {
        return Err(NotExchanged::TooLong);
    }
    let written = auth.store.append_event(EventType::TokenExchanged, Some(&credential.user_id), &event).await;
    written.map_err(|error| NotExchanged::Failed(internal(error)))?;
    Ok(Narrowed { jwt, scope, expires_in: expires_at.since(now) })
}
