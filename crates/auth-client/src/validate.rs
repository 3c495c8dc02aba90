//! Is this credential good, and whose is it?

use std::net::IpAddr;

use auth_api::{CredentialKind, ErrorCode, InvalidReply, RateLimit, ValidReply};
use domain::{ClientInfo, MalformedId, Timestamp};
use http::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::transport::{Reply, error_body};
use crate::{AuthClient, Credential, EndUser, Unavailable};

/// Nothing longer is a credential; in bytes. Far above any of ours, and far below what the auth service takes as a body,
/// so that whoever asks about less gets a verdict.
pub const MAX_CREDENTIAL_LENGTH: usize = 8 * 1024;

/// The auth service's verdict on a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Validation {
    /// It is good, and this use of it is counted.
    Valid(Box<Valid>),
    /// It is malformed, unknown, expired or revoked.
    Invalid {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        error: String,
    },
    /// It is good but was used too often.
    Limited(Limited),
}

/// A good credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Valid {
    /// Which one it is.
    pub credential: Credential,
    /// All that the service said about it.
    pub reply: ValidReply,
}

impl Valid {
    /// In whose name, and within what bounds, to make calls for whoever showed it. `client` is their call as we saw it.
    #[must_use]
    pub fn end_user(&self, client: ClientInfo) -> EndUser {
        EndUser {
            id: self.reply.user_id.clone(),
            credential: self.credential.clone(),
            bounds: self.reply.bounds.clone().unwrap_or_default(),
            expires_at: self.reply.expires_at,
            client,
        }
    }
}

/// A credential that was used too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limited {
    /// A sentence for a person.
    pub error: String,
    /// Seconds until the next use is admitted.
    pub retry_after: u64,
    /// When the next use is admitted.
    pub reset_at: Timestamp,
    /// The credential's window, where the service named it.
    pub rate_limit: Option<RateLimit>,
}

/// A [`ValidateRequest`](auth_api::ValidateRequest) that is written and not kept.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    token: &'a str,
    client: Presenter<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    with_user: bool,
    with_bounds: bool,
}

/// A [`ValidClient`](auth_api::ValidClient), likewise.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Presenter<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl AuthClient {
    /// Asks whether `token`, a personal access token or an access JWT, is good. Every call asks the service; nothing
    /// is remembered.
    ///
    /// # Errors
    ///
    /// Whenever there is no clear verdict. The credential must then be treated as one that was not validated.
    pub async fn validate(&self, token: &SecretString, client: &ClientInfo) -> Result<Validation, Unavailable> {
        self.ask(token, client, false).await
    }

    /// The same, and asks for the owner as well: the reply's `user` is what [`me`](Self::me) would say, at no further
    /// call. It is absent where the credential may not see it, and where the service does not know this question.
    ///
    /// # Errors
    ///
    /// As with [`validate`](Self::validate).
    pub async fn validate_and_describe(
        &self,
        token: &SecretString,
        client: &ClientInfo,
    ) -> Result<Validation, Unavailable> {
        self.ask(token, client, true).await
    }

    async fn ask(&self, token: &SecretString, client: &ClientInfo, with_user: bool) -> Result<Validation, Unavailable> {
        let question = Question {
            token: token.expose_secret(),
            client: Presenter {
                ip: client.ip,
                user_agent: client.user_agent.as_deref(),
                request_id: client.request_id.as_deref(),
            },
            audience: self.audience.as_deref(),
            with_user,
            // To call in the user's name, and to be allowed no more than the user.
            with_bounds: true,
        };
        let json = serde_json::to_vec(&question).expect("texts and flags are JSON");
        let authorization = self.jwts.for_validation(self.clock.now());
        let path = self.validation.clone();
        let request = self.request(Method::POST, path, authorization, client.request_id.as_deref(), Some(json));
        self.guarded(request, verdict).await?
    }
}

