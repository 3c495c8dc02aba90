//! Limits by address and by user. Every route has windows of its own.
//!
//! An address counts for the networks that it is in as well, which have wider limits: see [`Levels`]. A service that calls
//! for its users is not one address: what counts is the address that its JWT names, and none where it names none.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath};
use domain::{Limit, Moment, SessionId, Timestamp, UserId};
use http::HeaderMap;
use http::request::Parts;
use limiter::{Level, Limiter, Quota, Verdict};
use store::StoreError;
use web::{ApiError, Context, Window, bearer};

use crate::addresses::Levels;
use crate::metrics::Refused;
use crate::{AuthService, internal};

/// Codes that are sent to one session in any 24 hours.
const REAUTH_CODES: Limit = Limit::per_day(20);

/// The route that a request matched; its windows are counted apart from other routes'.
pub(crate) struct Route(String);

impl Route {
    pub(crate) fn of(parts: &Parts) -> Self {
        let path = parts.extensions.get::<MatchedPath>().map_or(parts.uri.path(), MatchedPath::as_str);
        Self(format!("{} {path}", parts.method))
    }

    /// A route that is answered without a router. One that takes every method counts them together.
    pub(crate) fn named(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// Counts the request against its user.
pub(crate) async fn admit_user(
    auth: &AuthService,
    context: &Context,
    route: &Route,
    user_id: &UserId,
    limit: Limit,
) -> Result<(), ApiError> {
    admit_one(auth, context, &auth.limiter, &format!("user:{user_id}:{}", route.0), limit).await
}

/// Counts one more code that is sent to whoever has this session. By session: whoever has stolen one uses up nothing of
/// its owner's elsewhere.
pub(crate) async fn admit_reauth_code(
    auth: &AuthService,
    context: &Context,
    session_id: &SessionId,
) -> Result<(), ApiError> {
    admit_one(auth, context, &auth.limiter, &format!("reauth:{session_id}"), REAUTH_CODES).await
}

/// For whom a request counts.
#[derive(Debug, Clone, Copy)]
enum Sender {
    /// Whoever is at this address; `None` where nobody knows it.
    At(Option<IpAddr>),
    /// A trusted service, which answers for its own callers.
    Service,
}

impl Sender {
    fn of(auth: &AuthService, context: &Context, headers: &HeaderMap) -> Self {
        let call = bearer(headers).ok().and_then(|jwt| auth.service_keys.verify(jwt, auth.clock.now()));
        let Some(call) = call else { return Self::At(context.ip) };
        context.note_caller("service");
        let client = call.client.unwrap_or_default();
        let sender = if call.names_address { Self::At(client.ip) } else { Self::Service };
        // What follows is the user's doing, also in the audit log and in the list of devices.
        context.speaks_for(client);
        sender
    }

    async fn admit(self, auth: &AuthService, context: &Context, route: &Route, limit: Limit) -> Result<(), ApiError> {
        match self {
            Self::At(ip) => admit_from(auth, context, ip, route, limit).await,
            Self::Service => Ok(()),
        }
    }
}

/// Counts the request against its address, whoever sent it.
pub(crate) async fn admit_address(
    auth: &AuthService,
    context: &Context,
    route: &Route,
    limit: Limit,
) -> Result<(), ApiError> {
    admit_from(auth, context, context.ip, route, limit).await
}

async fn admit_from(
    auth: &AuthService,
    context: &Context,
    ip: Option<IpAddr>,
    route: &Route,
    limit: Limit,
) -> Result<(), ApiError> {
    let levels = Levels::of(ip);
    let named = levels.levels.iter().map(|(name, times)| Level {
        key: auth.window_name(&format!("address:{name}:{}", route.0)),
        limit: Limit { count: limit.count.saturating_mul(*times), ..limit },
    });
    let named: Vec<_> = named.collect();
    let at = auth.clock.moment();
    let verdict = auth.strangers.admit_levels(levels.network(), &named, at.steady).await;
    conclude(auth, context, verdict, limit, at)
}

/// Counts one more under `key`, which anybody can name, and shows the window in the reply.
pub(crate) async fn admit(auth: &AuthService, context: &Context, key: &str, limit: Limit) -> Result<(), ApiError> {
    admit_one(auth, context, &auth.strangers, &auth.window_name(key), limit).await
}

/// Counts one more under `key`, which anybody can name, and says whether there was room. The reply does not show it:
/// what is full is somebody else's, and a stranger may have filled it.
pub(crate) async fn has_room(auth: &AuthService, key: &str, limit: Limit) -> Result<bool, ApiError> {
    match auth.strangers.admit(&auth.window_name(key), limit, auth.clock.moment().steady).await {
        Verdict::Admitted(_) => Ok(true),
        Verdict::Refused { .. } => Ok(false),
        Verdict::Unsaved => Err(internal(StoreError::WindowNotSaved)),
    }
}

async fn admit_one(
    auth: &AuthService,
    context: &Context,
    limiter: &Limiter,
    key: &str,
    limit: Limit,
) -> Result<(), ApiError> {
    let at = auth.clock.moment();
    conclude(auth, context, limiter.admit(key, limit, at.steady).await, limit, at)
}

/// Shows the window in the reply, unless nobody can say how it is.
fn conclude(auth: &AuthService, context: &Context, verdict: Verdict, limit: Limit, at: Moment) -> Result<(), ApiError> {
    match verdict.on_the_wall(at) {
        Verdict::Admitted(quota) => {
            context.note_window(window(quota, limit));
            Ok(())
        }
        Verdict::Refused { quota, retry_at } => Err(refused(auth, context, quota, limit, retry_at)),
        Verdict::Unsaved => Err(internal(StoreError::WindowNotSaved)),
    }
}

/// What a request is answered with that found its window full, which is shown in the reply.
pub(crate) fn refused(
    auth: &AuthService,
    context: &Context,
    quota: Quota,
    limit: Limit,
    retry_at: Timestamp,
) -> ApiError {
    context.note_window(window(quota, limit));
    auth.metrics.refused(Refused::Caller);
    ApiError::rate_limited("Too many requests; try again later", retry_at, auth.clock.now())
}

/// Shows a credential's own window in the reply.
pub(crate) fn show_credential(auth: &AuthService, context: &Context, quota: Quota) {
    context.note_window(window(quota, auth.config.limits.token));
}

fn window(quota: Quota, limit: Limit) -> Window {
    let Quota { limit: count, remaining, reset_at } = quota;
    Window { limit: count, remaining, reset_at, length: limit.window }
}

/// Counts only what the handler says has failed, by address and within the standard limit: for what a program asks again
/// and again, and guesses at.
pub(crate) struct Failures {
    sender: Sender,
    route: Route,
}

impl FromRequestParts<Arc<AuthService>> for Failures {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, auth: &Arc<AuthService>) -> Result<Self, Self::Rejection> {
        Ok(Self { sender: Sender::of(auth, context(parts), &parts.headers), route: Route::of(parts) })
    }
}

impl Failures {
    /// Counts one failure.
    pub(crate) async fn count(&self, auth: &AuthService, context: &Context) -> Result<(), ApiError> {
        self.sender.admit(auth, context, &self.route, auth.config.limits.standard).await
    }
}

fn context(parts: &Parts) -> &Context {
    parts.extensions.get::<Arc<Context>>().expect("the envelope is the outermost layer")
}

async fn admit_sender(auth: &AuthService, parts: &Parts, route: &Route, limit: Limit) -> Result<(), ApiError> {
    let context = context(parts);
    Sender::of(auth, context, &parts.headers).admit(auth, context, route, limit).await
}

/// Within the limit of sign-in, by address over all the routes that take this: for what can be guessed or costs money to
/// send. It has to be wide enough for the people behind one address, and so bounds no guessing at a secret; what does is
/// counted by the secret.
pub(crate) struct Strict;

impl FromRequestParts<Arc<AuthService>> for Strict {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, auth: &Arc<AuthService>) -> Result<Self, ApiError> {
        admit_sender(auth, parts, &Route::named("sign-in"), auth.config.limits.sign_in).await?;
        Ok(Self)
    }
}

macro_rules! by_address {
    ($(#[$doc:meta])* $name:ident, $limit:ident) => {
        $(#[$doc])*
        pub(crate) struct $name;

        impl FromRequestParts<Arc<AuthService>> for $name {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, auth: &Arc<AuthService>) -> Result<Self, ApiError> {
                admit_sender(auth, parts, &Route::of(parts), auth.config.limits.$limit).await?;
                Ok(Self)
            }
        }
    };
}

by_address!(
    /// Within the standard limit: for the rest of sign-in.
    Standard,
    standard
);
by_address!(
    /// Within the relaxed limit: for public reads.
    Relaxed,
    relaxed
);
