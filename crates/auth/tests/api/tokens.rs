//! Creating, listing and deleting personal access tokens.

use serde_json::{Value, json};

use crate::world::{DAY, MINUTE, SECOND, World, token};

#[tokio::test]
async fn a_created_token_is_shown_once_and_works() {
    let world = World::new().await;
    let ann = world.ann().await;
    let request = json!({ "name": "  CI deploy_1.2-x ", "scopes": ["projects:read", "projects:read", "*"] });
    let reply = world.post("/tokens").by(&ann.access).json(&request).await.ok(201);
    let created = token(&reply);
    let now = world.now().to_string();
    assert_eq!(
        reply,
        json!({ "success": true, "token": {
            "id": created.id, "name": "CI deploy_1.2-x", "token": created.secret, "scopes": ["projects:read", "*"],
            "expiresAt": null, "createdAt": now, "updatedAt": now, "lastUsedAt": null,
        }})
    );
    assert!(created.secret.starts_with("af_live_") && created.secret.len() == 46, "{}", created.secret);
    assert!(domain::token::is_well_formed(&created.secret));
    assert!(world.is_valid(&created.secret).await);

    let listed = world.get("/tokens").by(&ann.access).await.ok(200);
    assert_eq!(
        listed,
        json!({ "tokens": [{
            "id": created.id, "name": "CI deploy_1.2-x", "prefix": &created.secret[..12],
            "scopes": ["projects:read", "*"], "expiresAt": null, "lastUsedAt": null, "createdAt": now, "updatedAt": now,
        }]})
    );
    assert_eq!(world.count_events(&ann, "token.created").await, 1);
}

#[tokio::test]
async fn tokens_are_listed_newest_first_and_only_ones_own() {
    let world = World::new().await;
    let (ann, bob) = (world.ann().await, world.bob().await);
    assert_eq!(world.token_ids(&ann).await, [""; 0]);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.insert(0, world.token(&ann).await.id);
        world.clock.advance(SECOND);
    }
    world.token(&bob).await;
    assert_eq!(world.token_ids(&ann).await, ids);
    assert_eq!(world.token_ids(&bob).await.len(), 1);
}

#[tokio::test]
async fn the_older_command_lines_name_for_create() {
    let world = World::new().await;
    let ann = world.ann().await;
    let reply = world.post("/auth/pat/create").by(&ann.access).json(&json!({ "name": "cli" })).await.ok(201);
    let secret = reply["token"].as_str().unwrap();
    assert_eq!(reply, json!({ "success": true, "token": secret, "id": world.token_ids(&ann).await[0] }));
    assert!(secret.starts_with("af_live_"));
    assert!(world.is_valid(secret).await);

    let bad = json!({ "name": "<b>" });
    world.post("/auth/pat/create").by(&ann.access).json(&bad).await.fails(400, "INVALID_TOKEN_NAME");
    world.post("/auth/pat/create").json(&json!({ "name": "cli" })).await.fails(401, "UNAUTHORIZED");
    assert_eq!(world.token_ids(&ann).await.len(), 1);
}

#[tokio::test]
async fn names_follow_their_grammar() {
    let world = World::new().await;
    let ann = world.ann().await;
    let create = |body: &Value| world.post("/tokens").by(&ann.access).json(body);
    for name in ["", "   ", "a\nb", "naïve", "a/b", "<b>", "a\0", "😀", &"x".repeat(101), &"x".repeat(50_000)] {
        create(&json!({ "name": name })).await.fails(400, "INVALID_TOKEN_NAME");
    }
    for body in [json!({}), json!({ "name": null }), json!({ "name": 7 }), json!({ "name": ["x"] })] {
        create(&body).await.fails_at("name");
    }
    assert_eq!(world.token_ids(&ann).await, [""; 0]);
    assert_eq!(world.count_events(&ann, "token.created").await, 0);
    for name in ["x", &"x".repeat(100), " a.b_c-d 9 "] {
        create(&json!({ "name": name })).await.ok(201);
    }
}

#[tokio::test]
async fn an_expiry_is_milliseconds_or_a_time_or_nothing() {
    let world = World::new().await;
    let ann = world.ann().await;
    let soon = world.now().plus(MINUTE);
    for given in [
        json!(soon.as_millis()),
        json!("2025-11-08T12:01:00.000Z"),
        json!("2025-11-08T12:01:00Z"),
        json!("2025-11-08T13:01:00+01:00"),
    ] {
        let body = json!({ "name": "x", "expiresAt": given });
        let reply = world.post("/tokens").by(&ann.access).json(&body).await.ok(201);
        assert_eq!(reply["token"]["expiresAt"], "2025-11-08T12:01:00.000Z", "{given}");
    }
    let body = json!({ "name": "x", "expiresAt": null, "scopes": null });
    let reply = world.post("/tokens").by(&ann.access).json(&body).await.ok(201);
    assert_eq!((&reply["token"]["expiresAt"], &reply["token"]["scopes"]), (&json!(null), &json!(["*"])));
}

#[tokio::test]
async fn an_expiry_is_in_the_future_and_within_ten_years() {
    let world = World::new().await;
    let ann = world.ann().await;
    let now = world.now().as_millis();
    let create = |expires_at: Value| {
        world.post("/tokens").by(&ann.access).json(&json!({ "name": "x", "expiresAt": expires_at }))
    };
    for bad in [
        json!(now),
        json!(now - 1000),
        json!(0),
        json!(-1),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e30),
        json!(1.5),
        json!(now + 3654 * 86_400_000),
        json!("2025-11-08T12:00:00Z"),
        json!("1969-01-01T00:00:00Z"),
        json!("9999-01-01T00:00:00Z"),
        json!("2026-11-08"),
        json!("2026-11-08T12:00:00"),
        json!("soon"),
        json!(""),
        json!((now + 60_000).to_string()),
        json!(true),
        json!({}),
        json!([now + 60_000]),
    ] {
        create(bad).await.fails_at("expiresAt");
    }
    assert_eq!(world.token_ids(&ann).await, [""; 0]);
    create(json!(now + 1000)).await.ok(201);
    create(json!("2035-11-08T12:00:00Z")).await.ok(201);
}

