//! Proving again who one is at a provider: for the session that asked, and by an account that is one's own.

use domain::OneTimeSecret;
use serde_json::{Value, json};
use testkit::OAuthProvider;

use crate::oauth_browser::*;
use crate::reauthentication::{request, verify};
use crate::world::{MINUTE, Person, World, person};

/// Somebody who signs in at GitHub, and whose proof is too old.
async fn start() -> (OAuthProvider, World, Person) {
    let provider = OAuthProvider::start().await;
    provider.person(json!({ "id": 583_231, "login": "ann" }), json!([]));
    let world = world_with(&provider).await;
    let ann = person(&sign_in_at(&world, &provider, "github").await);
    world.later(10 * MINUTE).await;
    (provider, world, ann)
}

fn at_github() -> Value {
    json!({ "method": "oauth", "provider": "github", "redirectUrl": "https://app.example.com/account" })
}

async fn reference(world: &World, who: &Person, body: Value) -> OneTimeSecret {
    let reply = request(world, who, &body).await.ok(200);
    let url = reply["authUrl"].as_str().unwrap();
    url.strip_prefix(&format!("{PUBLIC_URL}/auth/oauth/github?link=")).unwrap().parse().unwrap()
}

async fn is_recent(world: &World, who: &Person) -> bool {
    world.post("/account/methods/nobodys/set-primary").by(&who.access).await.status == 404
}

#[tokio::test]
async fn a_visit_to_the_provider_renews_the_session_that_asked() {
    let (provider, world, ann) = start().await;
    let refused = world.delete("/account/profile").by(&ann.access).await.fails(401, "REAUTHENTICATION_REQUIRED");
    assert_eq!(refused["methods"], json!(["oauth"]));
    // Which provider goes without saying where there is one.
    let asked = reference(&world, &ann, json!({ "method": "oauth" })).await;
    let code = proof(&world, &provider, "github", &asked).await;
    assert!(!is_recent(&world, &ann).await, "not before the session comes with it");
    let shown = || verify(&world, &ann, &json!({ "method": "oauth", "code": code }));
    assert_eq!(shown().await.ok(200)["reauthenticatedUntil"], world.now().plus(10 * MINUTE).to_string());
    assert!(is_recent(&world, &ann).await);
    shown().await.fails(400, "INVALID_CODE");
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 1, "nobody was signed in");
    assert_eq!(world.count("SELECT COUNT(*) FROM auth_methods").await, 1, "and nothing linked");
}

#[tokio::test]
async fn what_was_proved_for_one_thing_is_worth_nothing_for_another() {
    let (provider, world, ann) = start().await;
    let other = person(&sign_in_at(&world, &provider, "github").await);
    let mallory = world.bob().await;
    // Made here, it is another session's, a link's and a sign-in's nothing.
    for who in [&other, &mallory] {
        let asked = reference(&world, &ann, at_github()).await;
        let code = proof(&world, &provider, "github", &asked).await;
        verify(&world, who, &json!({ "method": "oauth", "code": code })).await.fails(400, "INVALID_CODE");
        verify(&world, &ann, &json!({ "method": "oauth", "code": code })).await.fails(400, "INVALID_CODE");
    }
    let asked = reference(&world, &ann, at_github()).await;
    let code = proof(&world, &provider, "github", &asked).await;
    exchange(&world, &code).await.fails(400, "INVALID_CODE");
    finish_link(&world, &mallory, &code).await.fails(400, "INVALID_CODE");
    // Made to link or to sign in, it renews nothing.
    let asked = request_link(&world, &other, "github").await;
    let to_link = proof(&world, &provider, "github", &asked).await;
    let to_sign_in = code_of(&round_trip(&world, &provider, "github").await);
    for code in [to_link.as_str(), &to_sign_in, "", "x", &"x".repeat(32)] {
        verify(&world, &ann, &json!({ "method": "oauth", "code": code })).await.fails(400, "INVALID_CODE");
    }
    assert!(!is_recent(&world, &ann).await);
    assert_eq!(world.count("SELECT COUNT(*) FROM auth_methods WHERE type = 'oauth'").await, 1);
}

#[tokio::test]
async fn somebody_elses_account_at_the_provider_is_no_proof() {
    let (provider, world, ann) = start().await;
    provider.person(json!({ "id": 77, "login": "mallory" }), json!([]));
    let asked = reference(&world, &ann, at_github()).await;
    let code = proof(&world, &provider, "github", &asked).await;
    verify(&world, &ann, &json!({ "method": "oauth", "code": code })).await.fails(400, "INVALID_CODE");
    assert!(!is_recent(&world, &ann).await);
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 1);
    for (body, status, code) in [
        (json!({ "method": "oauth", "provider": "google" }), 404, "NOT_FOUND"),
        (json!({ "method": "oauth", "redirectUrl": "https://evil.example/" }), 400, "INVALID_REDIRECT"),
    ] {
        request(&world, &ann, &body).await.fails(status, code);
    }
}
