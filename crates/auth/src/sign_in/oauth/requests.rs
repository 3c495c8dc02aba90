//! Asking a provider. Nothing that it answers is trusted to be short, quick or sensible, and nothing of it is kept
//! except who somebody is.

use std::time::Duration;

use http::header;
use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::OAuthProvider;
use super::identity::{self, Identity};

/// The client that asks providers.
pub(crate) struct Requests {
    client: Client,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// No provider has this much to tell about one person.
const MAX_REPLY_BYTES: usize = 256 * 1024;
const MAX_ERROR_CODE: usize = 64;

impl Requests {
    /// Follows no redirects: the requests carry secrets.
    ///
    /// # Panics
    /// When the machine has no TLS roots at all, at start.
    pub(crate) fn new(timeout: Duration) -> Self {
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            // GitHub refuses requests without one.
            .user_agent(auth_api::AUTH_SERVICE)
            .build()
            .expect("an HTTP client can be made");
        Self { client }
    }

    /// Exchanges the provider's code for a token, asks with it who this is, and forgets the token. The error is for the
    /// log and holds no secret.
    pub(super) async fn identify(
        &self,
        provider: &OAuthProvider,
        code: &SecretString,
        verifier: &SecretString,
    ) -> Result<Identity, String> {
        let token = self.exchange(provider, code, verifier).await?;
        let user = self.read("userinfo", &provider.userinfo_url, &token).await?;
        let emails = match &provider.emails_url {
            Some(url) => Some(self.read("emails", url, &token).await?),
            None => None,
        };
        // Going on without would make a second account for somebody who has one.
        if emails.as_ref().is_some_and(|emails| !emails.is_array()) {
            return Err("emails: the reply is not a list".to_owned());
        }
        identity::read(provider.name, &user, emails.as_ref())
            .ok_or_else(|| "userinfo: it does not say who this is".to_owned())
    }

    /// RFC 6749 §4.1.3, with the verifier of RFC 7636 §4.5.
    async fn exchange(
        &self,
        provider: &OAuthProvider,
        code: &SecretString,
        verifier: &SecretString,
    ) -> Result<SecretString, String> {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code.expose_secret()),
            ("redirect_uri", provider.redirect_uri.as_str()),
            ("client_id", &provider.client_id),
            ("code_verifier", verifier.expose_secret()),
        ];
        let mut request = self.client.post(provider.token_url.clone());
        let client_secret = provider.client_secret.expose_secret();
        if provider.name.takes_basic_auth() {
            request = request.basic_auth(&provider.client_id, Some(client_secret));
        } else {
            form.push(("client_secret", client_secret));
        }
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        let reply = send("token", request).await?;
        // GitHub answers failures with 200 and an `error`.
        match reply["access_token"].as_str() {
            Some(token) if !token.is_empty() => Ok(token.into()),
            _ => Err(format!("token: refused: {}", error_code(&reply))),
        }
    }

    async fn read(&self, what: &str, url: &Url, token: &SecretString) -> Result<Value, String> {
        send(what, self.client.get(url.clone()).bearer_auth(token.expose_secret())).await
    }
}

/// Sends the request and reads a JSON reply, as far as it is one.
async fn send(what: &str, request: RequestBuilder) -> Result<Value, String> {
    let failed = |error: reqwest::Error| format!("{what}: {}", described(error));
    let mut response = request.header(header::ACCEPT, "application/json").send().await.map_err(failed)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_REPLY_BYTES {
            return Err(format!("{what}: the reply exceeds {MAX_REPLY_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    let reply = serde_json::from_slice::<Value>(&body);
    match (status, reply) {
        (StatusCode::OK, Ok(reply)) => Ok(reply),
        (StatusCode::OK, Err(_)) => Err(format!("{what}: the reply is not JSON")),
        (status, reply) => Err(format!("{what}: {status}: {}", error_code(&reply.unwrap_or_default()))),
    }
}

/// What went wrong on the way, without the URL.
fn described(error: reqwest::Error) -> String {
    let error = error.without_url();
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {cause}")
}

/// The error's code (RFC 6749 §5.2), as far as it can be one; anything else could be anything.
fn error_code(reply: &Value) -> &str {
    let is_code = |text: &&str| {
        !text.is_empty()
            && text.len() <= MAX_ERROR_CODE
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    };
    reply["error"].as_str().filter(is_code).unwrap_or("no reason given")
}
