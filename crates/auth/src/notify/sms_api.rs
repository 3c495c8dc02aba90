//! What the HTTP APIs of SMS providers have in common.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Url};
use serde_json::Value;

use super::SmsError;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Both providers answer in well under 4 KiB.
const MAX_REPLY_BYTES: usize = 64 * 1024;

pub(super) fn client() -> Result<Client, &'static str> {
    Client::builder()
        .timeout(TIMEOUT)
        // A redirect would carry the code, and the key, to somebody else.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|_| "no HTTP client can be made on this machine")
}

pub(super) fn endpoint(api: &str, path: &str) -> Result<Url, &'static str> {
    Url::parse(&format!("{}{path}", api.trim_end_matches('/')))
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or("must be a URL such as https://api.example.com")
}

/// The JSON of a success. What the provider says about a failure is not kept: it may repeat the message.
pub(super) async fn answer(request: RequestBuilder) -> Result<Value, SmsError> {
    let failed = |error: reqwest::Error| SmsError::new(error.without_url());
    let mut response = request.send().await.map_err(failed)?;
    if !response.status().is_success() {
        return Err(SmsError::new(response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_REPLY_BYTES {
            return Err(SmsError::new("an endless reply"));
        }
    }
    serde_json::from_slice(&body).map_err(|_| SmsError::new("a reply that is not JSON"))
}
