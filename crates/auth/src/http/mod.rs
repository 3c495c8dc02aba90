//! The REST side. A request passes the [`envelope`](web::envelope) (id, address, errors, log line), then the extractors
//! that its handler's arguments name ([`caller`]: who may call; [`limits`]: how often), then the handler, which calls
//! one function of the room whose name its path begins with.

mod account;
mod app;
mod caller;
mod cli;
mod dev;
mod device;
mod email_link;
mod exchange;
mod forward_auth;
mod introspect;
mod jwks;
mod leaks;
mod limits;
mod link;
mod login;
mod manage;
mod mfa;
mod oauth;
mod oauth_error;
mod oauth_token;
mod pages;
mod plain_path;
mod public;
mod reauthenticate;
mod sign_in;
mod sms;
mod tokens;
mod undo;
mod validate;
mod validate_reply;
mod wallet;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{Envelope, RequestIds};

use self::public::BearerScheme;
use crate::AuthService;
pub use app::{App, app};

#[derive(OpenApi)]
#[openapi(
    info(title = "Auth service", description = "Sign-in, sessions and personal access tokens."),
    // For every method, and answered before the router: see `app`.
    paths(forward_auth::forward_auth),
    modifiers(&BearerScheme),
    security(("bearer" = []))
)]
struct ApiDoc;

fn api() -> OpenApiRouter<Arc<AuthService>> {
    OpenApiRouter::with_openapi(ApiDoc::openapi())
        .routes(routes!(public::health))
        .routes(routes!(public::ready))
        .routes(routes!(sign_in::request_email_code))
        .routes(routes!(sign_in::verify_email_code))
        .routes(routes!(email_link::email_link))
        .routes(routes!(sms::request_sms_code))
        .routes(routes!(sms::verify_sms_code))
        .routes(routes!(exchange::exchange))
        .routes(routes!(oauth::providers))
        .routes(routes!(oauth::start))
        .routes(routes!(oauth::callback))
        .routes(routes!(link::begin))
        .routes(routes!(link::verify))
        .routes(routes!(wallet::challenge))
        .routes(routes!(wallet::verify))
        .routes(routes!(mfa::verify))
        .routes(routes!(sign_in::refresh))
        .routes(routes!(sign_in::logout))
        .routes(routes!(account::me))
        .routes(routes!(manage::list_sessions, manage::end_sessions))
        .routes(routes!(manage::end_session))
        .routes(routes!(manage::profile, manage::change_profile, manage::delete_account))
        .routes(routes!(manage::methods))
        .routes(routes!(manage::unlink))
        .routes(routes!(manage::set_primary))
        .routes(routes!(mfa::status))
        .routes(routes!(mfa::setup))
        .routes(routes!(mfa::enable))
        .routes(routes!(mfa::disable))
        .routes(routes!(mfa::backup_codes))
        .routes(routes!(reauthenticate::request))
        .routes(routes!(reauthenticate::verify))
        .routes(routes!(account::audit_log))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::limits))
        .routes(routes!(tokens::delete))
        .routes(routes!(tokens::rotate))
        .routes(routes!(tokens::create_for_cli))
        .routes(routes!(validate::validate))
        .routes(routes!(leaks::report))
        .routes(routes!(cli::start))
        .routes(routes!(cli::approve))
        .routes(routes!(cli::deny))
        .routes(routes!(cli::poll))
        .routes(routes!(device::authorize_device))
        .routes(routes!(oauth_token::token))
        .routes(routes!(introspect::introspect))
        .routes(routes!(jwks::jwks))
}

/// The OpenAPI document, as JSON.
///
/// # Panics
/// Never: the document is plain data.
#[must_use]
pub fn openapi() -> String {
    api().into_openapi().to_pretty_json().expect("the document is plain data")
}

/// What is around every answer.
fn envelope(auth: &AuthService) -> Envelope {
    Envelope {
        clock: Arc::clone(&auth.clock),
        request_ids: RequestIds::new(&auth.chance),
        trusted_proxies: Arc::new(auth.config.trusted_proxies.clone()),
        service: auth_api::AUTH_SERVICE,
        operations: auth.operations.clone(),
    }
}

/// The service's routes, without `/forward-auth`: see [`app`].
fn router(auth: Arc<AuthService>) -> Router {
    let envelope = envelope(&auth);
    let (api, _) = api().split_for_parts();
    let mut router = api.route("/", get(public::index)).route("/openapi.json", get(public::openapi_json));
    router = router.route("/login/email/{token}", get(email_link::page).post(email_link::confirm));
    router = router.route("/undo/{token}", get(undo::page).post(undo::confirm));
    if auth.outbox.is_some() {
        router = router.route("/dev/outbox", get(dev::outbox));
    }
    router
        .merge(login::routes())
        .merge(public::docs())
        .fallback(web::not_found)
        .method_not_allowed_fallback(web::method_not_allowed)
        .layer(web::cors(&auth.config.cors_origins))
        .layer(from_fn_with_state(envelope, web::envelope))
        .with_state(auth)
}
