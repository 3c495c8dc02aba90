//! What a user may have done for them.

use auth_api::{
    AuditPage, CreateTokenRequest, CreatedToken, LimitsReply, Me, MeReply, MessageReply, RotateTokenRequest,
    TokenCreatedReply, TokenSummary, TokensReply,
};
use domain::TokenId;
use http::Method;

use crate::{AuthClient, CallError, EndUser, Unavailable};

/// The body of calls that have none.
const NOTHING: Option<&()> = None;

impl AuthClient {
    /// The user themselves: `GET /auth/me`.
    pub async fn me(&self, user: &EndUser) -> Result<Me, CallError> {
        let reply: MeReply = self.call(Method::GET, self.url(&["auth", "me"]), NOTHING, user).await?;
        // Somebody else's profile is the one answer that must never be passed on.
        if reply.user.id != user.id {
            return Err(nonsense().into());
        }
        Ok(reply.user)
    }

    /// Creates a personal access token: `POST /tokens`. The reply is the only one that ever shows it.
    pub async fn create_token(&self, user: &EndUser, token: &CreateTokenRequest) -> Result<CreatedToken, CallError> {
        let reply = self.call(Method::POST, self.url(&["tokens"]), Some(token), user).await?;
        created(reply)
    }

    /// The user's tokens, newest first: `GET /tokens`.
    pub async fn list_tokens(&self, user: &EndUser) -> Result<Vec<TokenSummary>, CallError> {
        let reply: TokensReply = self.call(Method::GET, self.url(&["tokens"]), NOTHING, user).await?;
        Ok(reply.tokens)
    }

    /// Gives a token a new secret: `POST /tokens/:id/rotate`.
    pub async fn rotate_token(
        &self,
        user: &EndUser,
        id: &TokenId,
        rotation: &RotateTokenRequest,
    ) -> Result<CreatedToken, CallError> {
        let url = self.url(&["tokens", id.as_str(), "rotate"]);
        let reply = self.call(Method::POST, url, Some(rotation), user).await?;
        created(reply)
    }

    /// Deletes a token: `DELETE /tokens/:id`. When this returns, no instance accepts it any more.
    pub async fn delete_token(&self, user: &EndUser, id: &TokenId) -> Result<(), CallError> {
        let url = self.url(&["tokens", id.as_str()]);
        let reply: MessageReply = self.call(Method::DELETE, url, NOTHING, user).await?;
        if reply.success { Ok(()) } else { Err(nonsense().into()) }
    }

    /// How many tokens the user has and may still create: `GET /tokens/limits`.
    pub async fn limits(&self, user: &EndUser) -> Result<LimitsReply, CallError> {
        self.call(Method::GET, self.url(&["tokens", "limits"]), NOTHING, user).await
    }

    /// One page of the user's audit log, newest first: `GET /audit`. `cursor` is the last page's `next_cursor`.
    pub async fn audit_page(&self, user: &EndUser, limit: u32, cursor: Option<&str>) -> Result<AuditPage, CallError> {
        let mut url = self.url(&["audit"]);
        url.query_pairs_mut().append_pair("limit", &limit.to_string());
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("cursor", cursor);
        }
        self.call(Method::GET, url, NOTHING, user).await
    }
}

fn created(reply: TokenCreatedReply) -> Result<CreatedToken, CallError> {
    if reply.success { Ok(reply.token) } else { Err(nonsense().into()) }
}

