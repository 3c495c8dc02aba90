//! How many tokens one may create and have, exactly.

use serde_json::{Value, json};

use crate::client::{Call, parallel};
use crate::world::{DAY, MINUTE, Person, SECOND, World};

async fn world(per_day: u32, active: u32) -> World {
    World::with(|setup| {
        setup.config.limits.creations_per_day = per_day;
        setup.config.limits.max_active_tokens = active;
    })
    .await
}

fn create(world: &World, who: &Person) -> Call {
    world.post("/tokens").by(&who.access).json(&json!({ "name": "x" }))
}

async fn limits(world: &World, who: &Person) -> Value {
    world.get("/tokens/limits").by(&who.access).await.ok(200)
}

#[tokio::test]
async fn the_limits_are_shown_and_reading_consumes_nothing() {
    let world = world(5, 10).await;
    let ann = world.ann().await;
    let untouched = json!({
        "rateLimit": { "limit": 5, "remaining": 5, "resetAt": world.now().plus(DAY) },
        "tokenLimit": { "active": 0, "max": 10 },
    });
    for _ in 0..3 {
        assert_eq!(limits(&world, &ann).await, untouched);
    }
    let first = world.now();
    world.token_with(&ann, json!({ "expiresAt": first.plus(2 * MINUTE) })).await;
    world.clock.advance(MINUTE);
    let second = world.token(&ann).await;
    let state = |remaining: u32, active: u32| {
        json!({ "rateLimit": { "limit": 5, "remaining": remaining, "resetAt": first.plus(DAY) },
                "tokenLimit": { "active": active, "max": 10 } })
    };
    assert_eq!(limits(&world, &ann).await, state(3, 2));
    world.clock.advance(MINUTE);
    assert_eq!(limits(&world, &ann).await, state(3, 1), "an expired token is not active");
    world.delete(&format!("/tokens/{}", second.id)).by(&ann.access).await.ok(200);
    assert_eq!(limits(&world, &ann).await, state(3, 0), "deleting gives no creation back");
}

#[tokio::test]
async fn creations_are_limited_in_any_24_hours() {
    let world = world(3, 100).await;
    let ann = world.ann().await;
    let bob = world.bob().await;
    for _ in 0..3 {
        let reply = create(&world, &ann).await.ok(201);
        let id = reply["token"]["id"].as_str().unwrap();
        world.delete(&format!("/tokens/{id}")).by(&ann.access).await.ok(200);
        world.clock.advance(MINUTE);
    }
    let reset_at = world.now().minus(3 * MINUTE).plus(DAY);
    let jwt = world.service_jwt().user(&ann.id).sign();
    for refused in [
        create(&world, &ann).await,
        world.post("/tokens").by(&jwt).json(&json!({ "name": "x" })).await,
        world.post("/auth/pat/create").by(&ann.access).json(&json!({ "name": "x" })).await,
    ] {
        let body = refused.fails(429, "RATE_LIMIT_EXCEEDED");
        assert_eq!((&body["resetAt"], &body["retryAfter"]), (&json!(reset_at), &json!(86_400 - 180)));
    }
    assert_eq!(world.token_ids(&ann).await, [""; 0]);
    assert_eq!(world.count_events(&ann, "token.created").await, 3);
    create(&world, &bob).await.ok(201);

    world.clock.advance(DAY - 3 * MINUTE - SECOND);
    let ann = world.ann().await;
    create(&world, &ann).await.fails(429, "RATE_LIMIT_EXCEEDED");
    world.clock.advance(SECOND);
    create(&world, &ann).await.ok(201);
    create(&world, &ann).await.fails(429, "RATE_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn active_tokens_are_limited() {
    let world = world(100, 3).await;
    let ann = world.ann().await;
    let bob = world.bob().await;
    let first = world.token(&ann).await;
    world.token(&ann).await;
    world.token_with(&ann, json!({ "expiresAt": world.now().plus(MINUTE) })).await;
    create(&world, &ann).await.fails(400, "MAX_TOKENS_EXCEEDED");
    assert_eq!(world.token_ids(&ann).await.len(), 3);
    create(&world, &bob).await.ok(201);

    world.delete(&format!("/tokens/{}", first.id)).by(&ann.access).await.ok(200);
    create(&world, &ann).await.ok(201);
    create(&world, &ann).await.fails(400, "MAX_TOKENS_EXCEEDED");
    world.clock.advance(MINUTE);
    create(&world, &ann).await.ok(201);
    create(&world, &ann).await.fails(400, "MAX_TOKENS_EXCEEDED");
}

#[tokio::test]
async fn an_invalid_wish_counts_for_nothing() {
    let world = world(1, 1).await;
    let ann = world.ann().await;
    world.post("/tokens").by(&ann.access).json(&json!({ "name": "" })).await.fails(400, "INVALID_TOKEN_NAME");
    world.post("/tokens").by(&ann.access).json(&json!({ "name": "x", "expiresAt": 1 })).await.fails_at("expiresAt");
    create(&world, &ann).await.ok(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_creations_one_below_a_limit_one_succeeds() {
    for (per_day, active, refusal) in [(3, 100, (429, "RATE_LIMIT_EXCEEDED")), (100, 3, (400, "MAX_TOKENS_EXCEEDED"))] {
        for _ in 0..5 {
            let world = world(per_day, active).await;
            let ann = world.ann().await;
            world.token(&ann).await;
            world.token(&ann).await;
            let replies = parallel(20, |_| create(&world, &ann).into_future()).await;
            let (created, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 201);
            assert_eq!(created.len(), 1);
            for reply in refused {
                reply.fails(refusal.0, refusal.1);
            }
            assert_eq!(world.token_ids(&ann).await.len(), 3);
            assert_eq!(world.count_events(&ann, "token.created").await, 3);
        }
    }
}
