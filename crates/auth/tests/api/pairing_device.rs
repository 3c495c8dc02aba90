//! RFC 8628: the same pairing in the words of OAuth.

use serde_json::{Value, json};

use crate::client::{Call, Reply};
use crate::pairing::{Asking, approve};
use crate::world::{DAY, MINUTE, PUBLIC_URL, SECOND, World};

const FORM: &str = "application/x-www-form-urlencoded";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

fn authorize(world: &World, form: &str) -> Call {
    world.post("/oauth/device_authorization").body(FORM, form.to_owned())
}

fn token(world: &World, device_code: &str) -> Call {
    world.post("/oauth/token").body(FORM, format!("grant_type={GRANT}&device_code={device_code}"))
}

/// The pairing behind a reply to the authorization request.
fn asking(reply: &Value) -> Asking {
    let code = reply["device_code"].as_str().unwrap();
    let (id, secret) = code.split_once('.').unwrap();
    let user_code = reply["user_code"].as_str().unwrap().to_owned();
    Asking { id: id.to_owned(), secret: secret.to_owned(), user_code }
}

/// An error in the form of RFC 6749 §5.2.
#[track_caller]
fn refused(reply: &Reply, error: &str) {
    assert_eq!((reply.status, &reply.json["error"]), (400, &json!(error)), "{}", reply.text);
    assert!(reply.json["error_description"].as_str().is_some_and(|text| !text.is_empty()), "{}", reply.text);
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.json.as_object().unwrap().len(), 2, "{}", reply.text);
}

#[tokio::test]
async fn a_device_gets_its_token() {
    let world = World::new().await;
    let ann = world.ann().await;
    let reply = authorize(&world, "client_id=my+tool&scope=projects%3Aread+tokens%3Aread").await.ok(200);
    assert_eq!((&reply["expires_in"], &reply["interval"]), (&json!(600), &json!(1)));
    assert_eq!(reply["verification_uri"], format!("{PUBLIC_URL}/login"));
    let asking = asking(&reply);
    assert_eq!(reply["verification_uri_complete"], format!("{PUBLIC_URL}/login/{}", asking.id));
    let well_formed = |part: &str| part.len() == 4 && part.chars().all(|c| "BCDFGHJKLMNPQRSTVWXZ".contains(c));
    assert!(asking.user_code.split('-').all(well_formed), "{}", asking.user_code);

    let device_code = reply["device_code"].as_str().unwrap();
    refused(&token(&world, device_code).await, "authorization_pending");
    refused(&token(&world, device_code).await, "slow_down");
    world.clock.advance(SECOND);
    refused(&token(&world, device_code).await, "authorization_pending");
    approve(&world, &ann, &asking, json!({ "expiresAt": world.now().plus(DAY) })).await.ok(200);
    world.clock.advance(SECOND);
    let answer = token(&world, device_code).await;
    assert_eq!(answer.header("pragma"), "no-cache");
    let answer = answer.ok(200);
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(86_399)));
    assert_eq!(answer["scope"], "projects:read tokens:read");
    let valid = world.validate(answer["access_token"].as_str().unwrap()).await.ok(200);
    assert_eq!((&valid["userId"], &valid["name"]), (&json!(ann.id), &json!("my tool")));
    assert_eq!(valid["scopes"], json!(["projects:read", "tokens:read"]));

    world.clock.advance(SECOND);
    refused(&token(&world, device_code).await, "invalid_grant");
    assert_eq!(world.token_ids(&ann).await.len(), 1);
}

#[tokio::test]
async fn a_device_that_says_nothing_is_served_too() {
    let world = World::new().await;
    let ann = world.ann().await;
    for form in ["", "scope=", "client_id=%3Cscript%3Ealert(1)%3C%2Fscript%3E"] {
        let reply = authorize(&world, form).await.ok(200);
        approve(&world, &ann, &asking(&reply), json!({})).await.ok(200);
        let answer = token(&world, reply["device_code"].as_str().unwrap()).await.ok(200);
        assert_eq!((&answer["scope"], &answer["expires_in"]), (&json!("*"), &Value::Null));
    }
}

#[tokio::test]
async fn denied_and_expired_devices_are_told() {
    let world = World::new().await;
    let ann = world.ann().await;
    let denied = authorize(&world, "").await.ok(200);
    let request = json!({ "verificationSessionId": asking(&denied).id });
    world.post("/auth/cli/deny").by(&ann.access).json(&request).await.ok(200);
    refused(&token(&world, denied["device_code"].as_str().unwrap()).await, "access_denied");

    let late = authorize(&world, "").await.ok(200);
    approve(&world, &ann, &asking(&late), json!({})).await.ok(200);
    world.clock.advance(10 * MINUTE);
    refused(&token(&world, late["device_code"].as_str().unwrap()).await, "expired_token");
    assert_eq!(world.token_ids(&ann).await, [""; 0]);
}

#[tokio::test]
async fn bad_requests_get_the_rfcs_errors() {
    let world = World::new().await;
    let good = authorize(&world, "").await.ok(200);
    let code = good["device_code"].as_str().unwrap();
    for (form, error) in [
        (String::new(), "invalid_request"),
        (format!("device_code={code}"), "invalid_request"),
        (format!("grant_type={GRANT}"), "invalid_request"),
        (format!("grant_type={GRANT}&device_code={code}&device_code={code}"), "invalid_request"),
        (format!("grant_type=password&device_code={code}"), "unsupported_grant_type"),
        (format!("grant_type={GRANT}&device_code="), "invalid_request"),
        (format!("grant_type={GRANT}&device_code=x"), "invalid_grant"),
        (format!("grant_type={GRANT}&device_code={code}x"), "invalid_grant"),
        (format!("grant_type={GRANT}&device_code=%00.%FF"), "invalid_grant"),
    ] {
        let reply = world.post("/oauth/token").body(FORM, form.clone()).await;
        assert_eq!(reply.json["error"], error, "{form}: {}", reply.text);
        refused(&reply, error);
    }
    let json = world.post("/oauth/token").json(&json!({ "grant_type": GRANT, "device_code": code })).await;
    refused(&json, "invalid_request");
    refused(&authorize(&world, "scope=NOT+ONE").await, "invalid_scope");
    refused(&authorize(&world, "scope=a&scope=b").await, "invalid_request");
    let long = format!("client_id={}", "x".repeat(70_000));
    refused(&authorize(&world, &long).await, "invalid_request");
    refused(&token(&world, code).await, "authorization_pending");
    assert_eq!(world.count("SELECT COUNT(*) FROM pairings").await, 1);
}
