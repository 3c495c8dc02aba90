//! The pages that people see: plain HTML that works without JavaScript, from templates that are compiled in.
//!
//! A page loads nothing, is kept by no cache, tells no other site where it was, and cannot be framed; its one style
//! sheet is inline and named by its hash (CSP Level 3). They are one shell and one style. A wallet is reached by script
//! alone: the pages that offer one have it inline, always the same and named by its hash too.

use std::sync::LazyLock;

use auth_api::ErrorCode;
use aws_lc_rs::digest::{SHA256, digest};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use minijinja::{Environment, Value, context};
use url::Url;
use web::ApiError;

use crate::AuthService;

const STYLE: &str = include_str!("../../templates/pages/style.css");

/// What lets a wallet speak to a page, and all the script that there is.
const SCRIPT: &str = include_str!("../../templates/pages/wallet.js");

const TEMPLATES: [(&str, &str); 6] = [
    ("shell.html", include_str!("../../templates/pages/shell.html")),
    ("problem.html", include_str!("../../templates/pages/problem.html")),
    ("email_link.html", include_str!("../../templates/pages/email_link.html")),
    ("one_time_code.html", include_str!("../../templates/pages/one_time_code.html")),
    ("undo.html", include_str!("../../templates/pages/undo.html")),
    ("login.html", include_str!("../../templates/pages/login.html")),
];

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    for (name, text) in TEMPLATES {
        environment.add_template(name, text).expect("the tests load every template");
    }
    environment.add_global("style", STYLE);
    environment.add_global("script", SCRIPT);
    environment
});

static STYLE_HASH: LazyLock<String> = LazyLock::new(|| BASE64.encode(digest(&SHA256, STYLE.as_bytes())));
static SCRIPT_HASH: LazyLock<String> = LazyLock::new(|| BASE64.encode(digest(&SHA256, SCRIPT.as_bytes())));

/// A page, ready to be sent.
pub(crate) struct Page {
    html: Result<String, ApiError>,
    status: StatusCode,
    retry_after: Option<u64>,
    /// The origin besides our own at which its form may end.
    form_target: String,
    runs_script: bool,
}

impl Page {
    /// A page of a template that extends `shell.html`; it sees `title`, `product` and what is in `context`.
    pub(crate) fn new(auth: &AuthService, title: &str, template: &str, context: Value) -> Self {
        Self::render(auth.templates.product(), title, template, context)
    }

    fn render(product: &str, title: &str, template: &str, context: Value) -> Self {
        let html = ENVIRONMENT
            .get_template(template)
            .and_then(|page| page.render(context! { title, product, ..context }))
            .map_err(|error| ApiError::internal(&error));
        Self { html, status: StatusCode::OK, retry_after: None, form_target: String::new(), runs_script: false }
    }

    /// The page in the place of an error's JSON.
    pub(crate) fn of_problem(auth: &AuthService, error: &ApiError) -> Self {
        let title = match error.code() {
            ErrorCode::RateLimitExceeded => "Too many tries",
            ErrorCode::CodeExpired | ErrorCode::InvalidCode | ErrorCode::TooManyAttempts => {
                "This does not work any more"
            }
            ErrorCode::NotFound => "There is nothing here",
            _ => "That did not work",
        };
        Self::new(auth, title, "problem.html", context! { problem => error.message() }).with_status_of(error)
    }

    /// The same page with the error's status.
    pub(crate) fn with_status_of(self, error: &ApiError) -> Self {
        let status = StatusCode::from_u16(error.code().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, retry_after: error.retry_after_seconds(), ..self }
    }

    /// The same page, which may run the one script.
    pub(crate) fn with_script(self) -> Self {
        Self { runs_script: true, ..self }
    }

    /// The same page, whose form ends, by a redirect, at another origin: browsers stop there if it is not named.
    pub(crate) fn leading_to(self, target: Option<&Url>) -> Self {
        Self { form_target: target.map_or_else(String::new, |url| url.origin().ascii_serialization()), ..self }
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let html = match self.html {
            Ok(html) => html,
            Err(error) => return error.into_response(),
        };
        let mut response = (self.status, html).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        dress(headers, &self.form_target, self.runs_script);
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// A redirect that the browser follows with GET (RFC 9110 §15.4.4), and that tells no other site where it came from.
pub(crate) fn redirect(target: &Url) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    dress(response.headers_mut(), "", false);
    match HeaderValue::from_str(target.as_str()) {
        Ok(target) => {
            response.headers_mut().insert(header::LOCATION, target);
            response
        }
        Err(error) => ApiError::internal(&error).into_response(),
    }
}

fn dress(headers: &mut HeaderMap, form_target: &str, runs_script: bool) {
    let script = if runs_script { format!("script-src 'sha256-{}'; ", *SCRIPT_HASH) } else { String::new() };
    let form_target = if form_target.is_empty() { String::new() } else { format!(" {form_target}") };
    let policy = format!(
        "default-src 'none'; {script}style-src 'sha256-{}'; form-action 'self'{form_target}; frame-ancestors 'none'; \
         base-uri 'none'",
        *STYLE_HASH
    );
    let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    for (name, value) in [
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(page: Page) -> HeaderMap {
        page.into_response().headers().clone()
    }

    #[test]
    fn every_template_renders_and_escapes() {
        for (name, _) in TEMPLATES {
            for step in [
                "user_code",
                "email",
                "code",
                "sms_code",
                "wallet",
                "second_factor",
                "newcomer",
                "decide",
                "done",
                "over",
                "elsewhere",
                "ask",
            ] {
                let evil = "<script>alert(1)</script>\" onfocus=\"alert(1)";
                let asked = context! { agent => evil, network => evil, at => evil };
                let pairing = context! {
                    id => evil, user_code => evil, name => evil, asked => asked.clone(), scopes => [evil]
                };
                let providers = [context! { name => evil, title => evil }];
                let context = context! {
                    step, pairing, problem => evil, message => evil, code => evil, email => evil, name => evil,
                    form => evil, mfa_token => evil, asked, providers, phone => evil, text => evil, address => evil,
                    chain => evil, newcomer => evil, who => evil, only => evil, by_email => true, by_sms => true,
                    sessions => evil, tokens => evil, app => evil
                };
                let html = Page::render(evil, evil, name, context).html.unwrap();
                // Our own script is what its hash says.
                let html = html.replace(&format!("<script>{SCRIPT}</script>"), "");
                assert!(!html.contains("<script") && !html.contains("onfocus=\""), "{name}: {html}");
                assert!(html.contains(&format!("<style>{STYLE}</style>")), "the hash is of exactly this: {html}");
            }
        }
    }

    #[test]
    fn only_the_named_origin_may_receive_the_form() {
        let policy = |target: Option<&Url>| {
            let page = Page::render("p", "t", "problem.html", context! {}).leading_to(target);
            headers(page)["content-security-policy"].to_str().unwrap().to_owned()
        };
        assert!(policy(None).contains("; form-action 'self'; "), "{}", policy(None));
        let target: Url = "https://app.example.com/a?b=c".parse().unwrap();
        assert!(policy(Some(&target)).contains("; form-action 'self' https://app.example.com; "));
    }
}
