//! Service JWTs (contract §4) at real routes.

use std::time::Duration;

use serde_json::json;
use testkit::{Algorithm, ServiceJwt};

use crate::world::{JWT_SECRET, MINUTE, Person, SECOND, World};

/// Asserts that the JWT opens nothing, neither for itself nor for its user.
async fn assert_refused(world: &World, owner: &Person, jwt: &ServiceJwt, what: &str) {
    let jwt = jwt.sign();
    let pat = json!({ "token": "x" });
    let reply = world.post("/tokens/validate").by(&jwt).json(&pat).await;
    assert_eq!(reply.json["code"], "UNAUTHORIZED", "{what}: {}", reply.text);
    reply.fails(401, "UNAUTHORIZED");
    for path in ["/tokens", "/tokens/limits", "/auth/me", "/audit"] {
        world.get(path).by(&jwt).await.fails(401, "INVALID_TOKEN");
    }
    world.post("/tokens").by(&jwt).json(&json!({ "name": "x" })).await.fails(401, "INVALID_TOKEN");
    assert_eq!(world.token_ids(owner).await, [""; 0], "{what}");
}

#[tokio::test]
async fn one_with_a_user_acts_for_that_user() {
    let world = World::new().await;
    let (ann, bob) = (world.ann().await, world.bob().await);
    let jwt = world.service_jwt().user(&ann.id).sign();
    assert_eq!(world.get("/auth/me").by(&jwt).await.ok(200)["user"]["id"], ann.id);

    // A body that names somebody else changes nothing.
    let body = json!({ "name": "x", "userId": bob.id, "user": bob.id, "owner": { "id": bob.id } });
    let created = world.post("/tokens?userId=bob").by(&jwt).json(&body).await.ok(201);
    assert_eq!(world.token_ids(&ann).await, [created["token"]["id"].as_str().unwrap()]);
    assert_eq!(world.token_ids(&bob).await, [""; 0]);
}

#[tokio::test]
async fn one_without_a_user_may_only_validate() {
    let world = World::new().await;
    let ann = world.ann().await;
    let jwt = world.service_jwt().sign();
    for path in ["/tokens", "/tokens/limits", "/auth/me", "/audit"] {
        world.get(path).by(&jwt).await.fails(403, "FORBIDDEN");
    }
    world.post("/tokens").by(&jwt).json(&json!({ "name": "x" })).await.fails(403, "FORBIDDEN");
    assert_eq!(world.token_ids(&ann).await, [""; 0]);
    world.post("/tokens/validate").by(&jwt).json(&json!({ "token": ann.access })).await.ok(200);
}

#[tokio::test]
async fn wrong_claims_are_refused() {
    let world = World::new().await;
    let ann = world.ann().await;
    let now = world.now().as_seconds();
    let good = || world.service_jwt().user(&ann.id);
    for (claim, value) in [
        ("type", json!("access")),
        ("type", json!("refresh")),
        ("type", json!("service")),
        ("type", json!(null)),
        ("type", json!(["service-to-service"])),
        ("service", json!("alternatefutures-auth")),
        ("service", json!("")),
        ("service", json!(null)),
        ("iss", json!("somebody")),
        ("aud", json!("somebody")),
        ("aud", json!(["alternatefutures-auth"])),
        ("exp", json!(now + 301)),
        ("exp", json!(now)),
        ("exp", json!(now - 1)),
        ("exp", json!((now + 60).to_string())),
        ("exp", json!(u64::MAX)),
        ("exp", json!(i64::MAX)),
        ("exp", json!(i64::MIN)),
        ("exp", json!(1e300)),
        ("exp", json!(null)),
        ("exp", json!(true)),
        ("iat", json!(now + 31)),
        ("iat", json!(now - 300)),
        ("iat", json!(i64::MIN)),
        ("iat", json!(now.to_string())),
        ("iat", json!(null)),
        ("userId", json!(7)),
        ("userId", json!("")),
        ("userId", json!("../../etc")),
        ("userId", json!({})),
        ("tokenId", json!(7)),
        ("meta", json!("x")),
    ] {
        let what = format!("{claim}: {value}");
        assert_refused(&world, &ann, &good().claim(claim, value), &what).await;
    }
    for claim in ["type", "service", "exp", "iat"] {
        assert_refused(&world, &ann, &good().without(claim), &format!("without {claim}")).await;
    }
    world.get("/auth/me").by(&good().sign()).await.ok(200);
    let minimal = good().without("iss").without("aud").without("jti").claim("exp", now + 300);
    world.get("/auth/me").by(&minimal.sign()).await.ok(200);
}

