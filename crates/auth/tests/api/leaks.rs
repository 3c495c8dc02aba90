//! Tokens that were found in the open.

use auth::LeakPolicy;
use domain::Limit;
use serde_json::{Value, json};

use crate::client::{Call, parallel};
use crate::world::{DAY, Person, World, token};

fn report(world: &World, token: &str) -> Call {
    let body = json!({ "token": token, "url": "https://paste.example/p/1?<b>" });
    world.post("/tokens/report").json(&body)
}

/// The mails that are not for signing in.
fn mails_about_leaks(world: &World) -> Vec<(String, String)> {
    let mails = world.outbox.mails().into_iter().filter(|mail| mail.subject.contains("found in the open"));
    mails.map(|mail| (mail.to, mail.text)).collect()
}

async fn leaks(world: &World, who: &Person) -> Vec<Value> {
    world.events(who).await.into_iter().filter(|event| event["type"] == "token.leaked").collect()
}

#[tokio::test]
async fn a_reported_token_is_revoked_and_its_owner_told() {
    let world = World::new().await;
    let ann = world.ann().await;
    let leaked = world.token(&ann).await;
    assert!(world.is_valid(&leaked.secret).await, "and in the cache");
    report(&world, &leaked.secret).from("203.0.113.9").await.ok(202);
    world.auth.finish_leak_reports().await;
    assert!(!world.is_valid(&leaked.secret).await);
    assert_eq!(world.token_ids(&ann).await, [""; 0]);

    let mails = mails_about_leaks(&world);
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].0, "ann@example.com");
    for part in ["a token", &leaked.secret[..12], "https://paste.example/p/1", "has been revoked"] {
        assert!(mails[0].1.contains(part), "{part}: {}", mails[0].1);
    }
    assert!(!mails[0].1.contains(&leaked.secret));
    let events = leaks(&world, &ann).await;
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["metadata"]["tokenId"], &events[0]["ip"]), (&json!(leaked.id), &json!("203.0.113.9")));
    assert_eq!(events[0]["metadata"]["action"], "revoked");
    assert!(events[0]["metadata"]["url"].as_str().unwrap().starts_with("https://paste.example/p/1"));

    report(&world, &leaked.secret).await.ok(202);
    world.auth.finish_leak_reports().await;
    assert_eq!((mails_about_leaks(&world).len(), leaks(&world, &ann).await.len()), (1, 1), "once");
}

#[tokio::test]
async fn the_reply_is_the_same_for_every_token() {
    let world = World::new().await;
    let ann = world.ann().await;
    let live = world.token(&ann).await;
    let deleted = world.token(&ann).await;
    world.delete(&format!("/tokens/{}", deleted.id)).by(&ann.access).await.ok(200);
    let unknown = "af_live_000000000000000000000000000000001Rwe4s";
    let expected = report(&world, unknown).await;
    for token in [&live.secret, &deleted.secret, "", "x", "af_live_x", "ä\0", &ann.access, &"x".repeat(9000)] {
        let reply = report(&world, token).await;
        assert_eq!((reply.status, &reply.text), (202, &expected.text), "{token}");
    }
    for url in [json!("javascript:alert(1)"), json!("nowhere"), json!("x".repeat(5000)), Value::Null] {
        let body = json!({ "token": unknown, "url": url });
        assert_eq!(world.post("/tokens/report").json(&body).await.text, expected.text);
    }
    world.post("/tokens/report").json(&json!({ "token": 7 })).await.fails_at("token");
    world.post("/tokens/report").json(&json!({})).await.fails_at("token");
    world.auth.finish_leak_reports().await;
    assert_eq!(leaks(&world, &ann).await.len(), 1, "only the live one");
}

#[tokio::test]
async fn with_notify_the_owner_is_told_once_a_day_and_decides() {
    let world = World::with(|setup| setup.config.leak_policy = LeakPolicy::Notify).await;
    let ann = world.ann().await;
    let leaked = world.token(&ann).await;
    for told in [1, 1, 2] {
        report(&world, &leaked.secret).await.ok(202);
        world.auth.finish_leak_reports().await;
        assert!(world.is_valid(&leaked.secret).await);
        assert_eq!((mails_about_leaks(&world).len(), leaks(&world, &ann).await.len()), (told, told));
        assert!(mails_about_leaks(&world)[0].1.contains("STILL WORKS"));
        if told == 1 && leaks(&world, &ann).await.len() == 1 {
            world.clock.advance(13 * DAY / 24);
        }
    }
}

#[tokio::test]
async fn a_secret_that_was_replaced_is_ended_and_the_new_one_lives() {
    let world = World::new().await;
    let ann = world.ann().await;
    let old = world.token(&ann).await;
    let rotate =
        world.post(&format!("/tokens/{}/rotate", old.id)).by(&ann.access).json(&json!({ "graceSeconds": 600 }));
    let new = token(&rotate.await.ok(201));
    assert!(world.is_valid(&old.secret).await);
    report(&world, &old.secret).await.ok(202);
    world.auth.finish_leak_reports().await;
    assert!(!world.is_valid(&old.secret).await && world.is_valid(&new.secret).await);
    assert_eq!(leaks(&world, &ann).await[0]["metadata"]["action"], "secret_ended");
    assert!(mails_about_leaks(&world)[0].1.contains("goes on working"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_reports_of_one_token_one_counts() {
    let world = World::new().await;
    let ann = world.ann().await;
    for round in 1..=5 {
        let leaked = world.token(&ann).await;
        for reply in parallel(20, |_| report(&world, &leaked.secret).into_future()).await {
            reply.ok(202);
        }
        world.auth.finish_leak_reports().await;
        assert!(!world.is_valid(&leaked.secret).await);
        assert_eq!((mails_about_leaks(&world).len(), leaks(&world, &ann).await.len()), (round, round));
    }
}

#[tokio::test]
async fn reports_are_limited_by_address() {
    let world = World::with(|setup| setup.config.limits.standard = Limit::per_minute(2)).await;
    for _ in 0..2 {
        report(&world, "x").await.ok(202);
    }
    report(&world, "x").await.fails(429, "RATE_LIMIT_EXCEEDED");
    report(&world, "x").from("203.0.113.9").await.ok(202);
}
