//! The layer around real routes, in front of an auth service that answers what a test wants.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::routing::{MethodRouter, get};
use http::{HeaderMap, Request};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::fake::{Answer, FakeAuth, ManualClock, T0};
use crate::{AuthLayer, Caller, TrustedProxies};

struct World {
    auth: FakeAuth,
    layer: AuthLayer,
    handled: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn is_error(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{self:?}");
        assert!(self.body["error"].as_str().is_some_and(|sentence| !sentence.is_empty()), "{self:?}");
        assert_eq!(self.body["requestId"], self.header("x-request-id"), "{self:?}");
        assert_eq!(self.header("cache-control"), "no-store");
    }
}

impl World {
    async fn with_scopes(scopes: &[&str]) -> Self {
        Self::answering(Answer::json(200, &valid(scopes))).await
    }

    async fn answering(answer: Answer) -> Self {
        let auth = FakeAuth::start(answer).await;
        let layer = AuthLayer::with_client(Arc::new(auth.client(&ManualClock::at(T0))));
        Self { auth, layer, handled: Arc::default() }
    }

    /// A handler that counts its calls and tells who called.
    fn handler(&self) -> MethodRouter {
        let handled = Arc::clone(&self.handled);
        get(async move |caller: Caller| {
            handled.fetch_add(1, Ordering::SeqCst);
            axum::Json(json!({ "user": caller.user_id(), "scopes": caller.scopes() }))
        })
    }

    fn handled(&self) -> usize {
        self.handled.load(Ordering::SeqCst)
    }

    /// A route that needs these.
    async fn needing(&self, scopes: &[&str], headers: &[(&str, &str)]) -> Reply {
        let layer = scopes.iter().fold(self.layer.clone(), |layer, scope| layer.scope(scope));
        send(Router::new().route("/", self.handler().layer(layer)), headers).await
    }
}

fn valid(scopes: &[&str]) -> Value {
    json!({
        "valid": true, "kind": "pat", "userId": "u1", "tokenId": "t1", "name": "ci", "scopes": scopes,
        "email": "a@example.com", "displayName": null, "avatarUrl": null, "expiresAt": null,
        "rateLimit": {"limit": 1000, "remaining": 999, "resetAt": "2025-11-08T12:01:00.000Z"},
    })
}

async fn send(app: Router, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::get("/").body(Body::empty()).unwrap();
    for (name, value) in headers {
        let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
        request.headers_mut().append(http::HeaderName::try_from(*name).unwrap(), value);
    }
    let peer: SocketAddr = "203.0.113.9:4711".parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = app.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 64 * 1024).await.unwrap();
    let body = serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into());
    Reply { status: parts.status.as_u16(), headers: parts.headers, body }
}

const TOKEN: (&str, &str) = ("authorization", "Bearer af_live_x");

