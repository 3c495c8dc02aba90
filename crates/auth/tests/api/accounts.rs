//! Devices, profile, ways in, and the end of an account.

use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::client::parallel;
use crate::world::World;

#[tokio::test]
async fn other_devices_are_ended_at_once() {
    let world = World::new().await;
    let (ann, other, bob) = (world.ann().await, world.ann().await, world.bob().await);
    let listed = world.get("/auth/sessions").by(&ann.access).await.ok(200);
    let sessions = listed["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2, "{listed}");
    let id = sessions.iter().find(|session| session["current"] == false).unwrap()["id"].as_str().unwrap().to_owned();
    world.delete(&format!("/auth/sessions/{id}")).by(&bob.access).await.fails(404, "NOT_FOUND");
    for path in ["/auth/sessions/%FF", "/auth/sessions/%00", "/account/methods/%FF"] {
        world.delete(path).by(&ann.access).await.fails(404, "NOT_FOUND");
    }
    assert!(world.is_valid(&other.access).await);
    world.delete(&format!("/auth/sessions/{id}")).by(&ann.access).await.ok(200);
    assert!(!world.is_valid(&other.access).await);
    world.refresh(&other.refresh).await.fails(401, "SESSION_REVOKED");

    let third = world.ann().await;
    assert_eq!(world.delete("/auth/sessions").by(&ann.access).await.ok(200)["ended"], 1);
    assert!(!world.is_valid(&third.access).await && world.is_valid(&ann.access).await);
    world.refresh(&third.refresh).await.fails(401, "SESSION_REVOKED");
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 3, "its row goes beside the requests");
    while world.auth.remove_what_is_left().await.unwrap() {}
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 2);
    assert!(world.is_valid(&bob.access).await);
}

#[tokio::test]
async fn a_profile_is_changed_within_bounds() {
    let world = World::new().await;
    let ann = world.ann().await;
    let patch = |body| world.call(Method::PATCH, "/account/profile").by(&ann.access).json(&body);
    assert_eq!(patch(json!({ "displayName": "Ann" })).await.ok(200)["user"]["displayName"], "Ann");
    patch(json!({ "displayName": "x".repeat(101) })).await.fails_at("displayName");
    patch(json!({ "displayName": "a\u{0}b" })).await.fails_at("displayName");
    patch(json!({ "displayName": null, "avatarUrl": "javascript:alert(1)" })).await.fails_at("avatarUrl");
    patch(json!({ "avatarUrl": "https://example.com/\0" })).await.fails_at("avatarUrl");
    assert_eq!(world.get("/account/profile").by(&ann.access).await.ok(200)["user"]["displayName"], "Ann");
    assert!(patch(json!({ "displayName": null })).await.ok(200)["user"]["displayName"].is_null());
    let token = world.token(&ann).await;
    world.get("/account/profile").by(&token.secret).await.fails(403, "FORBIDDEN");
    world.delete("/account/profile").by(&token.secret).await.fails(403, "FORBIDDEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_way_in_stays_also_in_parallel() {
    for _ in 0..10 {
        let world = World::new().await;
        let ann = world.ann().await;
        let sql = "INSERT INTO auth_methods (id, app_id, user_id, type, provider, identifier, verified, is_primary, \
                   created_at) SELECT 'second', app_id, id, 'sms', '', '+15550100', 1, 0, 0 FROM users";
        world.by_hand(sql).await;
        let listed = world.get("/account/methods").by(&ann.access).await.ok(200);
        let ids: Vec<String> = listed["methods"]
            .as_array()
            .unwrap()
            .iter()
            .map(|method| method["id"].as_str().unwrap().to_owned())
            .collect();
        world.post("/account/methods/second/set-primary").by(&ann.access).await.ok(200);
        let replies = parallel(2, |number| {
            let call = world.delete(&format!("/account/methods/{}", ids[number])).by(&ann.access);
            async move { call.await.status }
        })
        .await;
        assert_eq!(replies.iter().filter(|status| **status == 200).count(), 1, "{replies:?}");
        assert_eq!(world.count("SELECT COUNT(*) FROM auth_methods WHERE is_primary = 1").await, 1);
    }
}

#[tokio::test]
async fn a_deleted_account_leaves_its_id_in_the_audit_log_and_nothing_else() {
    let world = World::new().await;
    let (ann, bob) = (world.ann().await, world.bob().await);
    let token = world.token(&ann).await;
    assert!(world.is_valid(&token.secret).await && world.is_valid(&ann.access).await);
    world.auth.seal().await.unwrap();
    world.request_code("ann@example.com").await.ok(200);
    world.delete("/account/profile").by(&ann.access).await.ok(200);
    assert!(!world.is_valid(&token.secret).await && !world.is_valid(&ann.access).await);
    world.refresh(&ann.refresh).await.fails(401, "SESSION_REVOKED");
    world.get("/auth/me").by(&ann.access).await.fails(401, "SESSION_REVOKED");
    // What she leaves goes beside the requests; her row a minute later, with what came late.
    while world.auth.remove_what_is_left().await.unwrap() {}
    world.clock.advance(Duration::from_mins(1));
    while world.auth.remove_what_is_left().await.unwrap() {}
    for table in ["sessions", "personal_access_tokens", "token_secrets", "auth_methods", "users"] {
        let count = world.count(&format!("SELECT COUNT(*) FROM {table}")).await;
        assert_eq!(count, i64::from(!table.contains("token")), "{table}: only Bob's");
    }
    // Her events are there, under her id, and say nothing else of her; the chain is whole all the same.
    let mine = |condition: &str| {
        let sql = format!("SELECT COUNT(*) FROM audit_events WHERE user_id = '{}' AND {condition}", ann.id);
        async { world.count(&{ sql }).await }
    };
    assert_eq!(mine("type = 'user.deleted'").await, 1);
    assert!(mine("seq IS NOT NULL").await > 2 && mine("seq IS NULL").await > 0, "the code was asked for since");
    let kept = "ip IS NOT NULL OR user_agent IS NOT NULL OR request_id IS NOT NULL OR metadata <> '{}'";
    assert_eq!(mine(&format!("({kept})")).await, 0);
    assert_ne!(world.count(&format!("SELECT COUNT(*) FROM audit_events WHERE {kept}")).await, 0, "Bob's are whole");
    world.auth.seal().await.unwrap();
    let report = world.store.verify_chain().await.unwrap();
    assert_eq!((report.problem, report.unsealed), (None, 0));
    assert!(world.is_valid(&bob.access).await);
    assert_ne!(world.ann().await.id, ann.id, "whoever proves the mailbox again gets a new account");
}
