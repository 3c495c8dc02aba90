//! A credential's window: 1,000 requests in any 60 seconds.

use std::collections::HashSet;

use serde_json::json;

use crate::client::{Reply, parallel};
use crate::world::{MINUTE, SECOND, World};

#[track_caller]
fn assert_refused(reply: Reply, retry_after: u64, resets: &str) {
    assert_eq!(reply.header("x-ratelimit-limit"), "1000");
    assert_eq!(reply.header("x-ratelimit-remaining"), "0");
    assert_eq!(reply.header("x-ratelimit-reset"), resets);
    assert_eq!(reply.header("ratelimit"), format!("\"default\";r=0;t={retry_after}"));
    assert_eq!(reply.header("ratelimit-policy"), "\"default\";q=1000;w=60");
    let id = reply.header("x-request-id").to_owned();
    assert_eq!(
        reply.fails(429, "RATE_LIMIT_EXCEEDED"),
        json!({
            "valid": false, "error": "This token has made too many requests", "code": "RATE_LIMIT_EXCEEDED",
            "requestId": id, "retryAfter": retry_after, "resetAt": resets,
            "rateLimit": { "limit": 1000, "remaining": 0, "resetAt": resets },
        })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_1200_parallel_validations_exactly_1000_are_admitted() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await;
    let resets = world.now().plus(MINUTE).to_string();
    let replies = parallel(1200, |_| world.validate(&pat.secret).into_future()).await;
    let (admitted, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
    assert_eq!(admitted.len(), 1000);
    let remaining: HashSet<_> = admitted.iter().map(|reply| reply.json["rateLimit"]["remaining"].as_u64()).collect();
    assert_eq!(remaining.len(), 1000, "each saw another number left");
    for reply in refused {
        assert_refused(reply, 60, &resets);
    }

    world.clock.advance(59 * SECOND);
    assert_refused(world.validate(&pat.secret).await, 1, &resets);
    world.clock.advance(SECOND);
    let replies = parallel(1001, |_| world.validate(&pat.secret).into_future()).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1000, "all of them again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_and_other_tokens_have_windows_of_their_own() {
    let world = World::new().await;
    let ann = world.ann().await;
    let (busy, idle) = (world.token(&ann).await, world.token(&ann).await);
    parallel(1000, |_| world.validate(&busy.secret).into_future()).await;
    world.validate(&busy.secret).await.fails(429, "RATE_LIMIT_EXCEEDED");
    for credential in [&idle.secret, &ann.access] {
        assert!(world.is_valid(credential).await);
    }

    parallel(1000, |_| world.validate(&ann.access).into_future()).await;
    world.validate(&ann.access).await.fails(429, "RATE_LIMIT_EXCEEDED");
    let renewed = world.refresh(&ann.refresh).await.ok(200);
    let renewed = renewed["accessToken"].as_str().unwrap();
    world.validate(renewed).await.fails(429, "RATE_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn the_service_itself_counts_and_refuses_too() {
    let world = World::with(|setup| setup.config.limits.token = "3/1m".parse().unwrap()).await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await;
    for _ in 0..2 {
        world.get("/auth/me").by(&pat.secret).await.ok(200);
    }
    assert!(world.is_valid(&pat.secret).await);
    let reply = world.get("/auth/me").by(&pat.secret).await;
    assert_eq!((reply.header("x-ratelimit-limit"), reply.header("x-ratelimit-remaining")), ("3", "0"));
    reply.fails(429, "RATE_LIMIT_EXCEEDED");
    world.validate(&pat.secret).await.fails(429, "RATE_LIMIT_EXCEEDED");
    world.clock.advance(MINUTE);
    world.get("/auth/me").by(&pat.secret).await.ok(200);
}

#[tokio::test]
async fn bursts_on_both_sides_of_an_edge_are_one_window() {
    let world = World::with(|setup| setup.config.limits.token = "10/1m".parse().unwrap()).await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await;
    world.clock.advance(59 * SECOND);
    for _ in 0..10 {
        assert!(world.is_valid(&pat.secret).await);
    }
    // A new minute by the wall clock, and the same one by the token's.
    world.clock.advance(2 * SECOND);
    for _ in 0..10 {
        world.validate(&pat.secret).await.fails(429, "RATE_LIMIT_EXCEEDED");
    }
    world.clock.advance(58 * SECOND);
    assert!(world.is_valid(&pat.secret).await, "asking while refused did not prolong the wait");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_wrong_tokens_change_nothing_for_a_right_one() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await;
    let chance = testkit::seeded_chance(99);
    let replies = parallel(5_000, |number| {
        let wrong =
            chance.with(|rng| domain::token::TokenSecret::generate(domain::token::Kind::Live, rng).expose().to_owned());
        // Some with a wrong checksum, some that must be looked for.
        let wrong = if number % 2 == 0 { format!("{wrong}0") } else { wrong };
        let calls = [world.validate(&wrong), world.get("/auth/me").by(&wrong), world.get("/health")];
        async move {
            let [validated, me, health] = calls;
            (validated.await.status, me.await.status, health.await.status)
        }
    })
    .await;
    assert!(replies.iter().all(|statuses| *statuses == (401, 401, 200)));
    assert_eq!(world.validate(&pat.secret).await.ok(200)["rateLimit"]["remaining"], 999);
}
