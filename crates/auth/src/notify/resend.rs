//! Mail by Resend's HTTP API.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::{Client, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::{Mail, MailError, Mailer};

/// Sends through `POST {api}/emails`.
pub struct Resend {
    client: Client,
    endpoint: Url,
    key: SecretString,
    from: String,
}

const TIMEOUT: Duration = Duration::from_secs(10);

impl Resend {
    /// Where the API is unless the configuration says otherwise.
    pub const DEFAULT_API_URL: &'static str = "https://api.resend.com";

    /// `api` is the API's address without the path of a method. Connects to nothing yet.
    ///
    /// # Errors
    /// When the address is not an HTTP URL.
    pub fn new(api: &str, key: SecretString, from: String) -> Result<Self, &'static str> {
        let endpoint = Url::parse(&format!("{}/emails", api.trim_end_matches('/')))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or("must be a URL such as https://api.resend.com")?;
        let client = Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|_| "no HTTP client can be made on this machine")?;
        Ok(Self { client, endpoint, key, from })
    }
}

impl Mailer for Resend {
    fn send(&self, mail: Mail) -> BoxFuture<'_, Result<(), MailError>> {
        async move {
            let body = json!({
                "from": self.from,
                "to": [mail.to.as_str()],
                "subject": mail.subject,
                "text": mail.text.expose_secret(),
                "html": mail.html.expose_secret(),
            });
            let request = self.client.post(self.endpoint.clone()).bearer_auth(self.key.expose_secret()).json(&body);
            let response = request.send().await.map_err(|error| MailError::new(error.without_url()))?;
            match response.status() {
                StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED => Ok(()),
                status => Err(MailError::new(status)),
            }
        }
        .boxed()
    }
}
