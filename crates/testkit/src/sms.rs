//! SMS gateways on real HTTP that keep what they get: httpSMS and Twilio, as their documentation describes them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::post;
use axum::{Form, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// httpSMS's key.
pub const HTTPSMS_KEY: &str = "httpsms-key-in-tests";
/// Twilio's account.
pub const TWILIO_SID: &str = "AC0123456789abcdef0123456789abcdef";
/// Twilio's token.
pub const TWILIO_TOKEN: &str = "twilio-token-in-tests";

/// How the gateways answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SmsBehaviour {
    /// As they should.
    #[default]
    Accept,
    /// With 401, whatever the key.
    Unauthorized,
    /// With 500, and the request's text in the body.
    Broken,
    /// With 200 and a page of HTML.
    Html,
    /// With 200 and JSON that says nothing.
    EmptyObject,
    /// With 200 and 10 MB.
    Endless,
    /// With a redirect to where the message would be taken.
    Redirect,
}

/// An SMS that a gateway accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedSms {
    /// By which gateway: `httpsms` or `twilio`.
    pub gateway: &'static str,
    /// The sender's number.
    pub from: String,
    /// The number it goes to.
    pub to: String,
    /// What it says.
    pub text: String,
}

/// Both gateways at one address of this machine.
#[derive(Clone)]
pub struct SmsSink {
    url: String,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    behaviour: SmsBehaviour,
    received: Vec<ReceivedSms>,
}

impl SmsSink {
    /// Starts the gateways on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound listener"));
        let sink = Self { url, shared: Arc::default() };
        let router = Router::new()
            .route("/v1/messages/send", post(http_sms))
            .route("/2010-04-01/Accounts/{sid}/Messages.json", post(twilio))
            .with_state(sink.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        sink
    }

    /// The address of both APIs.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on the gateways answer so.
    pub fn behave(&self, behaviour: SmsBehaviour) {
        self.lock().behaviour = behaviour;
    }

    /// What was accepted, oldest first.
    #[must_use]
    pub fn received(&self) -> Vec<ReceivedSms> {
        self.lock().received.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer in the place of the right one, if the gateways misbehave.
    fn misbehave(&self, text: &str) -> Option<Response> {
        Some(match self.lock().behaviour {
            SmsBehaviour::Accept => return None,
            SmsBehaviour::Unauthorized => (StatusCode::UNAUTHORIZED, "who are you?").into_response(),
            SmsBehaviour::Broken => (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot send {text}")).into_response(),
            SmsBehaviour::Html => Html("<h1>Welcome</h1>").into_response(),
            SmsBehaviour::EmptyObject => Json(json!({})).into_response(),
            SmsBehaviour::Endless => vec![b' '; 10_000_000].into_response(),
            SmsBehaviour::Redirect => {
                (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/v1/messages/send")]).into_response()
            }
        })
    }
}

/// <https://docs.httpsms.com>: 200 with the message; 401 for a wrong key, 422 for a body that does not validate.
async fn http_sms(State(sink): State<SmsSink>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    if let Some(response) = sink.misbehave(&text("content")) {
        return response;
    }
    if headers.get("x-api-key").is_none_or(|key| key != HTTPSMS_KEY) {
        let body = json!({ "status": "error", "message": "You are not authorized to carry out this request." });
        return (StatusCode::UNAUTHORIZED, Json(body)).into_response();
    }
    let sms = ReceivedSms { gateway: "httpsms", from: text("from"), to: text("to"), text: text("content") };
    if !sms.to.starts_with('+') || !sms.from.starts_with('+') || sms.text.is_empty() {
        let body = json!({ "status": "error", "message": "validation errors while sending message" });
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response();
    }
    let data = json!({ "id": "32343a19-da5e-4b1b-a767-3298a73703cb", "contact": sms.to, "owner": sms.from,
                       "content": sms.text, "status": "pending", "type": "mobile-terminated" });
    sink.lock().received.push(sms);
    Json(json!({ "status": "success", "message": "message added to queue", "data": data })).into_response()
}

/// <https://www.twilio.com/docs/messaging/api/message-resource>: 201 with the message; 401 (code 20003) for wrong
/// credentials, 400 (code 21211) for a bad number.
async fn twilio(
    State(sink): State<SmsSink>,
    Path(sid): Path<String>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let text = |name: &str| form.get(name).cloned().unwrap_or_default();
    if let Some(response) = sink.misbehave(&text("Body")) {
        return response;
    }
    let basic = format!("Basic {}", BASE64.encode(format!("{TWILIO_SID}:{TWILIO_TOKEN}")));
    if sid != TWILIO_SID || headers.get(header::AUTHORIZATION).is_none_or(|value| *value != basic) {
        let body = json!({ "code": 20003, "message": "Authenticate", "status": 401 });
        return (StatusCode::UNAUTHORIZED, Json(body)).into_response();
    }
    let sms = ReceivedSms { gateway: "twilio", from: text("From"), to: text("To"), text: text("Body") };
    if !sms.to.starts_with('+') || sms.from.is_empty() || sms.text.is_empty() {
        let body = json!({ "code": 21211, "message": "Invalid 'To' Phone Number", "status": 400 });
        return (StatusCode::BAD_REQUEST, Json(body)).into_response();
    }
    let body = json!({ "sid": "SM0123456789abcdef0123456789abcdef", "account_sid": sid, "status": "queued",
                       "to": sms.to, "from": sms.from, "body": sms.text });
    sink.lock().received.push(sms);
    (StatusCode::CREATED, Json(body)).into_response()
}