#[tokio::test]
async fn a_good_credential_passes_and_the_service_learns_who_shows_it() {
    let world = World::with_scopes(&["reports:read"]).await;
    let headers = [TOKEN, ("user-agent", "curl/8"), ("x-request-id", "r1"), ("x-forwarded-for", "6.6.6.6")];
    let reply = world.needing(&["reports:read"], &headers).await;
    assert_eq!((reply.status, &reply.body), (200, &json!({"user": "u1", "scopes": ["reports:read"]})));
    assert_eq!((reply.header("x-ratelimit-limit"), reply.header("x-ratelimit-remaining")), ("1000", "999"));
    assert_eq!(reply.header("x-ratelimit-reset"), "2025-11-08T12:01:00.000Z");
    assert_eq!(reply.header("ratelimit"), r#""default";r=999;t=60"#);
    assert_eq!(reply.header("x-request-id"), "r1");

    let asked = &world.auth.asked()[0];
    assert_eq!(asked.line, "POST /tokens/validate HTTP/1.1");
    let client = json!({"ip": "203.0.113.9", "userAgent": "curl/8", "requestId": "r1"});
    assert_eq!(
        asked.body,
        json!({"token": "af_live_x", "client": client, "withBounds": true}),
        "an untrusted peer chooses no address"
    );
    assert_eq!(world.handled(), 1);
}

#[tokio::test]
async fn behind_a_proxy_the_address_is_what_the_proxy_says() {
    let mut world = World::with_scopes(&["*"]).await;
    world.layer = world.layer.behind(TrustedProxies::new(vec!["203.0.113.0/24".parse().unwrap()]));
    world.needing(&[], &[TOKEN, ("x-forwarded-for", "6.6.6.6, 198.51.100.1")]).await;
    assert_eq!(world.auth.asked()[0].body["client"]["ip"], "198.51.100.1");
}

/// What a trusted proxy passed on and is no address makes the end user unknown, not the proxy.
#[tokio::test]
async fn behind_a_proxy_that_passes_nonsense_on_the_address_is_unknown() {
    let mut world = World::with_scopes(&["*"]).await;
    world.layer = world.layer.behind(TrustedProxies::new(vec!["203.0.113.0/24".parse().unwrap()]));
    for nonsense in ["\u{ff}", "198.51.100.1, \u{ff}", "unknown", "", "\u{ff}, 203.0.113.7"] {
        world.needing(&[], &[TOKEN, ("x-forwarded-for", nonsense)]).await;
        let asked = world.auth.asked();
        assert_eq!(asked.last().unwrap().body["client"]["ip"], Value::Null, "{nonsense:?}");
    }
}

#[tokio::test]
async fn a_request_that_shows_no_credential_is_refused_unasked() {
    let world = World::with_scopes(&["*"]).await;
    let long = format!("Bearer {}", "x".repeat(9 * 1024));
    for headers in [
        &[] as &[(&str, &str)],
        &[("authorization", "af_live_x")],
        &[("authorization", "Basic YTpi")],
        &[("authorization", "Bearer ")],
        &[("authorization", &long)],
        &[TOKEN, TOKEN],
        &[("cookie", "token=af_live_x")],
    ] {
        let reply = world.needing(&[], headers).await;
        reply.is_error(401, "UNAUTHORIZED");
        assert_eq!(reply.header("www-authenticate"), r#"Bearer realm="alternatefutures""#);
    }
    assert_eq!((world.auth.asked().len(), world.handled()), (0, 0));
}

#[tokio::test]
async fn a_bad_credential_is_refused_in_the_services_words() {
    for code in ["INVALID_TOKEN", "TOKEN_EXPIRED", "SESSION_REVOKED", "IP_NOT_ALLOWED"] {
        let body = json!({"valid": false, "error": "No", "code": code, "requestId": "r0"});
        let world = World::answering(Answer::json(401, &body)).await;
        let reply = world.needing(&[], &[TOKEN]).await;
        reply.is_error(401, code);
        assert_eq!(reply.body["error"], "No");
        assert!(reply.header("www-authenticate").contains(r#"error="invalid_token""#), "{reply:?}");
        assert_eq!(world.handled(), 0);
    }
}

#[tokio::test]
async fn scopes_are_asked_for_as_the_grammar_has_them() {
    let held = ["reports:*", "tokens:read"];
    let world = World::with_scopes(&held).await;
    for required in [&[] as &[&str], &["reports:read"], &["reports:a:b", "tokens:read"], &["reports:*"]] {
        assert_eq!(world.needing(required, &[TOKEN]).await.status, 200, "{required:?}");
    }
    let passed = world.handled();
    for (required, missing) in [
        (&["reports"] as &[&str], "reports"),
        (&["tokens:write"], "tokens:write"),
        (&["tokens:*"], "tokens:*"),
        (&["*"], "*"),
        (&["reports:read", "a", "b:c"], "a b:c"),
    ] {
        let reply = world.needing(required, &[TOKEN]).await;
        reply.is_error(403, "FORBIDDEN");
        let challenge = format!(r#"Bearer realm="alternatefutures", error="insufficient_scope", scope="{missing}""#);
        assert_eq!(reply.header("www-authenticate"), challenge);
        assert_eq!(reply.header("x-ratelimit-remaining"), "999", "it was counted");
    }
    let more_than_a_token_carries: Vec<String> = (0..40).map(|n| format!("s{n}")).collect();
    let required: Vec<&str> = more_than_a_token_carries.iter().map(String::as_str).collect();
    world.needing(&required, &[TOKEN]).await.is_error(403, "FORBIDDEN");
    assert_eq!(world.handled(), passed, "nothing was done for whom a scope is missing");
}

#[tokio::test]
async fn over_the_limit_it_is_said_when_to_come_back() {
    let body = json!({"valid": false, "error": "Slow down", "code": "RATE_LIMIT_EXCEEDED", "requestId": "r0",
                      "retryAfter": 7, "resetAt": "2025-11-08T12:00:05.000Z",
                      "rateLimit": {"limit": 5, "remaining": 0, "resetAt": "2025-11-08T12:00:05.000Z"}});
    let world = World::answering(Answer::json(429, &body)).await;
    let reply = world.needing(&[], &[TOKEN]).await;
    reply.is_error(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!((reply.header("retry-after"), &reply.body["retryAfter"]), ("7", &json!(7)), "by the service's clock");
    assert_eq!(reply.body["resetAt"], "2025-11-08T12:00:05.000Z");
    assert_eq!((reply.header("x-ratelimit-limit"), reply.header("x-ratelimit-remaining")), ("5", "0"));
    assert_eq!(world.handled(), 0);
}

#[tokio::test]
async fn whatever_is_no_verdict_lets_nobody_pass() {
    let good = valid(&["*"]);
    for answer in [
        Answer::Reply(200, "<!doctype html>".to_owned()),
        Answer::json(200, &json!({"valid": true})),
        Answer::json(500, &good),
        Answer::json(302, &good),
        Answer::json(401, &json!({"error": "x", "code": "UNAUTHORIZED", "requestId": "r0"})),
        Answer::json(403, &json!({"error": "x", "code": "FORBIDDEN", "requestId": "r0"})),
        Answer::Raw(b"HTTP/1.1 200".to_vec()),
        Answer::Silence,
    ] {
        let world = World::answering(answer.clone()).await;
        let reply = world.needing(&[], &[TOKEN]).await;
        reply.is_error(503, "UNAVAILABLE");
        assert_eq!((reply.header("retry-after"), world.handled()), ("1", 0), "{answer:?}");
        let text = reply.body.to_string();
        assert!(!text.contains("127.0.0.1") && !text.contains("af_live_x"), "{text}");
    }
}

#[tokio::test]
async fn what_was_good_is_asked_about_again_on_the_next_call() {
    let world = World::with_scopes(&["*"]).await;
    assert_eq!(world.needing(&[], &[TOKEN]).await.status, 200);
    let body = json!({"valid": false, "error": "Unknown", "code": "INVALID_TOKEN", "requestId": "r0"});
    world.auth.answers(Answer::json(401, &body));
    world.needing(&[], &[TOKEN]).await.is_error(401, "INVALID_TOKEN");
    assert_eq!((world.auth.asked().len(), world.handled()), (2, 1));
}

#[tokio::test]
async fn nested_layers_of_one_service_ask_once_and_those_of_two_twice() {
    let world = World::with_scopes(&["reports:read"]).await;
    let nested = |scope| world.handler().layer(world.layer.scope(scope));
    let app = |scope| Router::new().route("/", nested(scope)).layer(world.layer.clone());
    let reply = send(app("reports:read"), &[TOKEN]).await;
    assert_eq!((reply.status, world.auth.asked().len()), (200, 1));
    let reply = send(app("reports:write"), &[TOKEN]).await;
    reply.is_error(403, "FORBIDDEN");
    assert_eq!(reply.header("x-ratelimit-remaining"), "999");
    assert_eq!((world.handled(), world.auth.asked().len()), (1, 2));

    let other = World::with_scopes(&["*"]).await;
    let app = Router::new().route("/", nested("reports:write")).layer(other.layer.clone());
    send(app, &[TOKEN]).await.is_error(403, "FORBIDDEN");
    assert_eq!(
        (world.auth.asked().len(), other.auth.asked().len()),
        (3, 1),
        "what another one vouched for is not ours"
    );
}

#[tokio::test]
async fn a_route_that_asks_for_its_caller_without_a_layer_opens_nothing() {
    let world = World::with_scopes(&["*"]).await;
    let reply = send(Router::new().route("/", world.handler()), &[TOKEN, ("x-request-id", "r1")]).await;
    assert_eq!((reply.status, &reply.body["code"]), (500, &json!("INTERNAL_ERROR")));
    assert_eq!(reply.body["requestId"], "r1");
    assert_eq!((world.handled(), world.auth.asked().len()), (0, 0));
}

#[tokio::test]
async fn replies_keep_the_id_that_their_service_gave_them() {
    let world = World::with_scopes(&["*"]).await;
    let handler = get(async || [("x-request-id", "mine")]);
    let reply = send(Router::new().route("/", handler.layer(world.layer.clone())), &[TOKEN]).await;
    assert_eq!(reply.header("x-request-id"), "mine");
}

#[tokio::test]
#[should_panic(expected = r#""Reports Read" is no scope"#)]
async fn a_scope_that_no_token_can_have_shows_at_start() {
    let _ = World::with_scopes(&["*"]).await.layer.scope("Reports Read");
}
