//! A token gets a new secret; the old one works for the grace.

use serde_json::json;

use crate::client::{Call, parallel};
use crate::world::{DAY, MINUTE, Person, SECOND, Token, World, token};

fn rotate(world: &World, who: &Person, which: &Token) -> Call {
    world.post(&format!("/tokens/{}/rotate", which.id)).by(&who.access)
}

fn with_grace(world: &World, who: &Person, which: &Token, seconds: i64) -> Call {
    rotate(world, who, which).json(&json!({ "graceSeconds": seconds }))
}

#[tokio::test]
async fn without_a_grace_the_old_secret_is_dead_at_once() {
    let world = World::new().await;
    let ann = world.ann().await;
    let end = world.now().plus(DAY);
    let old = world.token_with(&ann, json!({ "scopes": ["a:b"], "expiresAt": end })).await;
    assert!(world.is_valid(&old.secret).await);
    let created_at = world.now();
    world.clock.advance(MINUTE);

    let reply = rotate(&world, &ann, &old).await.ok(201);
    let new = token(&reply);
    assert_eq!(
        reply["token"],
        json!({ "id": old.id, "name": "a token", "token": new.secret, "scopes": ["a:b"], "expiresAt": end,
                "createdAt": created_at, "updatedAt": world.now(), "lastUsedAt": null })
    );
    assert_ne!(new.secret, old.secret);
    assert!(!world.is_valid(&old.secret).await);
    assert!(world.is_valid(&new.secret).await);

    let listed = world.get("/tokens").by(&ann.access).await.ok(200);
    assert_eq!(listed["tokens"].as_array().unwrap().len(), 1);
    assert_eq!(listed["tokens"][0]["prefix"], new.secret[..12]);
    assert_eq!(world.count_events(&ann, "token.rotated").await, 1);
    assert_eq!(world.count_events(&ann, "token.created").await, 1, "rotating is no creation");
}

#[tokio::test]
async fn within_the_grace_both_work_and_after_it_only_the_new_one() {
    let world = World::new().await;
    let ann = world.ann().await;
    let old = world.token(&ann).await;
    let new = token(&with_grace(&world, &ann, &old, 300).await.ok(201));
    for _ in 0..2 {
        assert!(world.is_valid(&old.secret).await);
        assert!(world.is_valid(&new.secret).await);
        world.clock.advance(299 * SECOND / 2);
    }
    world.clock.advance(SECOND);
    assert!(!world.is_valid(&old.secret).await);
    assert!(world.is_valid(&new.secret).await);
}

#[tokio::test]
async fn old_and_new_secret_share_one_window() {
    let world = World::new().await;
    let ann = world.ann().await;
    let old = world.token(&ann).await;
    let new = token(&with_grace(&world, &ann, &old, 300).await.ok(201));
    let remaining = async |secret: &str| world.validate(secret).await.ok(200)["rateLimit"]["remaining"].clone();
    assert_eq!(remaining(&old.secret).await, 999);
    assert_eq!(remaining(&new.secret).await, 998);
    assert_eq!(remaining(&old.secret).await, 997);
}

#[tokio::test]
async fn a_grace_is_at_most_seven_days() {
    let world = World::new().await;
    let ann = world.ann().await;
    let old = world.token(&ann).await;
    for seconds in [-1, 604_801, i64::MAX, i64::MIN] {
        with_grace(&world, &ann, &old, seconds).await.fails_at("graceSeconds");
    }
    for body in [r#"{"graceSeconds":"60"}"#, r#"{"graceSeconds":1.5}"#, r#"{"graceSeconds":1e30}"#] {
        rotate(&world, &ann, &old).body("application/json", body).await.fails_at("graceSeconds");
    }
    assert!(world.is_valid(&old.secret).await);
    assert_eq!(world.count_events(&ann, "token.rotated").await, 0);
    let week = token(&with_grace(&world, &ann, &old, 604_800).await.ok(201));
    world.clock.advance(7 * DAY - SECOND);
    assert!(world.is_valid(&old.secret).await && world.is_valid(&week.secret).await);
}

#[tokio::test]
async fn rotating_again_without_a_grace_cuts_the_first_one() {
    let world = World::new().await;
    let ann = world.ann().await;
    let first = world.token(&ann).await;
    let second = token(&with_grace(&world, &ann, &first, 3600).await.ok(201));
    assert!(world.is_valid(&first.secret).await);
    let third = token(&rotate(&world, &ann, &first).json(&json!({})).await.ok(201));
    for dead in [&first, &second] {
        assert!(!world.is_valid(&dead.secret).await);
    }
    assert!(world.is_valid(&third.secret).await);
}

#[tokio::test]
async fn deleting_within_the_grace_kills_both() {
    let world = World::new().await;
    let ann = world.ann().await;
    let old = world.token(&ann).await;
    let new = token(&with_grace(&world, &ann, &old, 3600).await.ok(201));
    assert!(world.is_valid(&old.secret).await && world.is_valid(&new.secret).await);
    world.delete(&format!("/tokens/{}", old.id)).by(&ann.access).await.ok(200);
    assert!(!world.is_valid(&old.secret).await);
    assert!(!world.is_valid(&new.secret).await);
}

