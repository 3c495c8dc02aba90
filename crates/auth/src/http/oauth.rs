//! `/auth/oauth/*`: browsers on their way to a provider and back.

use std::sync::Arc;
use std::time::Duration;

use auth_api::{ErrorBody, OAuthProviderEntry, OAuthProvidersReply};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use domain::CodeChallenge;
use http::{HeaderMap, StatusCode, header};
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;
use web::{ApiError, Context};

use super::limits::Standard;
use super::login;
use crate::sign_in::oauth::callback::{self, Arrival, Finished};
use crate::sign_in::oauth::{invalid_state, start};
use crate::{AuthService, OAuthProvider};

/// URLs here carry one-time secrets, which no page that follows is to learn.
const NO_REFERRER: [(header::HeaderName, &str); 1] = [(header::REFERRER_POLICY, "no-referrer")];

/// The providers that one can sign in at, and where that starts.
#[utoipa::path(get, path = "/auth/oauth/providers", tag = "sign-in", security(()),
    responses((status = 200, body = OAuthProvidersReply), (status = 429, body = ErrorBody)))]
pub(super) async fn providers(State(auth): State<Arc<AuthService>>, _: Standard) -> Json<OAuthProvidersReply> {
    let oauth = &auth.config.oauth;
    let entry = |provider: &OAuthProvider| OAuthProviderEntry {
        name: provider.name.to_string(),
        auth_url: oauth.start_url(provider),
    };
    Json(OAuthProvidersReply { providers: oauth.providers.iter().map(entry).collect() })
}

/// Where a browser wants to go in the end, or what it comes with.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StartQuery {
    /// Where the browser is sent in the end, with `?code=…`; an allowed origin. `APP_URL` when absent.
    redirect_url: Option<String>,
    /// The reference of a link, from `authUrl` of `POST /account/methods/link`.
    link: Option<String>,
    /// Binds the code that the browser is sent back with to whoever has the verifier (RFC 7636): the base64url of its
    /// SHA-256.
    code_challenge: Option<String>,
    /// `S256`, which it is when absent too.
    code_challenge_method: Option<String>,
}

impl StartQuery {
    fn challenge(&self) -> Result<Option<CodeChallenge>, ApiError> {
        if self.code_challenge_method.as_deref().is_some_and(|method| method != "S256") {
            return Err(ApiError::validation("code_challenge_method", "must be S256"));
        }
        read_challenge("code_challenge", self.code_challenge.as_deref())
    }
}

/// The challenge in a request, if there is one.
pub(super) fn read_challenge(path: &str, text: Option<&str>) -> Result<Option<CodeChallenge>, ApiError> {
    text.map(|text| text.parse().map_err(|error| ApiError::validation(path, error))).transpose()
}

/// Send the browser to a provider, to sign in or to link.
#[utoipa::path(get, path = "/auth/oauth/{provider}", tag = "sign-in", security(()),
    params(("provider" = String, Path, description = "google, github, twitter or discord"), StartQuery),
    responses((status = 302, description = "To the provider"), (status = 400, body = ErrorBody),
              (status = 404, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub(super) async fn start(
    State(auth): State<Arc<AuthService>>,
    _: Standard,
    provider: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    query: Result<web::Query<StartQuery>, ApiError>,
) -> Response {
    let departure = async {
        let provider = provider_in_path(&auth, provider)?;
        let web::Query(query) = query?;
        let challenge = query.challenge()?;
        match query.link {
            None => start::sign_in(&auth, provider, query.redirect_url.as_deref(), challenge.as_ref()).await,
            Some(_) if challenge.is_some() => {
                Err(ApiError::validation("code_challenge", "a link is bound to the session that asked for it"))
            }
            Some(reference) => {
                let referer = headers.get(header::REFERER).and_then(|referer| referer.to_str().ok());
                start::follow(&auth, provider, &reference, referer).await
            }
        }
    };
    let reply = departure.await.map(|departure| found(&departure.url, &departure.cookie));
    (NO_REFERRER, reply).into_response()
}

/// What a provider's redirect brings.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CallbackQuery {
    /// Our state.
    state: Option<String>,
    /// The provider's code.
    #[param(value_type = Option<String>)]
    code: Option<SecretString>,
    /// Why there is no code (RFC 6749 §4.1.2.1).
    error: Option<String>,
}

/// Where providers send browsers back to. The browser goes on to its app with a one-time code: for `/auth/exchange`, or
/// after a link for `/account/methods/link/verify`.
#[utoipa::path(get, path = "/auth/oauth/callback/{provider}", tag = "sign-in", security(()),
    params(("provider" = String, Path, description = "google, github, twitter or discord"), CallbackQuery),
    responses((status = 302, description = "To the app, with `?code=…`, or `?error=access_denied`"),
              (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 429, body = ErrorBody),
              (status = 502, body = ErrorBody)))]
pub(super) async fn callback(
    State(auth): State<Arc<AuthService>>,
    _: Standard,
    Extension(context): Extension<Arc<Context>>,
    provider: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    query: Result<web::Query<CallbackQuery>, ApiError>,
) -> Response {
    let arrived = async {
        let oauth = &auth.config.oauth;
        let provider = provider_in_path(&auth, provider)?;
        // Whatever is wrong with it, our own provider has not sent the browser here like this.
        let Ok(web::Query(CallbackQuery { state, code, error })) = query else { return Err(invalid_state()) };
        let browser = cookie(&headers, &oauth.cookie_name(provider));
        let arrival = Arrival { state, browser, code, error };
        let finished = callback::finish(&auth, provider, arrival).await?;
        let no_cookie = oauth.cookie(provider, "", Duration::ZERO);
        Ok(match finished {
            Finished::GoesTo(url) => found(&url, &no_cookie),
            Finished::AtPairing { id, proved } => {
                let page = login::arrived(&auth, &context, &id, proved).await;
                ([(header::SET_COOKIE, no_cookie)], page).into_response()
            }
        })
    };
    (NO_REFERRER, arrived.await).into_response()
}

/// The provider that the path names; a name that is not even text is no provider's.
pub(super) fn provider_in_path(
    auth: &AuthService,
    name: Result<Path<String>, PathRejection>,
) -> Result<&OAuthProvider, ApiError> {
    let Path(name) = name.map_err(|_| ApiError::not_found())?;
    auth.config.oauth.provider(&name)
}

pub(super) fn found(url: &Url, cookie: &str) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, url.as_str()), (header::SET_COOKIE, cookie)]).into_response()
}

/// The cookie's value (RFC 6265 §5.4).
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    // As bytes: another program's cookie that is no text must not hide ours.
    let cookies =
        headers.get_all(header::COOKIE).into_iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let mut pairs = cookies.filter_map(|pair| str::from_utf8(pair).ok()?.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}
