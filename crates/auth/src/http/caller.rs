//! Who is calling. A handler's arguments say whom it takes; nothing else decides about a credential.

use std::marker::PhantomData;
use std::sync::Arc;

use auth_api::ErrorCode;
use axum::extract::FromRequestParts;
use domain::audit::Actor;
use domain::{ClientInfo, Scopes, Timestamp, UserId, token};
use http::HeaderMap;
use http::request::Parts;
use jsonwebtoken::Algorithm;
use store::FoundToken;
use web::{ApiError, Context, NoBearer, bearer, bearer_bytes};

use super::limits::{self, Route};
use crate::keys::ServiceCall;
use crate::principal::{Bounds, OwnSession, Principal};
use crate::tokens::{Audience, CredentialId, Rejection, Validated};
use crate::{AuthService, internal};

/// What a personal access token must be allowed to do to pass.
pub(crate) trait RequiredScope: Send + Sync {
    const SCOPE: &'static str;
}

macro_rules! scope {
    ($name:ident, $scope:literal) => {
        #[doc = concat!("The scope `", $scope, "`.")]
        pub(crate) struct $name;
        impl RequiredScope for $name {
            const SCOPE: &'static str = $scope;
        }
    };
}
scope!(TokensRead, "tokens:read");
scope!(TokensWrite, "tokens:write");
scope!(ProfileRead, "profile:read");
scope!(AuditRead, "audit:read");

/// A session, a service on a user's behalf, or a personal access token with the scope `S`; within the standard limit.
pub(crate) struct User<S> {
    pub(crate) principal: Principal,
    scope: PhantomData<S>,
}

impl<S: RequiredScope> FromRequestParts<Arc<AuthService>> for User<S> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, auth: &Arc<AuthService>) -> Result<Self, ApiError> {
        let principal = match authenticate(auth, parts).await? {
            Credential::Session(session) => session.principal,
            Credential::Pat(principal) => principal,
            Credential::Service(call) => act_for_user(auth, parts, call).await?,
        };
        if !principal.may(S::SCOPE) {
            let required: Scopes = S::SCOPE.parse().expect("the scopes above are well formed");
            return Err(ApiError::insufficient_scope(&required));
        }
        Ok(Self { principal, scope: PhantomData })
    }
}

/// A person's own session; no token and no service reaches what takes this.
pub(crate) struct Session(pub(crate) OwnSession);

impl FromRequestParts<Arc<AuthService>> for Session {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, auth: &Arc<AuthService>) -> Result<Self, ApiError> {
        match authenticate(auth, parts).await? {
            Credential::Session(session) => Ok(Self(session)),
            Credential::Pat(_) | Credential::Service(_) => {
                Err(ApiError::new(ErrorCode::Forbidden, "Only a signed-in person can do this"))
            }
        }
    }
}

/// A person's own session in which they have proved lately who they are, or this is a 401 that says how to (RFC 9470).
/// The change itself asks again, in its transaction.
pub(crate) struct RecentSession(pub(crate) OwnSession);

impl FromRequestParts<Arc<AuthService>> for RecentSession {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, auth: &Arc<AuthService>) -> Result<Self, ApiError> {
        let Session(session) = Session::from_request_parts(parts, auth).await?;
        let (user_id, now) = (&session.principal.user_id, auth.clock.now());
        auth.store.check_proof(user_id, &session.session_id, now).await.map_err(internal)?;
        Ok(Self(session))
    }
}

/// Lets a trusted service ask for validation, or, where the installation allows it, anybody. A function rather than an
/// extractor, since that route is also answered without a router.
pub(super) async fn may_validate(auth: &AuthService, context: &Context, headers: &HeaderMap) -> Result<(), ApiError> {
    match bearer_bytes(headers) {
        Err(NoBearer::Absent) if auth.config.validate_allow_anonymous => {
            let route = Route::named("POST /tokens/validate");
            limits::admit_address(auth, context, &route, auth.config.limits.standard).await
        }
        // Only a service JWT is looked at: a user's credential is neither validated nor counted here.
        Ok(jwt) if auth.service_keys.vouches(jwt, auth.clock.now()) => {
            context.note_caller("service");
            Ok(())
        }
        Ok(_) | Err(_) => Err(ApiError::unauthorized()),
    }
}