#[tokio::test]
async fn scopes_follow_their_grammar_and_are_one_to_thirty_two() {
    let world = World::new().await;
    let ann = world.ann().await;
    let create = |scopes: Value| world.post("/tokens").by(&ann.access).json(&json!({ "name": "x", "scopes": scopes }));
    let many = |count: usize| (0..count).map(|number| format!("s{number}")).collect::<Vec<_>>();

    create(json!([])).await.fails_at("scopes");
    create(json!(many(33))).await.fails_at("scopes");
    create(json!("*")).await.fails_at("scopes");
    create(json!({ "0": "*" })).await.fails_at("scopes");
    create(json!(["ok", "Not ok"])).await.fails_at("scopes[1]");
    create(json!(["ok", "*", null])).await.fails_at("scopes[2]");
    for bad in ["", "**", "a:", ":a", "*:a", "a:*:b", "A", "a b", "ä", "a\n", &"a".repeat(300)] {
        create(json!([bad])).await.fails_at("scopes[0]");
    }
    assert_eq!(world.token_ids(&ann).await, [""; 0]);
    create(json!(many(32))).await.ok(201);
    create(json!(["*", "a", "tokens:read", "projects:*", "a1_.-:b:c"])).await.ok(201);
}

#[tokio::test]
async fn a_deleted_token_is_dead_when_the_reply_is_out() {
    let world = World::new().await;
    let ann = world.ann().await;
    let (kept, gone) = (world.token(&ann).await, world.token(&ann).await);
    assert!(world.is_valid(&gone.secret).await);

    let path = format!("/tokens/{}", gone.id);
    let reply = world.delete(&path).by(&ann.access).await.ok(200);
    assert_eq!(reply, json!({ "success": true, "message": "The token has been deleted" }));
    assert!(!world.is_valid(&gone.secret).await);
    world.get("/auth/me").by(&gone.secret).await.fails(401, "INVALID_TOKEN");
    world.delete(&path).by(&ann.access).await.fails(404, "NOT_FOUND");
    world.post(&format!("{path}/rotate")).by(&ann.access).await.fails(404, "NOT_FOUND");

    assert_eq!(world.token_ids(&ann).await, [kept.id.as_str()]);
    assert!(world.is_valid(&kept.secret).await);
    assert_eq!(world.count_events(&ann, "token.deleted").await, 1);
}

#[tokio::test]
async fn somebody_elses_token_is_not_there_and_still_works() {
    let world = World::new().await;
    let (ann, bob) = (world.ann().await, world.bob().await);
    let anns = world.token(&ann).await;
    let bobs = world.token(&bob).await;
    assert!(world.is_valid(&anns.secret).await);

    let path = format!("/tokens/{}", anns.id);
    for credential in [&bob.access, &bobs.secret, &world.service_jwt().user(&bob.id).sign()] {
        world.delete(&path).by(credential).await.fails(404, "NOT_FOUND");
        world.post(&format!("{path}/rotate")).by(credential).await.fails(404, "NOT_FOUND");
    }
    assert!(world.is_valid(&anns.secret).await);
    for who in [&ann, &bob] {
        assert_eq!(world.count_events(who, "token.deleted").await, 0);
        assert_eq!(world.count_events(who, "token.rotated").await, 0);
    }
}

#[tokio::test]
async fn what_cannot_be_an_id_names_nothing() {
    let world = World::new().await;
    let ann = world.ann().await;
    for id in ["x", "..%2F..", "a%20b", "%00", "%F0%9F%98%80", "%FF", &"x".repeat(2000)] {
        world.delete(&format!("/tokens/{id}")).by(&ann.access).await.fails(404, "NOT_FOUND");
        world.post(&format!("/tokens/{id}/rotate")).by(&ann.access).await.fails(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn every_route_wants_a_credential() {
    let world = World::new().await;
    let ann = world.ann().await;
    let kept = world.token(&ann).await;
    world.get("/tokens").await.fails(401, "UNAUTHORIZED");
    world.get("/tokens/limits").await.fails(401, "UNAUTHORIZED");
    world.post("/tokens").json(&json!({ "name": "x" })).await.fails(401, "UNAUTHORIZED");
    world.delete(&format!("/tokens/{}", kept.id)).await.fails(401, "UNAUTHORIZED");
    world.post(&format!("/tokens/{}/rotate", kept.id)).await.fails(401, "UNAUTHORIZED");
    assert_eq!(world.token_ids(&ann).await, [kept.id]);
    assert!(world.is_valid(&kept.secret).await);
}

#[tokio::test]
async fn an_expired_token_is_invalid_and_stays_listed() {
    let world = World::new().await;
    let ann = world.ann().await;
    let short = world.token_with(&ann, json!({ "expiresAt": world.now().plus(MINUTE) })).await;
    world.clock.advance(MINUTE - SECOND);
    assert!(world.is_valid(&short.secret).await);
    world.clock.advance(SECOND);
    assert!(!world.is_valid(&short.secret).await);
    world.get("/auth/me").by(&short.secret).await.fails(401, "TOKEN_EXPIRED");
    assert_eq!(world.token_ids(&ann).await, [short.id]);
    world.clock.advance(DAY);
    let ann = world.ann().await;
    assert_eq!(world.token_ids(&ann).await.len(), 1);
}