/// What a reply to a validation says. The inner error is for a service that is alive and yet gave no verdict.
fn verdict(reply: &Reply) -> Result<Result<Validation, Unavailable>, Unavailable> {
    let verdict = match reply.status {
        StatusCode::OK => {
            let valid: ValidReply = reply.json()?;
            let credential = credential(&valid).map_err(|_| reply.nonsense())?;
            // Somebody else's profile is the one answer that must never be passed on.
            let is_of_another = valid.user.as_ref().is_some_and(|user| user.id != valid.user_id);
            if !valid.valid || is_of_another {
                return Err(reply.nonsense());
            }
            Validation::Valid(Box::new(Valid { credential, reply: valid }))
        }
        StatusCode::UNAUTHORIZED => {
            // A 401 about our own JWT has another shape and says nothing about the credential.
            let invalid: InvalidReply = reply.json()?;
            if invalid.valid || invalid.code.status() != 401 || invalid.code == ErrorCode::Unauthorized {
                return Err(reply.nonsense());
            }
            Validation::Invalid { code: invalid.code, error: invalid.error }
        }
        StatusCode::TOO_MANY_REQUESTS => match reply.json()? {
            InvalidReply {
                valid: false,
                code: ErrorCode::RateLimitExceeded,
                error,
                retry_after: Some(retry_after),
                reset_at: Some(reset_at),
                rate_limit,
                ..
            } => Validation::Limited(Limited { error, retry_after, reset_at, rate_limit }),
            _ => return Err(reply.nonsense()),
        },
        _ => return error_body(reply).map(|body| Err(Unavailable::Failing { code: body.code })),
    };
    Ok(Ok(verdict))
}