/// A trusted service, and nobody else.
pub(crate) struct Service(pub(crate) ServiceCall);

impl FromRequestParts<Arc<AuthService>> for Service {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, auth: &Arc<AuthService>) -> Result<Self, ApiError> {
        let call = bearer(&parts.headers).ok().and_then(|jwt| auth.service_keys.verify(jwt, auth.clock.now()));
        context(parts).note_caller("service");
        call.map(Self).ok_or_else(ApiError::unauthorized)
    }
}

enum Credential {
    Session(OwnSession),
    Pat(Principal),
    Service(ServiceCall),
}

/// Authenticates the request and holds it to the standard limit: by user where there is one, else by address.
async fn authenticate(auth: &Arc<AuthService>, parts: &Parts) -> Result<Credential, ApiError> {
    let context = context(parts);
    let route = Route::of(parts);
    let standard = auth.config.limits.standard;
    let outcome = match bearer(&parts.headers) {
        Ok(presented) => identify(auth, &context, presented).await,
        Err(NoBearer::Absent | NoBearer::Malformed) => Err(ApiError::unauthorized()),
    };
    match &outcome {
        Ok(Credential::Session(OwnSession { principal, .. }) | Credential::Pat(principal)) => {
            limits::admit_user(auth, &context, &route, &principal.user_id, standard).await?;
        }
        Err(error) if error.code().status() == 401 => limits::admit_address(auth, &context, &route, standard).await?,
        // A service answers for its own callers.
        Ok(Credential::Service(_)) | Err(_) => {}
    }
    outcome
}

async fn identify(auth: &AuthService, context: &Context, presented: &str) -> Result<Credential, ApiError> {
    let is_service = !token::looks_like_token(presented)
        && jsonwebtoken::decode_header(presented).is_ok_and(|header| header.alg == Algorithm::HS256);
    if is_service {
        let invalid = || ApiError::new(ErrorCode::InvalidToken, "This token is not valid");
        let call = auth.service_keys.verify(presented, auth.clock.now()).ok_or_else(invalid)?;
        context.note_caller("service");
        return Ok(Credential::Service(call));
    }

    let Validated { credential, .. } = auth
        .validator
        .validate(presented, Audience::General, context.client())
        .await
        .map_err(|rejection| rejected(auth, context, rejection))?;
    let mut principal = Principal {
        user_id: credential.user_id.clone(),
        actor: Actor::default(),
        client: context.client().clone(),
        bounds: None,
    };
    Ok(match &credential.id {
        CredentialId::Session(session_id) => {
            context.note_caller("session");
            principal.actor.session_id = Some(session_id.clone());
            Credential::Session(OwnSession { session_id: session_id.clone(), principal })
        }
        CredentialId::Pat(token_id) => {
            context.note_caller("pat");
            principal.actor.token_id = Some(token_id.clone());
            let secret_id = credential.secret_id.clone().ok_or_else(ApiError::unauthorized)?;
            principal.bounds = Some(Bounds {
                secret_id,
                scopes: credential.scopes.clone(),
                expires_at: credential.expires_at,
                allowed_ips: credential.allowed_ips.clone(),
                is_narrowed: credential.narrowed().is_some(),
            });
            Credential::Pat(principal)
        }
    })
}

/// What a rejected credential is answered with where it was presented as `Authorization`.
pub(super) fn rejected(auth: &AuthService, context: &Context, rejection: Rejection) -> ApiError {
    match rejection {
        Rejection::Invalid => ApiError::new(ErrorCode::InvalidToken, "This token is not valid"),
        Rejection::Expired => ApiError::new(ErrorCode::TokenExpired, "This token has expired"),
        Rejection::IpNotAllowed => ip_not_allowed(),
        Rejection::SessionEnded => ApiError::new(ErrorCode::SessionRevoked, "This session has been ended"),
        Rejection::Limited { quota, retry_at } => {
            limits::show_credential(auth, context, quota);
            ApiError::rate_limited("This token has made too many requests", retry_at, auth.clock.now())
        }
        Rejection::Unavailable(error) => internal(error),
    }
}