#[tokio::test]
async fn wrong_signatures_are_refused() {
    let world = World::new().await;
    let ann = world.ann().await;
    let other = testkit::service_jwt("not the secret, though it is long enough", world.now()).user(&ann.id);
    assert_refused(&world, &ann, &other, "another secret").await;
    let empty = testkit::service_jwt("", world.now()).user(&ann.id);
    assert_refused(&world, &ann, &empty, "no secret").await;

    let good = world.service_jwt().user(&ann.id);
    let (head, signature) = { good.sign() }.rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let body = head.split_once('.').unwrap().1;
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"; // {"alg":"none","typ":"JWT"}
    for forged in [
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        format!("{head}."),
        head.clone(),
        format!("{head}.{signature}.{signature}"),
        good.clone().algorithm(Algorithm::HS384).sign(),
        good.clone().algorithm(Algorithm::HS512).sign(),
    ] {
        world.post("/tokens/validate").by(&forged).json(&json!({ "token": "x" })).await.fails(401, "UNAUTHORIZED");
        world.get("/auth/me").by(&forged).await.fails(401, "INVALID_TOKEN");
    }
}

#[tokio::test]
async fn it_ends_and_does_not_begin_in_the_future() {
    let world = World::new().await;
    let ann = world.ann().await;
    let jwt = world.service_jwt().user(&ann.id);
    let signed = jwt.sign();
    world.clock.advance(MINUTE - SECOND);
    world.get("/auth/me").by(&signed).await.ok(200);
    world.clock.advance(SECOND);
    assert_refused(&world, &ann, &jwt, "expired").await;

    let ahead = |by| testkit::service_jwt(JWT_SECRET, world.now().plus(by)).user(&ann.id);
    world.get("/auth/me").by(&ahead(30 * SECOND).sign()).await.ok(200);
    assert_refused(&world, &ann, &ahead(Duration::from_secs(31)), "from the future").await;
}

#[tokio::test]
async fn a_rotation_of_the_secret_is_a_list() {
    let next = "the next secret of both services, in tests";
    let world = World::with(|setup| setup.config.secrets.service_jwt.insert(0, next.into())).await;
    let ann = world.ann().await;
    for secret in [next, JWT_SECRET] {
        let jwt = testkit::service_jwt(secret, world.now()).user(&ann.id).sign();
        world.get("/auth/me").by(&jwt).await.ok(200);
    }
}

#[tokio::test]
async fn an_unknown_user_is_nobody() {
    let world = World::new().await;
    let jwt = world.service_jwt().user("nobody").sign();
    for path in ["/tokens", "/auth/me", "/audit"] {
        world.get(path).by(&jwt).await.fails(401, "INVALID_TOKEN");
    }
}

#[tokio::test]
async fn a_call_by_token_is_held_to_that_tokens_scopes() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.scoped(&ann, &["tokens:read", "projects:read"]).await;
    let jwt = world.service_jwt().user(&ann.id).claim("tokenId", pat.id.as_str()).sign();
    world.get("/tokens").by(&jwt).await.ok(200);
    for path in ["/auth/me", "/audit"] {
        world.get(path).by(&jwt).await.fails(403, "FORBIDDEN");
    }
    world.post("/tokens").by(&jwt).json(&json!({ "name": "x" })).await.fails(403, "FORBIDDEN");
    world.delete(&format!("/tokens/{}", pat.id)).by(&jwt).await.fails(403, "FORBIDDEN");
    assert_eq!(world.token_ids(&ann).await, [pat.id.as_str()]);
}

#[tokio::test]
async fn a_call_by_token_mints_nothing_beyond_that_token() {
    let world = World::new().await;
    let ann = world.ann().await;
    let end = world.now().plus(10 * MINUTE);
    let pat = world.token_with(&ann, json!({ "scopes": ["tokens:write", "a"], "expiresAt": end })).await;
    let mint = |body| {
        let jwt = world.service_jwt().user(&ann.id).claim("tokenId", pat.id.as_str()).sign();
        world.post("/tokens").by(&jwt).json(&body)
    };
    for body in [
        json!({ "name": "x" }),
        json!({ "name": "x", "scopes": ["a"] }),
        json!({ "name": "x", "scopes": ["b"], "expiresAt": end }),
        json!({ "name": "x", "scopes": ["a"], "expiresAt": end.plus(SECOND) }),
    ] {
        mint(body).await.fails(403, "FORBIDDEN");
    }
    mint(json!({ "name": "x", "scopes": ["a"], "expiresAt": end })).await.ok(201);
    world.clock.advance(10 * MINUTE);
    mint(json!({ "name": "x", "scopes": ["a"] })).await.fails(401, "INVALID_TOKEN");
}

#[tokio::test]
async fn a_call_by_a_token_that_is_gone_or_somebody_elses_is_refused() {
    let world = World::new().await;
    let (ann, bob) = (world.ann().await, world.bob().await);
    let (gone, bobs) = (world.token(&ann).await, world.token(&bob).await);
    world.delete(&format!("/tokens/{}", gone.id)).by(&ann.access).await.ok(200);
    for id in [&gone.id, &bobs.id, "unknown"] {
        let jwt = world.service_jwt().user(&ann.id).claim("tokenId", id).sign();
        world.get("/auth/me").by(&jwt).await.fails(401, "INVALID_TOKEN");
    }
}