/// A 2xx that says something else than its status.
fn nonsense() -> Unavailable {
    Unavailable::Nonsense { status: 200 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Credential;
    use crate::fake::{Answer, FakeAuth, ManualClock, T0, somebody};
    use auth_api::ErrorCode;
    use domain::Timestamp;
    use serde_json::{Value, json};

    const AT: &str = "2025-11-08T12:00:00.000Z";

    fn created_reply() -> Value {
        json!({"success": true, "token": {
            "id": "t2", "name": "ci", "token": "af_live_secret", "scopes": ["*"], "expiresAt": null,
            "createdAt": AT, "updatedAt": AT, "lastUsedAt": null,
        }})
    }

    fn me_reply() -> Value {
        json!({"user": {
            "id": "u1", "email": "a@example.com", "phone": null, "displayName": null, "avatarUrl": null,
            "emailVerified": true, "phoneVerified": false, "walletAddress": null, "createdAt": AT, "updatedAt": AT,
            "lastLoginAt": null,
        }, "organizations": []})
    }

    async fn fake(status: u16, body: &Value) -> (FakeAuth, AuthClient) {
        let fake = FakeAuth::start(Answer::json(status, body)).await;
        let client = fake.client(&ManualClock::at(T0));
        (fake, client)
    }

    fn request(name: &str) -> CreateTokenRequest {
        CreateTokenRequest { name: name.to_owned(), expires_at: None, scopes: None, allowed_ips: None }
    }

    #[tokio::test]
    async fn creating_sends_the_request_in_the_users_name() {
        let (fake, client) = fake(201, &created_reply()).await;
        let token = client.create_token(&somebody(), &request("ci")).await.unwrap();
        assert_eq!((token.id.as_str(), token.token.as_str()), ("t2", "af_live_secret"));

        let asked = &fake.asked()[0];
        assert_eq!(asked.line, "POST /tokens HTTP/1.1");
        assert_eq!(asked.body, json!({"name": "ci"}));
        let claims = asked.claims();
        assert_eq!(claims.user_id, Some(somebody().id));
        assert_eq!(claims.token_id.map(Credential::Token), Some(somebody().credential));
        assert_eq!(claims.meta.unwrap().ip.as_deref(), Some("203.0.113.9"));
    }

    #[tokio::test]
    async fn the_other_calls_ask_for_the_right_thing() {
        let user = somebody();
        let id = "t2".parse().unwrap();

        let (fake_, client) = fake(201, &created_reply()).await;
        client.rotate_token(&user, &id, &RotateTokenRequest { grace_seconds: Some(60) }).await.unwrap();
        assert_eq!(fake_.asked()[0].line, "POST /tokens/t2/rotate HTTP/1.1");
        assert_eq!(fake_.asked()[0].body, json!({"graceSeconds": 60}));

        let (fake_, client) = fake(200, &json!({"success": true, "message": "gone"})).await;
        client.delete_token(&user, &id).await.unwrap();
        assert_eq!(fake_.asked()[0].line, "DELETE /tokens/t2 HTTP/1.1");

        let (fake_, client) = fake(200, &json!({"tokens": []})).await;
        assert_eq!(client.list_tokens(&user).await.unwrap(), []);
        assert_eq!(fake_.asked()[0].line, "GET /tokens HTTP/1.1");

        let limits = json!({"rateLimit": {"limit": 50, "remaining": 49, "resetAt": AT},
                            "tokenLimit": {"active": 1, "max": 500}});
        let (fake_, client) = fake(200, &limits).await;
        assert_eq!(client.limits(&user).await.unwrap().token_limit.active, 1);
        assert_eq!(fake_.asked()[0].line, "GET /tokens/limits HTTP/1.1");

        let (fake_, client) = fake(200, &json!({"events": [], "nextCursor": null})).await;
        assert_eq!(client.audit_page(&user, 50, Some("a&limit=9")).await.unwrap().next_cursor, None);
        assert_eq!(fake_.asked()[0].line, "GET /audit?limit=50&cursor=a%26limit%3D9 HTTP/1.1");

        let (fake_, client) = fake(200, &me_reply()).await;
        assert_eq!(client.me(&user).await.unwrap().email.as_deref(), Some("a@example.com"));
        assert_eq!(fake_.asked()[0].line, "GET /auth/me HTTP/1.1");
    }

    #[tokio::test]
    async fn somebody_elses_profile_is_not_passed_on() {
        let mut reply = me_reply();
        reply["user"]["id"] = json!("u2");
        let (_fake, client) = fake(200, &reply).await;
        assert!(matches!(client.me(&somebody()).await, Err(CallError::Unavailable(_))));
    }

    #[tokio::test]
    async fn a_refusal_reaches_the_caller_whole() {
        let body = json!({"error": "50 a day", "code": "RATE_LIMIT_EXCEEDED", "requestId": "r1", "retryAfter": 9,
                          "resetAt": AT});
        let (fake, client) = fake(429, &body).await;
        let error = client.create_token(&somebody(), &request("ci")).await.err();
        let Some(CallError::Refused(body)) = error else { panic!("{error:?}") };
        assert_eq!((body.code, body.retry_after), (ErrorCode::RateLimitExceeded, Some(9)));
        assert_eq!(body.reset_at, Some(T0 as Timestamp));
        assert_eq!(fake.asked().len(), 1);
    }

    #[tokio::test]
    async fn a_creation_is_never_sent_twice() {
        for answer in [Answer::Silence, Answer::Raw(Vec::new()), Answer::Raw(b"HTTP/1.1 201 Created\r\n".to_vec())] {
            let fake = FakeAuth::start(answer).await;
            let error = fake.client(&ManualClock::at(T0)).create_token(&somebody(), &request("ci")).await.err();
            assert!(matches!(error, Some(CallError::Unavailable(_))), "{error:?}");
            assert_eq!(fake.asked().len(), 1);
        }
    }

    #[tokio::test]
    async fn replies_that_are_no_answer_are_unavailable() {
        let error = |code: &str| json!({"error": "x", "code": code, "requestId": "r1"});
        let mut no_success = created_reply();
        no_success["success"] = json!(false);
        for (status, body) in [
            (201, json!("<html>")),
            (201, no_success),
            (200, json!({"success": true})),
            (302, created_reply()),
            (401, error("UNAUTHORIZED")),
            (404, error("CONFLICT")),
            (404, error("NO_SUCH_CODE")),
            (404, json!({})),
            (500, error("INTERNAL_ERROR")),
            (503, error("UNAVAILABLE")),
        ] {
            let (_fake, client) = fake(status, &body).await;
            let error = client.create_token(&somebody(), &request("ci")).await.err();
            assert!(matches!(error, Some(CallError::Unavailable(_))), "{status} {body}: {error:?}");
        }
    }

    #[tokio::test]
    async fn a_request_the_service_trips_over_does_not_open_the_breaker_but_an_outage_does() {
        let user = somebody();
        for (code, status, is_open) in
            [("INTERNAL_ERROR", 500, false), ("NOT_FOUND", 404, false), ("UNAVAILABLE", 503, true)]
        {
            let (_fake, client) = fake(status, &json!({"error": "x", "code": code, "requestId": "r1"})).await;
            for _ in 0..5 {
                client.list_tokens(&user).await.unwrap_err();
            }
            let error = client.list_tokens(&user).await.unwrap_err();
            assert_eq!(matches!(error, CallError::Unavailable(Unavailable::BreakerOpen)), is_open, "{code}");
        }
    }
}
