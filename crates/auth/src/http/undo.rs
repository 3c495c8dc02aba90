//! The page behind the link in a security mail. It needs no sign-in: whoever reads the person's mail may end what is
//! going on in the account, and can do nothing else by it.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use minijinja::context;
use url::Url;
use web::{ApiError, Context};

use super::email_link::{confirmed, read};
use super::limits::{Standard, Strict};
use super::pages::Page;
use crate::AuthService;
use crate::notices::{Ended, undo};

/// The page. It asks the database nothing and changes nothing: scanners of mail follow links.
pub(super) async fn page(
    State(auth): State<Arc<AuthService>>,
    within: Result<Standard, ApiError>,
    secret: Result<web::Path, ApiError>,
) -> Response {
    if let Err(error) = within.and(secret.and_then(read)) {
        return Page::of_problem(&auth, &error).into_response();
    }
    Page::new(&auth, "Was this not you?", "undo.html", context! { step => "ask" }).into_response()
}

/// The page's button.
pub(super) async fn confirm(
    State(auth): State<Arc<AuthService>>,
    within: Result<Strict, ApiError>,
    headers: HeaderMap,
    Extension(context): Extension<Arc<Context>>,
    secret: Result<web::Path, ApiError>,
) -> Response {
    let ended = match within.and(secret).and_then(|secret| confirmed(&headers, secret)) {
        Err(error) => Err(error),
        Ok(secret) => undo(&auth, context.client(), &secret).await,
    };
    match ended {
        Err(error) => Page::of_problem(&auth, &error).into_response(),
        Ok(Ended { sessions, tokens }) => {
            let (sessions, tokens) = (counted(sessions.into(), "session"), counted(tokens, "token"));
            let app = auth.config.app_url.as_ref().map(Url::as_str);
            let told = context! { step => "done", sessions, tokens, app };
            Page::new(&auth, "Everything has ended", "undo.html", told).into_response()
        }
    }
}

fn counted(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