fn ip_not_allowed() -> ApiError {
    ApiError::new(ErrorCode::IpNotAllowed, "This token may not be used from this address")
}

/// The user on whose behalf a service calls, held to all that bounds the credential by which that user called the
/// service. The JWT says which credential it was, and may say less than the database about what it is good for; never
/// more. One that names no credential is the service's own word.
async fn act_for_user(auth: &AuthService, parts: &Parts, call: ServiceCall) -> Result<Principal, ApiError> {
    let user_id = call.user_id.ok_or_else(|| ApiError::new(ErrorCode::Forbidden, "This service JWT names no user"))?;
    let now = auth.clock.now();
    // As to whoever shows such a JWT here himself: it was narrowed to somebody else.
    if call.is_for_an_audience || call.expires_at.is_some_and(|end| end <= now) {
        return Err(gone());
    }
    let client = call.client.unwrap_or_default();
    let bounds = match &call.token_id {
        Some(token_id) => {
            let found = match &call.secret_id {
                Some(secret_id) => auth.store.find_token_by_secret(secret_id).await,
                // An older service. Nobody can tell which secret it was shown.
                None => auth.store.find_token_by_first_secret_to_end(token_id, now).await,
            };
            let found = found.map_err(internal)?.filter(|found| found.token.id == *token_id).ok_or_else(gone)?;
            let mut bounds = bounds_of_token(found, &user_id, call.scopes, &client, now)?;
            bounds.expires_at = bounds.expires_at.into_iter().chain(call.expires_at).min();
            Some(bounds)
        }
        // The bounds of a token that got lost on the way.
        None if call.secret_id.is_some() || call.scopes.is_some() => return Err(gone()),
        None => None,
    };
    if let Some(session_id) = &call.session_id {
        let (session, user) = auth.store.find_session(session_id).await.map_err(internal)?.ok_or_else(gone)?;
        if user.id != user_id || user.disabled_at.is_some() || session.absolute_expires_at <= now {
            return Err(gone());
        }
    } else if bounds.is_none() {
        let user = auth.store.find_user(&user_id).await.map_err(internal)?.ok_or_else(gone)?;
        if user.disabled_at.is_some() {
            return Err(gone());
        }
    }
    let request_id = context(parts).request_id.to_string();
    Ok(Principal {
        user_id,
        actor: Actor { session_id: call.session_id, token_id: call.token_id, service: Some(call.service) },
        client: ClientInfo { request_id: client.request_id.or(Some(request_id)), ..client },
        bounds,
    })
}

fn gone() -> ApiError {
    ApiError::new(ErrorCode::InvalidToken, "The user's credential is not valid")
}

/// What somebody may do by this secret of a token of this user's, or by a JWT with some of its scopes, if anything.
fn bounds_of_token(
    found: FoundToken,
    user_id: &UserId,
    narrowed: Option<Scopes>,
    client: &ClientInfo,
    now: Timestamp,
) -> Result<Bounds, ApiError> {
    let FoundToken { token, secret, owner } = found;
    let expires_at = token.expires_at.into_iter().chain(secret.valid_until).min();
    if token.user_id != *user_id || owner.disabled_at.is_some() || expires_at.is_some_and(|end| end <= now) {
        return Err(gone());
    }
    let allowed_ips = token.allowed_ips;
    if allowed_ips.as_ref().is_some_and(|allowed| client.ip.is_none_or(|ip| !allowed.allow(ip))) {
        return Err(ip_not_allowed());
    }
    let is_narrowed = narrowed.is_some();
    let scopes = match narrowed {
        None => token.scopes,
        Some(narrowed) if token.scopes.contain(&narrowed) => narrowed,
        Some(_) => return Err(gone()),
    };
    Ok(Bounds { secret_id: secret.id, scopes, expires_at, allowed_ips, is_narrowed })
}

fn context(parts: &Parts) -> Arc<Context> {
    parts.extensions.get::<Arc<Context>>().cloned().expect("the envelope is the router's outermost layer")
}
