//! SMS by httpSMS, a phone of the operator's behind an HTTP API (<https://api.httpsms.com>).

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::{Client, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::sms_api::{answer, client, endpoint};
use super::{Sms, SmsError, SmsSender};

/// Sends through `POST {api}/v1/messages/send`.
pub struct HttpSms {
    client: Client,
    endpoint: Url,
    key: SecretString,
    from: String,
}

impl HttpSms {
    /// Where the API is unless the configuration says otherwise.
    pub const DEFAULT_API_URL: &'static str = "https://api.httpsms.com";

    /// `api` is the API's address without the path of a method; `from` is the phone's number. Connects to nothing yet.
    ///
    /// # Errors
    /// When the address is not an HTTP URL.
    pub fn new(api: &str, key: SecretString, from: String) -> Result<Self, &'static str> {
        Ok(Self { client: client()?, endpoint: endpoint(api, "/v1/messages/send")?, key, from })
    }
}

impl SmsSender for HttpSms {
    fn send(&self, sms: Sms) -> BoxFuture<'_, Result<(), SmsError>> {
        async move {
            let body = json!({ "content": sms.text.expose_secret(), "from": self.from, "to": sms.to.as_str() });
            let request = self.client.post(self.endpoint.clone()).json(&body);
            let reply = answer(request.header("x-api-key", self.key.expose_secret())).await?;
            match reply.get("status").and_then(Value::as_str) {
                Some("success") => Ok(()),
                _ => Err(SmsError::new("a reply without status \"success\"")),
            }
        }
        .boxed()
    }
}
