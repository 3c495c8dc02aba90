//! SMS by Twilio's Programmable Messaging (<https://www.twilio.com/docs/messaging/api/message-resource>).

use std::collections::HashMap;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::{Client, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::sms_api::{answer, client, endpoint};
use super::{Sms, SmsError, SmsSender};

/// Sends through `POST {api}/2010-04-01/Accounts/{SID}/Messages.json`.
pub struct Twilio {
    client: Client,
    endpoint: Url,
    account: String,
    token: SecretString,
    from: String,
}

impl Twilio {
    /// Where the API is unless the configuration says otherwise.
    pub const DEFAULT_API_URL: &'static str = "https://api.twilio.com";

    /// `api` is the API's address without the path of a method; `from` is the sender's number. Connects to nothing yet.
    ///
    /// # Errors
    /// When the address is not an HTTP URL.
    pub fn new(api: &str, account: String, token: SecretString, from: String) -> Result<Self, &'static str> {
        let endpoint = endpoint(api, &format!("/2010-04-01/Accounts/{account}/Messages.json"))?;
        Ok(Self { client: client()?, endpoint, account, token, from })
    }
}

impl SmsSender for Twilio {
    fn send(&self, sms: Sms) -> BoxFuture<'_, Result<(), SmsError>> {
        async move {
            let form =
                HashMap::from([("To", sms.to.as_str()), ("From", &self.from), ("Body", sms.text.expose_secret())]);
            let request = self.client.post(self.endpoint.clone()).form(&form);
            let reply = answer(request.basic_auth(&self.account, Some(self.token.expose_secret()))).await?;
            match reply.get("sid").and_then(Value::as_str) {
                Some(_) => Ok(()),
                None => Err(SmsError::new("a reply without a message's sid")),
            }
        }
        .boxed()
    }
}
