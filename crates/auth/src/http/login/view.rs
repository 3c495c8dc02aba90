//! What the pages look like: plain HTML that works without JavaScript and loads nothing.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use domain::{OneTimeSecret, Scopes};
use http::{HeaderName, HeaderValue, StatusCode, header};
use minijinja::{Environment, Value, context};
use store::Pairing;
use web::ApiError;

use crate::AuthService;

/// What a page asks for.
pub(super) enum Step<'a> {
    /// Which program? Its user code.
    UserCode,
    /// Who decides? Their address.
    Email,
    /// The code that was sent to this address.
    Code { email: &'a str },
    /// The decision, by a form that decides once.
    Decide { email: Option<&'a str>, form: &'a OneTimeSecret, name: &'a str },
    /// Nothing more: it is decided.
    Done { approved: bool },
    /// Nothing more: there is nothing to decide about.
    Over,
}

/// A page, ready to be sent.
pub(super) struct Page {
    status: StatusCode,
    retry_after: Option<u64>,
    html: String,
}

const STYLE: &str = include_str!("../../../templates/pages/login.css");
const PAGE: &str = include_str!("../../../templates/pages/login.html");

static PAGES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut pages = Environment::new();
    pages.add_template("login.html", PAGE).expect("a test renders the template");
    pages
});

/// Nothing is loaded, run or framed; the one style sheet is the page's own, and forms go to this service only.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let style = BASE64.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    );
    HeaderValue::try_from(policy).expect("the policy is plain text")
});

impl Page {
    /// The page of this step; with the program that asks, where it is known.
    pub(super) fn new(auth: &AuthService, step: &Step<'_>, pairing: Option<&Pairing>) -> Self {
        Self::render(auth, StatusCode::OK, step, pairing, None)
    }

    /// The page of this step again, with what went wrong.
    pub(super) fn failed(auth: &AuthService, step: &Step<'_>, pairing: Option<&Pairing>, error: &ApiError) -> Self {
        let status = StatusCode::from_u16(error.code().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let page = Self::render(auth, status, step, pairing, Some(error.message()));
        Self { retry_after: error.retry_after_seconds(), ..page }
    }

    fn render(
        auth: &AuthService,
        status: StatusCode,
        step: &Step<'_>,
        pairing: Option<&Pairing>,
        problem: Option<&str>,
    ) -> Self {
        let (name, title, message, fields) = match step {
            Step::UserCode => {
                ("user_code", "Let a program in", Some("Enter the code that the program shows you."), Value::UNDEFINED)
            }
            Step::Email => ("email", "Let this program in?", None, Value::UNDEFINED),
            Step::Code { email } => ("code", "Let this program in?", None, context! { email => *email }),
            Step::Decide { email, form, name } => (
                "decide",
                "Let this program in?",
                None,
                context! { email => *email, form => form.expose(), name => *name },
            ),
            Step::Done { approved: true } => (
                "done",
                "The program is let in",
                Some("Go back to it; it goes on by itself. You can close this page."),
                Value::UNDEFINED,
            ),
            Step::Done { approved: false } => {
                ("done", "The program is refused", Some("It gets nothing. You can close this page."), Value::UNDEFINED)
            }
            Step::Over => ("over", "Nothing to decide here", None, Value::UNDEFINED),
        };
        let shared = context! {
            step => name, title, message, problem,
            style => STYLE,
            product => auth.templates.product(),
            pairing => pairing.map(shown),
        };
        let html = PAGES.get_template("login.html").and_then(|page| page.render(context! { ..fields, ..shared }));
        match html {
            Ok(html) => Self { status, retry_after: None, html },
            Err(error) => {
                tracing::error!(%error, "a page cannot be rendered");
                Self { status: StatusCode::INTERNAL_SERVER_ERROR, retry_after: None, html: String::new() }
            }
        }
    }
}

/// What people see of a program that asks.
fn shown(pairing: &Pairing) -> Value {
    let asked_at = pairing.created_at.to_string();
    let asked_at = match (asked_at.get(..10), asked_at.get(11..19)) {
        (Some(date), Some(time)) => format!("{date} {time} UTC"),
        _ => asked_at,
    };
    context! {
        id => pairing.id.as_str(),
        user_code => pairing.user_code.to_string(),
        name => pairing.name.as_str(),
        ip => pairing.ip.map_or_else(|| "unknown".to_owned(), |ip| ip.to_canonical().to_string()),
        user_agent => pairing.user_agent.as_deref().unwrap_or("unknown"),
        asked_at,
        access => if pairing.scopes == Scopes::all() {
            "everything you can do".to_owned()
        } else {
            pairing.scopes.to_string()
        },
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let fixed = |name: HeaderName, value: &'static str| (name, HeaderValue::from_static(value));
        let headers = [
            fixed(header::CONTENT_TYPE, "text/html; charset=utf-8"),
            fixed(header::CACHE_CONTROL, "no-store"),
            fixed(header::REFERRER_POLICY, "no-referrer"),
            fixed(header::X_FRAME_OPTIONS, "DENY"),
            fixed(HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
            (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
        ];
        let mut response = (self.status, headers, self.html).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
