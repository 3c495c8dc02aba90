//! RFC 7662, section by section.

use domain::Limit;
use serde_json::{Value, json};

use crate::client::{Call, Reply};
use crate::world::{DAY, World, decode_jwt};

const FORM: &str = "application/x-www-form-urlencoded";

fn introspect(world: &World, form: &str) -> Call {
    world.post("/oauth/introspect").by(&world.service_jwt().sign()).body(FORM, form.to_owned())
}

async fn about(world: &World, token: &str) -> Value {
    introspect(world, &format!("token={token}")).await.ok(200)
}

#[track_caller]
fn refused(reply: &Reply, error: &str) {
    assert_eq!((reply.status, &reply.json["error"]), (400, &json!(error)), "{}", reply.text);
    assert!(reply.json["error_description"].is_string(), "{}", reply.text);
    assert_eq!(reply.header("cache-control"), "no-store");
}

#[tokio::test]
async fn section_2_1_the_request_is_a_form_with_a_token() {
    let world = World::new().await;
    let token = world.token(&world.ann().await).await;
    for hint in ["access_token", "refresh_token", "pat", "", "%00"] {
        let form = format!("token={}&token_type_hint={hint}&unknown=1", token.secret);
        assert_eq!(introspect(&world, &form).await.ok(200)["active"], true, "{hint:?}");
    }
    for form in ["", "token=", "token_type_hint=access_token", "token=a&token=b"] {
        refused(&introspect(&world, form).await, "invalid_request");
    }
    let json = world.post("/oauth/introspect").by(&world.service_jwt().sign()).json(&json!({ "token": token.secret }));
    refused(&json.await, "invalid_request");
    let get = world.get(&format!("/oauth/introspect?token={}", token.secret)).by(&world.service_jwt().sign()).await;
    assert_eq!(get.header("allow"), "POST");
    get.fails(405, "METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn section_2_1_the_caller_must_be_a_service() {
    let world = World::with(|setup| setup.config.validate_allow_anonymous = true).await;
    let ann = world.ann().await;
    let token = world.token(&ann).await;
    let form = || format!("token={}", token.secret);
    let nobody = world.post("/oauth/introspect").body(FORM, form()).await;
    assert!(nobody.header("www-authenticate").starts_with("Bearer "));
    nobody.fails(401, "UNAUTHORIZED");
    for other in [&ann.access, &token.secret, "x"] {
        world.post("/oauth/introspect").by(other).body(FORM, form()).await.fails(401, "UNAUTHORIZED");
    }
    assert_eq!(about(&world, &token.secret).await["rateLimit"]["remaining"], 999, "nothing was counted");
}

#[tokio::test]
async fn section_2_2_an_active_token_is_described() {
    let world = World::new().await;
    let ann = world.ann().await;
    let made = world.now().as_seconds();
    let end = world.now().plus(DAY);
    let token = world.token_with(&ann, json!({ "scopes": ["a:b", "c"], "expiresAt": end })).await;
    let reply = introspect(&world, &format!("token={}", token.secret)).await;
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!((reply.header("pragma"), reply.header("x-ratelimit-remaining")), ("no-cache", "999"));
    let mut about_token = reply.ok(200);
    let window = about_token.as_object_mut().unwrap().remove("rateLimit").unwrap();
    assert_eq!((&window["limit"], &window["remaining"]), (&json!(1000), &json!(999)));
    assert_eq!(
        about_token,
        json!({ "active": true, "sub": ann.id, "scope": "a:b c", "token_type": "Bearer", "exp": end.as_seconds(),
                "iat": made, "jti": token.id, "iss": "alternatefutures-auth", "username": "ann@example.com" })
    );
    let endless = world.token(&ann).await;
    assert_eq!(about(&world, &endless.secret).await.get("exp"), None);

    let session = about(&world, &ann.access).await;
    let (_, claims) = decode_jwt(&ann.access);
    assert_eq!((&session["exp"], &session["iat"]), (&claims["exp"], &claims["iat"]));
    assert_eq!((&session["sub"], &session["scope"]), (&json!(ann.id), &json!("*")));
    assert_eq!(session["jti"], claims["sessionId"]);
}

#[tokio::test]
async fn section_2_2_anything_else_is_inactive_and_nothing_more_is_said() {
    let world = World::new().await;
    let ann = world.ann().await;
    let deleted = world.token(&ann).await;
    world.delete(&format!("/tokens/{}", deleted.id)).by(&ann.access).await.ok(200);
    let expired = world.token_with(&ann, json!({ "expiresAt": world.now().plus(DAY) })).await;
    let homely = world.token_with(&ann, json!({ "allowedIps": ["192.0.2.0/24"] })).await;
    world.clock.advance(DAY);
    let jwt = world.service_jwt().sign();
    let long = "x".repeat(10_000);
    for token in
        [&deleted.secret, &expired.secret, &homely.secret, &ann.access, &ann.refresh, &jwt, &long, "x", "%00", "%FF"]
    {
        let reply = introspect(&world, &format!("token={token}")).await;
        assert_eq!(reply.text, r#"{"active":false}"#, "{token}");
        reply.ok(200);
    }
}

#[tokio::test]
async fn section_2_1_further_context_is_the_end_users_address() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = world.token_with(&ann, json!({ "allowedIps": ["192.0.2.0/24"] })).await;
    let is_active = async |call: Call| call.await.ok(200)["active"] == true;
    let from = |ip: &str| introspect(&world, &format!("token={}&client_ip={ip}", token.secret));
    assert!(is_active(from("192.0.2.7")).await);
    assert!(!is_active(from("203.0.113.9")).await);
    let by_meta = |ip: &str| {
        let jwt = world.service_jwt().claim("meta", json!({ "ip": ip })).sign();
        world.post("/oauth/introspect").by(&jwt).body(FORM, format!("token={}", token.secret))
    };
    assert!(is_active(by_meta("192.0.2.7")).await);
    assert!(!is_active(by_meta("203.0.113.9")).await);
}

#[tokio::test]
async fn section_2_3_over_its_limit_a_token_is_answered_with_429() {
    let world = World::with(|setup| setup.config.limits.token = Limit::per_minute(2)).await;
    let token = world.token(&world.ann().await).await;
    for remaining in [1, 0] {
        assert_eq!(about(&world, &token.secret).await["rateLimit"]["remaining"], remaining);
    }
    introspect(&world, &format!("token={}", token.secret)).await.fails(429, "RATE_LIMIT_EXCEEDED");
}
