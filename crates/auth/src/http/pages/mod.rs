//! The pages that people see: plain HTML that works without JavaScript, from templates that are compiled in.
//!
//! A page loads nothing, is kept by no cache, tells no other site where it was, and cannot be framed; its one style
//! sheet is inline and named by its hash (CSP Level 3).

use std::sync::LazyLock;

use auth_api::ErrorCode;
use aws_lc_rs::digest::{SHA256, digest};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use minijinja::{Environment, Value, context};
use url::Url;
use web::ApiError;

const STYLE: &str = include_str!("style.css");

const TEMPLATES: [(&str, &str); 4] = [
    ("shell.html", include_str!("shell.html")),
    ("email_link.html", include_str!("email_link.html")),
    ("one_time_code.html", include_str!("one_time_code.html")),
    ("problem.html", include_str!("problem.html")),
];

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    for (name, text) in TEMPLATES {
        environment.add_template(name, text).expect("the tests load every template");
    }
    environment.add_global("style", STYLE);
    environment
});

static STYLE_HASH: LazyLock<String> = LazyLock::new(|| BASE64.encode(digest(&SHA256, STYLE.as_bytes())));

/// A page: `template` extends `shell.html` and sees `title` and what is in `context`.
pub(crate) fn render(title: &str, template: &str, context: Value) -> Response {
    let page = ENVIRONMENT.get_template(template).and_then(|page| page.render(context! { title, ..context }));
    match page {
        Ok(page) => {
            let mut response = Html(page).into_response();
            dress(response.headers_mut(), "");
            response
        }
        Err(error) => ApiError::internal(&error).into_response(),
    }
}

/// The same for a page whose form ends, by a redirect, at another origin: without its name here browsers stop there.
pub(crate) fn render_leading_to(target: Option<&Url>, title: &str, template: &str, context: Value) -> Response {
    let mut response = render(title, template, context);
    if let Some(target) = target {
        dress(response.headers_mut(), &target.origin().ascii_serialization());
    }
    response
}

/// The page in the place of an error's JSON.
pub(crate) fn problem(error: &ApiError) -> Response {
    let title = match error.code() {
        ErrorCode::RateLimitExceeded => "Too many tries",
        ErrorCode::CodeExpired | ErrorCode::InvalidCode | ErrorCode::TooManyAttempts => "This does not work any more",
        ErrorCode::NotFound => "There is nothing here",
        _ => "That did not work",
    };
    let mut response = render(title, "problem.html", context! { message => error.message() });
    *response.status_mut() = StatusCode::from_u16(error.code().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(seconds) = error.retry_after_seconds() {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// A redirect that the browser follows with GET (RFC 9110 §15.4.4), and that tells no other site where it came from.
pub(crate) fn redirect(target: &Url) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    dress(response.headers_mut(), "");
    match HeaderValue::from_str(target.as_str()) {
        Ok(target) => {
            response.headers_mut().insert(header::LOCATION, target);
            response
        }
        Err(error) => ApiError::internal(&error).into_response(),
    }
}

fn dress(headers: &mut HeaderMap, form_target: &str) {
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; form-action 'self' {form_target}; frame-ancestors 'none'; \
         base-uri 'none'",
        *STYLE_HASH
    );
    let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_template_renders_and_escapes() {
        for (name, _) in TEMPLATES {
            let evil = "<script>alert(1)</script>";
            let context = context! { message => evil, product => evil, code => evil };
            let response = render(evil, name, context);
            assert_eq!(response.status(), 200, "{name}");
            let body = axum::body::to_bytes(response.into_body(), 65_536).await.unwrap();
            let body = String::from_utf8(body.to_vec()).unwrap();
            assert!(!body.contains("<script"), "{name}: {body}");
            assert!(body.contains(&format!("<style>{STYLE}</style>")), "the hash is of exactly this: {body}");
        }
    }

    #[test]
    fn only_the_named_origin_may_receive_the_form() {
        let target: Url = "https://app.example.com/a?b=c".parse().unwrap();
        let response = render_leading_to(Some(&target), "t", "problem.html", context! {});
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("form-action 'self' https://app.example.com;"), "{policy}");
    }
}
