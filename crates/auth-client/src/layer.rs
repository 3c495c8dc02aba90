//! [`AuthLayer`]: a door for routes of axum. What it decides it decides by [`AuthClient::validate`]; here is only how
//! the question is read from a request and the answer written into a reply.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use auth_api::ErrorCode;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use domain::{Chance, Scope, Scopes, SystemClock};
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use secrecy::SecretString;
use tower::{Layer, Service};
use web::{ApiError, NoBearer, Peer, RequestId, TrustedProxies, Window};

use crate::caller::Vouched;
use crate::{AuthClient, AuthClientConfig, Caller, MAX_CREDENTIAL_LENGTH, SetupError, Validation};

/// Lets requests pass that show a good credential with the scopes that are asked for, and answers all others.
///
/// Every request is put to the auth service: nothing is cached and nothing is decided here, so that a token that was
/// deleted is refused on the next call. A request that passed carries the [`Caller`].
///
/// | the request | the reply |
/// |---|---|
/// | shows a good credential with all scopes | the handler's, with the `X-RateLimit-*` and `RateLimit` fields |
/// | shows none, or none that is accepted here | 401 with `WWW-Authenticate` (RFC 6750 §3) |
/// | shows one that lacks a scope | 403, `WWW-Authenticate` naming the scope |
/// | shows one over its limit | 429 with `Retry-After` |
/// | cannot be decided, since the auth service is away | 503 with `Retry-After`; never the handler |
///
/// The layer is cheap to clone, and all its clones share the connections to the auth service. Layers may be nested, one
/// around a router and others with scopes around its routes: the service is asked once a request.
#[derive(Debug, Clone)]
pub struct AuthLayer {
    client: Arc<AuthClient>,
    trusted_proxies: Arc<TrustedProxies>,
    required: Vec<Scope>,
}

impl AuthLayer {
    /// A door that asks the auth service at this address. `jwt_secret` is the service's `JWT_SECRET`, of a rotation list
    /// the first. Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// If the address is none, or the HTTP client does not come up.
    pub fn new(auth_service_url: impl Into<String>, jwt_secret: impl Into<SecretString>) -> Result<Self, SetupError> {
        let config = AuthClientConfig::new(auth_service_url, jwt_secret.into());
        let client = AuthClient::new(&config, Arc::new(SystemClock), Chance::of_the_system())?;
        Ok(Self::with_client(Arc::new(client)))
    }

    /// A door that asks by a client that was set up otherwise, or that a program has anyway.
    #[must_use]
    pub fn with_client(client: Arc<AuthClient>) -> Self {
        Self { client, trusted_proxies: Arc::default(), required: Vec::new() }
    }

    /// Believes what these proxies say in `X-Forwarded-For`. Without, the end user's address is that of the connection.
    #[must_use]
    pub fn behind(self, proxies: TrustedProxies) -> Self {
        Self { trusted_proxies: Arc::new(proxies), ..self }
    }

    /// The same door, which asks for this scope as well. A caller with `*` or `reports:*` has `reports:read`; people's
    /// sessions have all scopes.
    ///
    /// # Panics
    ///
    /// If the text is no scope: a route that asks for what no token can have is a slip of the pen, and shows at start.
    #[must_use]
    pub fn scope(&self, scope: &str) -> Self {
        let scope = scope.parse().unwrap_or_else(|error| panic!("{scope:?} is no scope: it {error}"));
        let mut guarded = self.clone();
        guarded.required.push(scope);
        guarded
    }

    /// Who is calling, and the window as the service counted it; or why nobody passes, likewise.
    async fn ask(&self, request: &Parts, request_id: &str) -> (Result<Caller, ApiError>, Option<Window>) {
        let token = match web::bearer(&request.headers) {
            Ok(token) if token.len() <= MAX_CREDENTIAL_LENGTH => SecretString::from(token),
            Ok(_) | Err(NoBearer::Absent | NoBearer::Malformed) => return (Err(ApiError::unauthorized()), None),
        };
        let client = web::client_info(&request.headers, peer(request), &self.trusted_proxies, request_id);
        match self.client.validate(&token, &client).await {
            Ok(Validation::Valid(valid)) => {
                let window = Window::from(&valid.reply.rate_limit);
                (Ok(Caller::new(*valid, client)), Some(window))
            }
            Ok(Validation::Invalid { code, error }) => (Err(ApiError::new(code, error)), None),
            Ok(Validation::Limited(limited)) => {
                let window = limited.rate_limit.as_ref().map(Window::from);
                let wait = Duration::from_secs(limited.retry_after);
                let error = ApiError::limited_elsewhere(limited.error, wait, limited.reset_at);
                (Err(error), window)
            }
            Err(error) => (Err(ApiError::unavailable(&error)), None),
        }
    }

    fn missing(&self, caller: &Caller) -> Result<(), ApiError> {
        let missing: Vec<Scope> = self.required.iter().filter(|scope| !caller.may(scope.as_str())).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        // More than one token carries cannot be written down as its scopes, and is missing all the same.
        Err(Scopes::try_from(missing).map_or_else(
            |_| ApiError::new(ErrorCode::Forbidden, "This token lacks scopes"),
            |missing| ApiError::insufficient_scope(&missing),
        ))
    }
}

/// The other end of the connection, if the server tells: [`web::serve`] does, and `axum::serve` with
/// `into_make_service_with_connect_info::<SocketAddr>()`.
fn peer(request: &Parts) -> Option<IpAddr> {
    let of_axum = request.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    of_axum.or_else(|| request.extensions.get::<Peer>().map(|Peer(peer)| peer.ip()))
}

impl<S> Layer<S> for AuthLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, layer: self.clone() }
    }
}

/// A service behind an [`AuthLayer`].
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    inner: S,
    layer: AuthLayer,
}

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The one that is ready is the one to call; its clone need not be.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(pass(self.layer.clone(), inner, request))
    }
}

async fn pass<S>(layer: AuthLayer, mut inner: S, request: Request) -> Result<Response, S::Error>
where
    S: Service<Request, Response = Response>,
{
    // Apart, since a body cannot be shared between threads while the service is asked.
    let (mut parts, body) = request.into_parts();
    let vouched = parts.extensions.get::<Vouched>().filter(|vouched| vouched.is_by(&layer.client));
    if let Some(Vouched { caller, request_id, .. }) = vouched {
        // A layer around this one has asked, and writes the headers.
        return match layer.missing(caller) {
            Ok(()) => inner.call(Request::from_parts(parts, body)).await,
            Err(error) => Ok(refusal(error, request_id)),
        };
    }

    let request_id = RequestId::of(&parts.headers, &layer.client.chance);
    let (outcome, window) = layer.ask(&parts, &request_id).await;
    let allowed = outcome.and_then(|caller| layer.missing(&caller).map(|()| caller));
    let mut response = match allowed {
        Ok(caller) => {
            let by = Arc::clone(&layer.client);
            parts.extensions.insert(Vouched { caller, by, request_id: request_id.to_string() });
            inner.call(Request::from_parts(parts, body)).await?
        }
        Err(error) => refusal(error, &request_id),
    };
    sign(response.headers_mut(), &request_id);
    if let Some(window) = window {
        window.write(response.headers_mut(), layer.client.clock.now());
    }
    Ok(response)
}

fn refusal(error: ApiError, request_id: &str) -> Response {
    let mut response = error.render(request_id);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The id under which the auth service logged the call, unless the reply has one.
fn sign(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(id) = HeaderValue::try_from(request_id) {
        headers.entry("x-request-id").or_insert(id);
    }
}
