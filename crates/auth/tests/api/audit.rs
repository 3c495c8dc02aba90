//! The audit log as its owner reads it.

use serde_json::{Value, json};

use crate::client::{ADDRESS, PROGRAM, parallel};
use crate::world::{SECOND, World, decode_jwt};

/// The events' types, oldest first.
fn types(events: &[Value]) -> Vec<&str> {
    events.iter().rev().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_action_leaves_its_event() {
    let world = World::new().await;
    let ann = world.ann().await;
    world.clock.advance(SECOND);
    let token = world.token(&ann).await;
    world.clock.advance(SECOND);
    world.post(&format!("/tokens/{}/rotate", token.id)).by(&ann.access).await.ok(201);
    world.clock.advance(SECOND);
    world.delete(&format!("/tokens/{}", token.id)).by(&ann.access).await.ok(200);
    world.clock.advance(SECOND);
    world.request_code("ann@example.com").await.ok(200);
    world.clock.advance(SECOND);
    world.verify_code("ann@example.com", "000000").await.fails(400, "INVALID_CODE");
    world.clock.advance(SECOND);
    world.refresh(&ann.refresh).await.ok(200);
    world.clock.advance(SECOND);
    world.post("/auth/logout").by(&ann.access).await.ok(200);

    let events = world.events(&ann).await;
    let types = types(&events);
    assert_eq!(
        types[2..],
        [
            "token.created",
            "token.rotated",
            "token.deleted",
            "code.requested",
            "sign_in.failed",
            "session.refreshed",
            "session.ended",
        ]
    );
    let mut first = types[..2].to_vec();
    first.sort_unstable();
    assert_eq!(first, ["sign_in.succeeded", "user.created"]);
}

#[tokio::test]
async fn an_event_says_who_did_what_when_and_from_where() {
    let world = World::new().await;
    let ann = world.ann().await;
    let session = decode_jwt(&ann.access).1["sessionId"].clone();
    world.clock.advance(SECOND);
    let call = world.post("/tokens").by(&ann.access).json(&json!({ "name": "ci" })).header("x-request-id", "req-1");
    let created = call.await.ok(201);
    let id = created["token"]["id"].clone();

    let mut event = world.get("/audit?type=token.created").by(&ann.access).await.ok(200)["events"][0].clone();
    assert!(event["id"].take().is_string());
    assert_eq!(
        event,
        json!({
            "id": null, "type": "token.created", "at": world.now(),
            "actor": { "userId": ann.id, "tokenId": null, "sessionId": session, "service": null },
            "ip": ADDRESS, "userAgent": PROGRAM, "requestId": "req-1",
            "metadata": { "tokenId": id, "name": "ci" },
        })
    );
}

#[tokio::test]
async fn a_token_is_named_as_the_means() {
    let world = World::new().await;
    let ann = world.ann().await;
    let (pat, target) = (world.token(&ann).await, world.token(&ann).await);
    world.delete(&format!("/tokens/{}", target.id)).by(&pat.secret).from("2001:db8::7").await.ok(200);
    let page = world.get("/audit?type=token.deleted").by(&pat.secret).await.ok(200);
    let event = &page["events"][0];
    assert_eq!(event["actor"], json!({ "userId": ann.id, "tokenId": pat.id, "sessionId": null, "service": null }));
    assert_eq!(event["ip"], "2001:db8::7");
    assert_eq!(event["metadata"]["tokenId"], target.id);
}

#[tokio::test]
async fn a_call_by_a_service_tells_of_the_end_user_not_of_the_service() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await;
    let create = |jwt: String| {
        let call = world.post("/tokens").by(&jwt).json(&json!({ "name": "x" }));
        call.header("x-request-id", "hop").from("10.0.0.9")
    };
    let meta = json!({ "requestId": "end-user-7", "ip": "203.0.113.7", "userAgent": "Browser/9" });
    let jwt = world.service_jwt().user(&ann.id).claim("tokenId", pat.id.as_str()).claim("meta", meta);
    world.clock.advance(SECOND);
    create(jwt.sign()).await.ok(201);
    let event = world.events(&ann).await[0].clone();
    assert_eq!(
        event["actor"],
        json!({ "userId": ann.id, "tokenId": pat.id, "sessionId": null, "service": "alternatefutures-backend" })
    );
    assert_eq!(
        (&event["ip"], &event["userAgent"], &event["requestId"]),
        (&json!("203.0.113.7"), &json!("Browser/9"), &json!("end-user-7"))
    );

    // Nonsense about the end user is left out, and the service's own side does not take its place.
    let meta = json!({ "requestId": "<b>", "ip": "nowhere", "userAgent": "\u{1}" });
    let session = decode_jwt(&ann.access).1["sessionId"].clone();
    let jwt = world.service_jwt().user(&ann.id).claim("meta", meta).claim("sessionId", session.clone());
    world.clock.advance(SECOND);
    create(jwt.sign()).await.ok(201);
    let event = world.events(&ann).await[0].clone();
    assert_eq!((&event["ip"], &event["userAgent"], &event["requestId"]), (&json!(null), &json!(null), &json!("hop")));
    assert_eq!(event["actor"]["sessionId"], session);
}

