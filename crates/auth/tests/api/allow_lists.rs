//! Tokens that may be used from some addresses only.

use serde_json::{Value, json};
use testkit::ServiceJwt;
use web::TrustedProxies;

use crate::client::Call;
use crate::world::{Person, SECOND, Token, World, token};

const HOME: &str = "192.0.2.7";
const ELSEWHERE: &str = "203.0.113.9";

async fn homely(world: &World, who: &Person) -> Token {
    world.token_with(who, json!({ "allowedIps": ["192.0.2.0/24", "2001:db8::/32"] })).await
}

/// The question about a token that was shown from there.
fn shown_from(world: &World, token: &str, ip: impl Into<Value>) -> Call {
    let body = json!({ "token": token, "client": { "ip": ip.into() } });
    world.post("/tokens/validate").by(&world.service_jwt().sign()).json(&body)
}

async fn remaining(world: &World, token: &str) -> u64 {
    shown_from(world, token, HOME).await.ok(200)["rateLimit"]["remaining"].as_u64().unwrap()
}

async fn last_used_at(world: &World, who: &Person) -> Value {
    world.auth.flush().await.unwrap();
    world.get("/tokens").by(&who.access).await.ok(200)["tokens"][0]["lastUsedAt"].clone()
}

#[tokio::test]
async fn the_list_is_kept_and_shown() {
    let world = World::new().await;
    let ann = world.ann().await;
    let asked = json!({ "name": "x", "allowedIps": ["192.0.2.0/24", "192.0.2.7/32", "::ffff:10.0.0.0/104"] });
    let reply = world.post("/tokens").by(&ann.access).json(&asked).await.ok(201);
    let shown = json!(["192.0.2.0/24", "192.0.2.7", "10.0.0.0/8"]);
    assert_eq!(reply["token"]["allowedIps"], shown);
    let listed = world.get("/tokens").by(&ann.access).await.ok(200);
    assert_eq!(listed["tokens"][0]["allowedIps"], shown);

    let path = format!("/tokens/{}/rotate", token(&reply).id);
    let rotated = world.post(&path).by(&ann.access).await.ok(201);
    assert_eq!(rotated["token"]["allowedIps"], shown, "rotation keeps it");
    shown_from(&world, &token(&rotated).secret, ELSEWHERE).await.fails(401, "IP_NOT_ALLOWED");
}

#[tokio::test]
async fn lists_that_are_none_are_refused() {
    let world = World::new().await;
    let ann = world.ann().await;
    let many: Vec<String> = (0..33).map(|n| format!("192.0.2.{n}")).collect();
    for (list, path) in [
        (json!([]), "allowedIps"),
        (json!(many), "allowedIps"),
        (json!("192.0.2.0/24"), "allowedIps"),
        (json!(["192.0.2.0/24", "192.0.2.1/24"]), "allowedIps[1]"),
        (json!(["example.com"]), "allowedIps[0]"),
        (json!(["192.0.2.0/33"]), "allowedIps[0]"),
        (json!([7]), "allowedIps[0]"),
    ] {
        let request = json!({ "name": "x", "allowedIps": list });
        world.post("/tokens").by(&ann.access).json(&request).await.fails_at(path);
    }
    assert_eq!(world.token_ids(&ann).await, [""; 0]);
}

#[tokio::test]
async fn from_elsewhere_or_nowhere_it_is_invalid_costs_nothing_and_leaves_no_trace() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = homely(&world, &ann).await;
    // The second round meets the copy in the cache.
    for round in 0..2 {
        for ip in [json!(ELSEWHERE), json!("2001:db9::1"), json!("::ffff:203.0.113.9"), json!("nowhere"), Value::Null] {
            let reply = shown_from(&world, &token.secret, ip.clone()).await;
            assert_eq!(reply.json["valid"], false, "{ip}");
            reply.fails(401, "IP_NOT_ALLOWED");
        }
        world.validate(&token.secret).await.fails(401, "IP_NOT_ALLOWED");
        if round == 0 {
            assert_eq!(last_used_at(&world, &ann).await, Value::Null);
            assert_eq!(remaining(&world, &token.secret).await, 999, "nothing else was counted");
        }
    }
    assert_eq!(remaining(&world, &token.secret).await, 998);
    for ip in ["192.0.2.255", "::ffff:192.0.2.1", "2001:db8:ffff::1"] {
        shown_from(&world, &token.secret, ip).await.ok(200);
    }
}

#[tokio::test]
async fn the_copy_of_a_restart_knows_the_list_too() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = homely(&world, &ann).await;
    let world = world.restart(|_| {}).await;
    shown_from(&world, &token.secret, ELSEWHERE).await.fails(401, "IP_NOT_ALLOWED");
    shown_from(&world, &token.secret, HOME).await.ok(200);
    world.clock.advance(31 * SECOND);
    shown_from(&world, &token.secret, ELSEWHERE).await.fails(401, "IP_NOT_ALLOWED");
}

#[tokio::test]
async fn as_a_bearer_here_the_callers_real_address_counts() {
    let world = World::with(|setup| {
        setup.config.trusted_proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
    })
    .await;
    let ann = world.ann().await;
    let token = homely(&world, &ann).await;
    let list = |from: &str| world.get("/tokens").by(&token.secret).from(from);
    list(HOME).await.ok(200);
    list(ELSEWHERE).await.fails(401, "IP_NOT_ALLOWED");
    list(ELSEWHERE).header("x-forwarded-for", HOME).await.fails(401, "IP_NOT_ALLOWED");
    list("10.0.0.1").header("x-forwarded-for", HOME).await.ok(200);
    list("10.0.0.1").await.fails(401, "IP_NOT_ALLOWED");
}

#[tokio::test]
async fn a_service_that_calls_for_it_is_held_to_the_list() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = homely(&world, &ann).await;
    let call = |jwt: ServiceJwt| world.get("/tokens").by(&jwt.sign());
    let jwt = || world.service_jwt().user(&ann.id).claim("tokenId", token.id.as_str());
    call(jwt().claim("meta", json!({ "ip": HOME }))).await.ok(200);
    call(jwt().claim("meta", json!({ "ip": ELSEWHERE }))).await.fails(401, "IP_NOT_ALLOWED");
    call(jwt()).await.fails(401, "IP_NOT_ALLOWED");
}

#[tokio::test]
async fn a_token_makes_none_for_use_from_elsewhere() {
    let world = World::new().await;
    let ann = world.ann().await;
    let mother = homely(&world, &ann).await;
    let make = |fields: Value| world.post("/tokens").by(&mother.secret).from(HOME).json(&fields);
    make(json!({ "name": "x" })).await.fails(403, "FORBIDDEN");
    make(json!({ "name": "x", "allowedIps": ["0.0.0.0/0"] })).await.fails(403, "FORBIDDEN");
    make(json!({ "name": "x", "allowedIps": ["192.0.2.0/25", "192.0.3.0/24"] })).await.fails(403, "FORBIDDEN");
    assert_eq!(world.token_ids(&ann).await.len(), 1);
    make(json!({ "name": "x", "allowedIps": ["192.0.2.0/25"] })).await.ok(201);

    let free = world.token(&ann).await;
    let rotate = world.post(&format!("/tokens/{}/rotate", free.id)).by(&mother.secret).from(HOME);
    rotate.await.fails(403, "FORBIDDEN");
    assert!(world.is_valid(&free.secret).await);
}
