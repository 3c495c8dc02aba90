//! The query console: one page of our own that needs nothing from anywhere else.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, header};

/// The page may load its own script and style and call its own origin, and nothing can be embedded, sent elsewhere or
/// run besides. `data:` is for the empty icon, without which browsers ask for `/favicon.ico`.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page itself, for a browser at `GET /graphql`.
pub(super) fn page() -> Response {
    serve("text/html; charset=utf-8", include_str!("console.html"))
}

/// `GET /graphql/console.js`.
pub(super) async fn script() -> Response {
    serve("text/javascript; charset=utf-8", include_str!("console.js"))
}

/// `GET /graphql/console.css`.
pub(super) async fn style() -> Response {
    serve("text/css; charset=utf-8", include_str!("console.css"))
}

fn serve(content_type: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, &str); 3] = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text).into_response()
}