#[tokio::test]
async fn a_grace_does_not_outlive_the_token() {
    let world = World::new().await;
    let ann = world.ann().await;
    let old = world.token_with(&ann, json!({ "expiresAt": world.now().plus(MINUTE) })).await;
    let new = token(&with_grace(&world, &ann, &old, 3600).await.ok(201));
    world.clock.advance(MINUTE);
    assert!(!world.is_valid(&old.secret).await);
    assert!(!world.is_valid(&new.secret).await);
}

#[tokio::test]
async fn a_token_can_rotate_itself() {
    let world = World::new().await;
    let ann = world.ann().await;
    let old = world.scoped(&ann, &["tokens:write", "a:b"]).await;
    let new = token(&world.post(&format!("/tokens/{}/rotate", old.id)).by(&old.secret).await.ok(201));
    assert!(!world.is_valid(&old.secret).await);
    assert!(world.is_valid(&new.secret).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_rotations_leave_one_secret() {
    let world = World::new().await;
    let ann = world.ann().await;
    let old = world.token(&ann).await;
    for _ in 0..5 {
        let replies = parallel(10, |_| rotate(&world, &ann, &old).into_future()).await;
        let mut valid = 0;
        for reply in replies {
            valid += u32::from(world.is_valid(&token(&reply.ok(201)).secret).await);
        }
        assert_eq!(valid, 1);
        assert!(!world.is_valid(&old.secret).await);
    }
}

#[tokio::test]
async fn rotations_count_as_creations_at_every_door() {
    let world = World::with(|setup| setup.config.limits.creations_per_day = 4).await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await;
    let first = world.now();
    world.clock.advance(MINUTE);
    let by_session = token(&rotate(&world, &ann, &pat).await.ok(201));
    let path = format!("/tokens/{}/rotate", pat.id);
    let by_itself = token(&world.post(&path).by(&by_session.secret).await.ok(201));
    let jwt = world.service_jwt().user(&ann.id).sign();
    let limits = async || world.get("/tokens/limits").by(&ann.access).await.ok(200)["rateLimit"].clone();
    assert_eq!(limits().await, json!({ "limit": 4, "remaining": 1, "resetAt": first.plus(DAY) }));
    let by_service = token(&world.post(&path).by(&jwt).await.ok(201));
    assert!(!world.is_valid(&by_itself.secret).await);
    assert_eq!(limits().await["remaining"], 0);

    let creation = world.post("/tokens").by(&ann.access).json(&json!({ "name": "x" })).await;
    let mut refused = creation.fails(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(refused["resetAt"], json!(first.plus(DAY)));
    refused.as_object_mut().unwrap().remove("requestId");
    for credential in [&ann.access, &by_service.secret, &jwt] {
        let mut body = world.post(&path).by(credential).await.fails(429, "RATE_LIMIT_EXCEEDED");
        body.as_object_mut().unwrap().remove("requestId");
        assert_eq!(body, refused, "as a creation");
    }
    assert!(world.is_valid(&by_service.secret).await);
    assert_eq!(world.count_events(&ann, "token.rotated").await, 3);

    world.clock.advance(DAY - MINUTE);
    let ann = world.ann().await;
    rotate(&world, &ann, &pat).await.ok(201);
    rotate(&world, &ann, &pat).await.fails(429, "RATE_LIMIT_EXCEEDED");
}

/// By REST too: the token ends before the grace does, so that what it makes would not live longer than its old secret.
#[tokio::test]
async fn a_replaced_secret_does_not_take_its_token_over() {
    let world = World::new().await;
    let ann = world.ann().await;
    for (wish, grace) in [(json!({}), 3600), (json!({ "expiresAt": world.now().plus(30 * MINUTE) }), 3600)] {
        let old = world.token_with(&ann, wish).await;
        let other = world.token_with(&ann, json!({ "expiresAt": world.now().plus(MINUTE) })).await;
        let new = token(&with_grace(&world, &ann, &old, grace).await.ok(201));
        let before = world.count("SELECT COUNT(*) FROM audit_events WHERE type <> 'token.used'").await;
        for which in [&old, &other] {
            world.post(&format!("/tokens/{}/rotate", which.id)).by(&old.secret).await.fails(403, "FORBIDDEN");
        }
        assert!(world.is_valid(&new.secret).await && world.is_valid(&other.secret).await);
        assert_eq!(world.count("SELECT COUNT(*) FROM audit_events WHERE type <> 'token.used'").await, before);
        token(&world.post(&format!("/tokens/{}/rotate", old.id)).by(&new.secret).await.ok(201));
    }
}

/// Whoever holds a copy of the secret and calls at the same moment as its owner is before or after them: what one of them
/// was told is not dead by the other's call.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_rotations_by_one_secret_one_succeeds() {
    let world = World::new().await;
    let ann = world.ann().await;
    let mut present = world.token(&ann).await;
    for round in 0..20 {
        let path = format!("/tokens/{}/rotate", present.id);
        let replies = parallel(8, |_| world.post(&path).by(&present.secret).into_future()).await;
        let (rotated, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 201);
        assert_eq!(rotated.len(), 1, "round {round}");
        for reply in refused {
            assert!(matches!(reply.status, 401 | 403), "round {round}: {}", reply.text);
        }
        present = token(&rotated[0].json);
        assert!(world.is_valid(&present.secret).await, "round {round}");
    }
}