#[tokio::test]
async fn a_failure_at_an_address_without_an_account_is_nobodys_and_names_no_address() {
    let world = World::new().await;
    world.request_code("nobody@example.com").await.ok(200);
    world.verify_code("nobody@example.com", "000000").await.fails(400, "INVALID_CODE");
    // It is written down all the same, or the time that it takes would tell who has an account.
    assert_eq!(world.count("SELECT COUNT(*) FROM audit_events").await, 1);
    let nobodys = "SELECT COUNT(*) FROM audit_events WHERE type = 'sign_in.failed' AND user_id IS NULL AND ip IS NULL \
                   AND metadata = '{\"method\":\"email\",\"reason\":\"wrong_code\"}'";
    assert_eq!(world.count(nobodys).await, 1);
}

#[tokio::test]
async fn pages_follow_each_other_without_gaps_or_repetitions() {
    let world = World::new().await;
    let ann = world.ann().await;
    for number in 0..6 {
        world.token(&ann).await;
        if number % 2 == 0 {
            world.clock.advance(SECOND);
        }
    }
    let all = world.get("/audit").by(&ann.access).await.ok(200);
    assert_eq!(all["nextCursor"], Value::Null);
    let all = all["events"].as_array().unwrap();
    assert_eq!(all.len(), 8);

    for limit in [1, 3, 4, 8] {
        let mut read = Vec::new();
        let mut path = format!("/audit?limit={limit}");
        loop {
            let page = world.get(&path).by(&ann.access).await.ok(200);
            let events = page["events"].as_array().unwrap();
            assert!(events.len() <= limit && !events.is_empty());
            read.extend(events.clone());
            let Some(cursor) = page["nextCursor"].as_str() else { break };
            path = format!("/audit?limit={limit}&cursor={cursor}");
        }
        assert_eq!(&read, all, "limit {limit}");
    }

    let created = world.get("/audit?type=token.created&limit=4").by(&ann.access).await.ok(200);
    let cursor = created["nextCursor"].as_str().unwrap();
    let rest = world.get(&format!("/audit?type=token.created&limit=4&cursor={cursor}")).by(&ann.access).await.ok(200);
    let both = [created["events"].as_array().unwrap().clone(), rest["events"].as_array().unwrap().clone()].concat();
    assert_eq!(both.len(), 6);
    assert!(both.iter().all(|event| event["type"] == "token.created"));
}

#[tokio::test]
async fn one_reads_only_ones_own() {
    let world = World::new().await;
    let (ann, bob) = (world.ann().await, world.bob().await);
    world.token(&ann).await;
    let bobs = world.get("/audit").by(&bob.access).await.ok(200);
    let bobs = bobs["events"].as_array().unwrap();
    assert_eq!(bobs.len(), 2);
    assert!(bobs.iter().all(|event| event["actor"]["userId"] == bob.id));

    // A cursor is a place in time, not a key to somebody else's log.
    let page = world.get("/audit?limit=1").by(&ann.access).await.ok(200);
    let cursor = page["nextCursor"].as_str().unwrap();
    let page = world.get(&format!("/audit?cursor={cursor}")).by(&bob.access).await.ok(200);
    assert!(page["events"].as_array().unwrap().iter().all(|event| event["actor"]["userId"] == bob.id));
    world.get("/audit").await.fails(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_query_that_is_none_is_refused() {
    let world = World::new().await;
    let ann = world.ann().await;
    for (query, path) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=99999999999", "limit"),
        ("cursor=", "cursor"),
        ("cursor=x", "cursor"),
        ("cursor=1.", "cursor"),
        ("cursor=x.y", "cursor"),
        ("cursor=99999999999999999999.x", "cursor"),
        ("cursor=1.%00", "cursor"),
        ("type=", "type"),
        ("type=token.eaten", "type"),
        ("type=token.created'--", "type"),
    ] {
        world.get(&format!("/audit?{query}")).by(&ann.access).await.fails_at(path);
    }
    world.get("/audit?limit=1&limit=2").by(&ann.access).await.fails(400, "VALIDATION_ERROR");
    world.get("/audit?limit=100&unknown=1").by(&ann.access).await.ok(200);
}

/// The backend's breaker takes a 503 for an outage, so a user who floods must not get one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_asks_for_sixty_lists_at_once_is_told_so_and_nobody_else_is() {
    let world = World::new().await;
    let (ann, bob) = (world.ann().await, world.bob().await);
    for _ in 0..10 {
        let replies = parallel(70, |number| {
            let path = ["/audit?type=token.deleted", "/tokens"][number % 2];
            let whose = if number < 60 { &ann.access } else { &bob.access };
            // Few enough of bob's that none is too many.
            let path = if number < 62 { path } else { "/auth/me" };
            world.get(path).by(whose).into_future()
        })
        .await;
        for reply in &replies {
            assert!([200, 429].contains(&reply.status), "{}", reply.status);
        }
        assert!(replies.iter().filter(|reply| reply.status == 200).count() >= 9);
        let bobs = world.get("/audit").by(&bob.access).await;
        assert_eq!(bobs.status, 200);
    }
}
