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

/// Which secret it was that validated.
async fn secret_id(world: &World, secret: &str) -> String {
    let body = json!({ "token": secret, "withBounds": true });
    let reply = world.post("/tokens/validate").by(&world.service_jwt().sign()).json(&body).await.ok(200);
    reply["bounds"]["secretId"].as_str().unwrap().to_owned()
}

async fn rotated(world: &World, owner: &Person, id: &str, grace: u32) -> String {
    let path = format!("/tokens/{id}/rotate");
    let reply = world.post(&path).by(&owner.access).json(&json!({ "graceSeconds": grace })).await.ok(201);
    reply["token"]["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn validation_tells_the_bounds_to_whoever_asks_for_them() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await;
    let form = "application/x-www-form-urlencoded";
    let exchange = async |audience: &str| {
        let form_body = format!(
            "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={}&subject_token_type=\
             urn:ietf:params:oauth:token-type:access_token{audience}",
            pat.secret
        );
        let reply = world.post("/oauth/token").body(form, form_body).await.ok(200);
        reply["access_token"].as_str().unwrap().to_owned()
    };
    let id = secret_id(&world, &pat.secret).await;
    for (credential, audience, expected) in [
        (pat.secret.clone(), None, json!({ "secretId": id })),
        (ann.access.clone(), None, json!({})),
        (exchange("").await, None, json!({ "secretId": id })),
        (exchange("&audience=a%22%5Cb").await, Some(r#"a"\b"#), json!({ "secretId": id, "audience": [r#"a"\b"#] })),
        (exchange("&audience=a&audience=b").await, Some("b"), json!({ "secretId": id, "audience": ["a", "b"] })),
    ] {
        let mut body = json!({ "token": credential, "audience": audience });
        let mut ask = async |with_bounds: bool, with_user: bool| {
            body["withBounds"] = with_bounds.into();
            body["withUser"] = with_user.into();
            world.post("/tokens/validate").by(&world.service_jwt().sign()).json(&body).await.ok(200)
        };
        assert_eq!(ask(true, false).await["bounds"], expected);
        let both = ask(true, true).await;
        assert_eq!((&both["bounds"], &both["user"]["id"]), (&expected, &json!(ann.id)));
        let neither = ask(false, false).await;
        assert!(neither.get("bounds").is_none() && neither.get("user").is_none(), "{neither}");
    }
}

#[tokio::test]
async fn a_call_by_a_replaced_secret_makes_nothing() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await;
    let old = secret_id(&world, &pat.secret).await;
    let present = rotated(&world, &ann, &pat.id, 3_600).await;
    let new = secret_id(&world, &present).await;
    assert_ne!(old, new);
    let call = |secret: Option<&str>| {
        let jwt = world.service_jwt().user(&ann.id).claim("tokenId", pat.id.as_str());
        secret.map_or(jwt.clone(), |secret| jwt.claim("secretId", secret))
    };
    let path = format!("/tokens/{}/rotate", pat.id);
    let end = world.now().plus(60 * MINUTE);
    // An older backend says not which it was: it is held to the one that ends first.
    for secret in [Some(old.as_str()), None] {
        let jwt = call(secret).sign();
        world.get("/tokens").by(&jwt).await.ok(200);
        world.post(&path).by(&jwt).await.fails(403, "FORBIDDEN");
        world.post("/tokens").by(&jwt).json(&json!({ "name": "x" })).await.fails(403, "FORBIDDEN");
        for ends in [end, world.now().plus(SECOND)] {
            let little = json!({ "name": "x", "expiresAt": ends });
            world.post("/tokens").by(&jwt).json(&little).await.fails(403, "FORBIDDEN");
        }
        assert!(world.is_valid(&present).await);
    }
    assert_eq!(world.count_events(&ann, "token.rotated").await, 1);
    assert_eq!(world.count_events(&ann, "token.created").await, 1);

    world.clock.advance(60 * MINUTE);
    let ann = world.ann().await;
    world.get("/tokens").by(&call(Some(&old)).sign()).await.fails(401, "INVALID_TOKEN");
    // None but the present one is left that it could have been.
    for secret in [Some(new.as_str()), None] {
        let newest = world.post(&path).by(&call(secret).sign()).await;
        if secret.is_some() {
            newest.ok(201);
            world.get("/tokens").by(&call(secret).sign()).await.fails(401, "INVALID_TOKEN");
        } else {
            newest.ok(201);
        }
    }
    assert_eq!(world.count_events(&ann, "token.rotated").await, 3);
}

/// Whatever the JWT says, the database has the last word.
#[tokio::test]
async fn a_call_by_a_credential_that_has_ended_is_refused() {
    let world = World::new().await;
    let (ann, bob) = (world.ann().await, world.bob().await);
    let session_of =
        |person: &Person| crate::world::decode_jwt(&person.access).1["sessionId"].as_str().unwrap().to_owned();
    let (session, bobs_session) = (session_of(&ann), session_of(&bob));
    let [pat, other] = [world.token(&ann).await, world.token(&ann).await];
    let [secret, others] = [secret_id(&world, &pat.secret).await, secret_id(&world, &other.secret).await];
    let bobs = secret_id(&world, &world.token(&bob).await.secret).await;
    let by_token = || world.service_jwt().user(&ann.id).claim("tokenId", pat.id.as_str());
    let by_session = || world.service_jwt().user(&ann.id).claim("sessionId", session.as_str());
    let (over, future) = (json!(world.now()), json!(world.now().plus(SECOND)));

    for good in [
        by_token().claim("secretId", secret.as_str()),
        by_token().claim("secretId", secret.as_str()).claim("expiresAt", future.clone()),
        by_session(),
        by_session().claim("expiresAt", future.clone()),
        world.service_jwt().user(&ann.id),
    ] {
        world.get("/tokens").by(&good.sign()).await.ok(200);
    }
    let refused = [
        by_token().claim("secretId", others.as_str()),
        by_token().claim("secretId", bobs.as_str()),
        by_token().claim("secretId", "unknown"),
        by_token().claim("secretId", secret.as_str()).claim("expiresAt", over.clone()),
        by_token().claim("secretId", secret.as_str()).claim("sessionId", bobs_session.as_str()),
        by_token().claim("secretId", secret.as_str()).claim("audience", json!(["https://api.example.com"])),
        by_token().claim("secretId", secret.as_str()).claim("audience", json!([])),
        by_session().claim("expiresAt", over),
        world.service_jwt().user(&ann.id).claim("sessionId", bobs_session.as_str()),
        world.service_jwt().user(&ann.id).claim("sessionId", "unknown"),
        // Bounds of a token that nobody names.
        world.service_jwt().user(&ann.id).claim("secretId", secret.as_str()),
        world.service_jwt().user(&ann.id).claim("scopes", json!(["tokens:read"])),
        by_session().claim("scopes", json!(["tokens:read"])),
        by_session().claim("audience", json!(["https://api.example.com"])),
    ];
    for jwt in refused {
        let jwt = jwt.sign();
        world.get("/tokens").by(&jwt).await.fails(401, "INVALID_TOKEN");
        world.post("/tokens").by(&jwt).json(&json!({ "name": "x" })).await.fails(401, "INVALID_TOKEN");
        world.delete(&format!("/tokens/{}", other.id)).by(&jwt).await.fails(401, "INVALID_TOKEN");
    }
    assert_eq!(world.token_ids(&ann).await.len(), 2);

    // What the JWT says may be less than what the database knows.
    let soon = by_token().claim("secretId", secret.as_str()).claim("expiresAt", future.clone()).sign();
    world.post("/tokens").by(&soon).json(&json!({ "name": "x" })).await.fails(403, "FORBIDDEN");
    world.post("/tokens").by(&soon).json(&json!({ "name": "x", "expiresAt": future })).await.ok(201);

    rotated(&world, &ann, &pat.id, 0).await;
    world.get("/tokens").by(&by_token().claim("secretId", secret).sign()).await.fails(401, "INVALID_TOKEN");
    world.post("/auth/logout").by(&ann.access).await.ok(200);
    world.get("/tokens").by(&by_session().sign()).await.fails(401, "INVALID_TOKEN");
    world.post("/tokens").by(&by_session().sign()).json(&json!({ "name": "x" })).await.fails(401, "INVALID_TOKEN");

    let others = world.service_jwt().user(&ann.id).claim("tokenId", other.id.as_str()).claim("secretId", others);
    world.get("/tokens").by(&others.sign()).await.ok(200);
    world.by_hand(&format!("UPDATE users SET disabled_at = 1 WHERE id = '{}'", ann.id)).await;
    for jwt in [others, world.service_jwt().user(&ann.id)] {
        world.get("/tokens").by(&jwt.sign()).await.fails(401, "INVALID_TOKEN");
    }
}

#[tokio::test]
async fn a_session_that_is_over_acts_for_nobody() {
    let world = World::new().await;
    let ann = world.ann().await;
    let session = crate::world::decode_jwt(&ann.access).1["sessionId"].as_str().unwrap().to_owned();
    let jwt = || world.service_jwt().user(&ann.id).claim("sessionId", session.as_str()).sign();
    world.clock.advance(30 * crate::world::DAY - SECOND);
    world.get("/tokens").by(&jwt()).await.ok(200);
    world.clock.advance(SECOND);
    world.get("/tokens").by(&jwt()).await.fails(401, "INVALID_TOKEN");
}