fn credential(valid: &ValidReply) -> Result<Credential, MalformedId> {
    match valid.kind {
        CredentialKind::Pat if valid.narrowed => {
            Ok(Credential::Narrowed { parent: valid.token_id.parse()?, scopes: valid.scopes.clone() })
        }
        CredentialKind::Pat => valid.token_id.parse().map(Credential::Token),
        CredentialKind::Session => valid.token_id.parse().map(Credential::Session),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::fake::{Answer, FakeAuth, ManualClock, T0, client, somebody};
    use serde_json::{Value, json};

    fn valid() -> Value {
        json!({
            "valid": true, "kind": "pat", "userId": "u1", "tokenId": "t1", "name": "ci", "scopes": ["*"],
            "email": "a@example.com", "displayName": null, "avatarUrl": null, "expiresAt": null,
            "rateLimit": {"limit": 1000, "remaining": 999, "resetAt": "2025-11-08T12:01:00.000Z"},
        })
    }

    fn with(mut body: Value, field: &str, value: Value) -> Value {
        body[field] = value;
        body
    }

    async fn ask(answer: Answer) -> Result<Validation, Unavailable> {
        let fake = FakeAuth::start(answer).await;
        let verdict = fake.client(&ManualClock::at(T0)).validate(&"af_live_x".into(), &somebody().client).await;
        assert_eq!(fake.asked().len(), 1, "exactly one request was sent");
        verdict
    }

    #[tokio::test]
    async fn a_good_credential_is_valid_and_the_service_learns_who_presented_it() {
        let fake = FakeAuth::start(Answer::json(200, &valid())).await;
        let client = fake.client(&ManualClock::at(T0));
        let verdict = client.validate(&"af_live_x".into(), &somebody().client).await.unwrap();
        let Validation::Valid(valid) = verdict else { panic!("{verdict:?}") };
        assert_eq!(valid.credential, Credential::Token("t1".parse().unwrap()));
        assert_eq!(valid.reply.rate_limit.remaining, 999);

        let asked = &fake.asked()[0];
        assert_eq!(asked.line, "POST /tokens/validate HTTP/1.1");
        let client = json!({"ip": "203.0.113.9", "userAgent": "curl/8", "requestId": "r1"});
        assert_eq!(asked.body, json!({"token": "af_live_x", "client": client, "withBounds": true}));
        assert_eq!(asked.header("x-request-id"), Some("r1"));
        assert_eq!(asked.claims().user_id, None);
    }

    #[tokio::test]
    async fn the_owner_is_asked_for_and_nobody_elses_profile_is_passed_on() {
        let user = |id: &str| {
            let at = "2025-11-08T12:00:00.000Z";
            json!({"id": id, "email": "a@example.com", "phone": null, "displayName": "Ada", "avatarUrl": null,
                   "emailVerified": true, "phoneVerified": false, "walletAddress": null, "createdAt": at,
                   "updatedAt": at, "lastLoginAt": null})
        };
        for (body, expected) in [
            (valid(), Some(None)),
            (with(valid(), "user", user("u1")), Some(Some("Ada"))),
            (with(valid(), "user", user("u2")), None),
            (with(valid(), "user", json!({"id": "u1"})), None),
        ] {
            let fake = FakeAuth::start(Answer::json(200, &body)).await;
            let client = fake.client(&ManualClock::at(T0));
            let verdict = client.validate_and_describe(&"af_live_x".into(), &ClientInfo::default()).await;
            let name = verdict.ok().map(|verdict| match verdict {
                Validation::Valid(valid) => valid.reply.user.map(|user| user.display_name.unwrap()),
                other => panic!("{other:?}"),
            });
            assert_eq!(name.as_ref().map(|name| name.as_deref()), expected, "{body}");
            assert_eq!(
                fake.asked()[0].body,
                json!({"token": "af_live_x", "client": {}, "withUser": true, "withBounds": true})
            );
        }
    }

    #[tokio::test]
    async fn a_session_is_told_from_a_token() {
        let verdict = ask(Answer::json(200, &with(valid(), "kind", json!("session")))).await.unwrap();
        let Validation::Valid(valid) = verdict else { panic!("{verdict:?}") };
        assert_eq!(valid.credential, Credential::Session("t1".parse().unwrap()));
    }

    #[tokio::test]
    async fn connection_and_jwt_are_reused_but_every_call_asks() {
        let fake = FakeAuth::start(Answer::json(200, &valid())).await;
        let clock = ManualClock::at(T0);
        let client = fake.client(&clock);
        for _ in 0..20 {
            client.validate(&"af_live_x".into(), &ClientInfo::default()).await.unwrap();
        }
        let asked = fake.asked();
        assert_eq!(asked.len(), 20);
        assert_eq!(fake.connections.load(Ordering::SeqCst), 1);
        assert!(asked.iter().all(|one| one.header("authorization") == asked[0].header("authorization")));

        clock.advance(240);
        client.validate(&"af_live_x".into(), &ClientInfo::default()).await.unwrap();
        assert_ne!(fake.asked()[20].header("authorization"), asked[0].header("authorization"));
    }

    #[tokio::test]
    async fn a_bad_credential_is_invalid() {
        let body = json!({"valid": false, "error": "Unknown", "code": "INVALID_TOKEN", "requestId": "r1"});
        let verdict = ask(Answer::json(401, &body)).await.unwrap();
        assert_eq!(verdict, Validation::Invalid { code: ErrorCode::InvalidToken, error: "Unknown".to_owned() });
    }

    #[tokio::test]
    async fn a_limited_credential_is_told_when_to_come_back() {
        let body = json!({"valid": false, "error": "Slow down", "code": "RATE_LIMIT_EXCEEDED", "requestId": "r1",
                          "retryAfter": 7, "resetAt": "2025-11-08T12:00:07.000Z"});
        let verdict = ask(Answer::json(429, &body)).await.unwrap();
        let reset_at = T0.plus(std::time::Duration::from_secs(7));
        let limited = Limited { error: "Slow down".to_owned(), retry_after: 7, reset_at, rate_limit: None };
        assert_eq!(verdict, Validation::Limited(limited));
    }

    #[tokio::test]
    async fn whatever_else_comes_back_is_no_verdict() {
        let invalid = json!({"valid": false, "error": "Unknown", "code": "INVALID_TOKEN", "requestId": "r1"});
        let limited = json!({"valid": false, "error": "x", "code": "RATE_LIMIT_EXCEEDED", "requestId": "r1",
                             "retryAfter": 7, "resetAt": "2025-11-08T12:00:07.000Z"});
        let error = |code: &str| json!({"error": "x", "code": code, "requestId": "r1"});
        let html = "<!doctype html><title>200 OK</title>".to_owned();
        let whole = valid().to_string();
        let half = |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len() + 1);
        for answer in [
            Answer::Reply(200, html.clone()),
            Answer::Reply(200, String::new()),
            Answer::Reply(200, "null".to_owned()),
            Answer::Reply(200, format!("{whole}{whole}")),
            Answer::Reply(200, whole[..whole.len() - 1].to_owned()),
            Answer::Reply(200, " ".repeat(2 * 1024 * 1024) + &whole),
            Answer::json(200, &with(valid(), "valid", json!("true"))),
            Answer::json(200, &with(valid(), "valid", json!(1))),
            Answer::json(200, &with(valid(), "valid", json!(false))),
            Answer::json(200, &with(valid(), "userId", json!(""))),
            Answer::json(200, &with(valid(), "userId", Value::Null)),
            Answer::json(200, &with(valid(), "tokenId", json!("../t"))),
            Answer::json(200, &with(valid(), "scopes", json!("*"))),
            Answer::json(200, &invalid),
            Answer::json(201, &valid()),
            Answer::json(302, &valid()),
            Answer::json(307, &valid()),
            Answer::json(401, &valid()),
            Answer::json(401, &error("UNAUTHORIZED")),
            Answer::json(401, &with(invalid.clone(), "code", json!("UNAUTHORIZED"))),
            Answer::json(401, &with(invalid.clone(), "code", json!("RATE_LIMIT_EXCEEDED"))),
            Answer::json(401, &with(invalid.clone(), "valid", json!(true))),
            Answer::Reply(401, html.clone()),
            Answer::json(429, &invalid),
            Answer::json(429, &with(limited.clone(), "valid", json!(true))),
            Answer::json(429, &with(limited.clone(), "retryAfter", Value::Null)),
            Answer::Reply(429, html.clone()),
            Answer::json(403, &error("FORBIDDEN")),
            Answer::json(404, &error("NOT_FOUND")),
            Answer::json(500, &valid()),
            Answer::json(500, &error("INTERNAL_ERROR")),
            Answer::json(503, &error("UNAVAILABLE")),
            Answer::Raw(Vec::new()),
            Answer::Raw(b"HTTP/1.1 200".to_vec()),
            Answer::Raw(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
            Answer::Raw(half(&whole).into_bytes()),
            Answer::Raw(half("").into_bytes()),
            Answer::Silence,
        ] {
            let verdict = ask(answer.clone()).await;
            assert!(verdict.is_err(), "{answer:?}: {verdict:?}");
        }
    }

    #[tokio::test]
    async fn five_failures_stop_the_asking_and_one_good_probe_starts_it_again() {
        let fake = FakeAuth::start(Answer::Reply(200, "<html>".to_owned())).await;
        let clock = ManualClock::at(T0);
        let client = fake.client(&clock);
        let ask = async || client.validate(&"af_live_x".into(), &ClientInfo::default()).await;
        for _ in 0..5 {
            assert!(matches!(ask().await, Err(Unavailable::Nonsense { status: 200 })));
        }
        assert!(matches!(ask().await, Err(Unavailable::BreakerOpen)));
        assert_eq!(fake.asked().len(), 5, "an open breaker sends nothing");

        fake.answers(Answer::json(200, &valid()));
        clock.advance(1);
        assert!(matches!(ask().await, Err(Unavailable::BreakerOpen)));
        clock.advance(1);
        assert!(matches!(ask().await, Ok(Validation::Valid(_))));
        assert!(matches!(ask().await, Ok(Validation::Valid(_))));
        assert_eq!(fake.asked().len(), 7);
    }

    #[tokio::test]
    async fn any_number_of_refusals_is_no_failure() {
        let body = json!({"valid": false, "error": "Unknown", "code": "INVALID_TOKEN", "requestId": "r1"});
        let fake = FakeAuth::start(Answer::json(401, &body)).await;
        let client = fake.client(&ManualClock::at(T0));
        for _ in 0..12 {
            let verdict = client.validate(&"af_live_x".into(), &ClientInfo::default()).await;
            assert!(matches!(verdict, Ok(Validation::Invalid { .. })));
        }
    }

    #[tokio::test]
    async fn a_credential_the_service_trips_over_does_not_open_the_breaker_for_everybody() {
        for (status, code) in [(400, "VALIDATION_ERROR"), (413, "PAYLOAD_TOO_LARGE"), (500, "INTERNAL_ERROR")] {
            let body = json!({"error": "x", "code": code, "requestId": "r1"});
            let fake = FakeAuth::start(Answer::json(status, &body)).await;
            let client = fake.client(&ManualClock::at(T0));
            for _ in 0..6 {
                let verdict = client.validate(&"x".into(), &ClientInfo::default()).await;
                assert!(matches!(verdict, Err(Unavailable::Failing { .. })), "{code}: {verdict:?}");
            }
        }
    }

    #[tokio::test]
    async fn nobody_listening_is_no_verdict_and_the_error_names_no_address() {
        let fake = FakeAuth::start(Answer::Silence).await;
        let free = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        assert_ne!(free, fake.address);
        let verdict = client(free, &ManualClock::at(T0)).validate(&"af_live_x".into(), &ClientInfo::default()).await;
        let Err(error @ Unavailable::Transport(_)) = verdict else { panic!("{verdict:?}") };
        assert!(!error.to_string().contains("127.0.0.1"));
        assert!(!format!("{error:?}").contains("tokens/validate"));
    }
}
