//! Guessing, replaying and racing with sign-in codes.

use serde_json::{Value, json};

use crate::client::{Reply, parallel};
use crate::world::{World, person};

/// A well-formed code that is not this one.
fn other_than(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000)
}

fn without_id(reply: Reply) -> (u16, Value) {
    let mut body = reply.json;
    body["requestId"] = Value::Null;
    if body.get("flowId").is_some() {
        body["flowId"] = Value::Null;
    }
    (reply.status, body)
}

#[tokio::test]
async fn three_guesses_are_looked_at() {
    let world = World::new().await;
    let ann = world.ann().await;
    world.request_code("ann@example.com").await.ok(200);
    let code = world.mailed_code("ann@example.com");

    for remaining in [2, 1, 0] {
        let body = world.verify_code("ann@example.com", &other_than(&code)).await.fails(400, "INVALID_CODE");
        assert_eq!(body["attemptsRemaining"], remaining);
    }
    for guess in [other_than(&code), code] {
        world.verify_code("ann@example.com", &guess).await.fails(400, "TOO_MANY_ATTEMPTS");
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 1, "the one that was there");
    assert_eq!(world.count_events(&ann, "sign_in.failed").await, 3);
    assert_eq!(world.count_events(&ann, "sign_in.succeeded").await, 1);

    world.request_code("ann@example.com").await.ok(200);
    world.verify_code("ann@example.com", &world.mailed_code("ann@example.com")).await.ok(200);
}

#[tokio::test]
async fn spellings_of_one_mailbox_share_the_guesses() {
    let world = World::new().await;
    world.request_code("ann@example.com").await.ok(200);
    let code = world.mailed_code("ann@example.com");
    for (spelling, remaining) in [("ANN@example.com", 2), (" ann@EXAMPLE.com", 1), ("aNn@example.com ", 0)] {
        let body = world.verify_code(spelling, &other_than(&code)).await.fails(400, "INVALID_CODE");
        assert_eq!(body["attemptsRemaining"], remaining);
    }
    world.verify_code("ann@example.com", &code).await.fails(400, "TOO_MANY_ATTEMPTS");
}

#[tokio::test]
async fn a_new_code_replaces_the_old_one() {
    let world = World::new().await;
    world.request_code("ann@example.com").await.ok(200);
    let old = world.mailed_code("ann@example.com");
    world.request_code("ann@example.com").await.ok(200);
    let new = world.mailed_code("ann@example.com");
    assert_ne!(old, new);

    world.verify_code("ann@example.com", &old).await.fails(400, "INVALID_CODE");
    world.verify_code("ann@example.com", &new).await.ok(200);
}

#[tokio::test]
async fn a_code_works_once() {
    let world = World::new().await;
    world.request_code("ann@example.com").await.ok(200);
    let code = world.mailed_code("ann@example.com");
    world.verify_code("ann@example.com", &code).await.ok(200);
    let body = world.verify_code("ann@example.com", &code).await.fails(400, "INVALID_CODE");
    assert_eq!(body["attemptsRemaining"], 2, "as if none had been sent");
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 1);
}

#[tokio::test]
async fn a_code_is_for_its_address_only() {
    let world = World::new().await;
    world.request_code("ann@example.com").await.ok(200);
    world.request_code("bob@example.com").await.ok(200);
    let (anns, bobs) = (world.mailed_code("ann@example.com"), world.mailed_code("bob@example.com"));
    assert_ne!(anns, bobs);
    world.verify_code("ann@example.com", &bobs).await.fails(400, "INVALID_CODE");
    world.verify_code("carol@example.com", &anns).await.fails(400, "INVALID_CODE");
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 0);
    world.verify_code("ann@example.com", &anns).await.ok(200);
}

#[tokio::test]
async fn known_and_unknown_addresses_are_answered_alike() {
    let world = World::new().await;
    world.ann().await;
    let (known, unknown) = ("ann@example.com", "nobody@example.com");

    // Nobody asked for a code.
    let guess = |email| world.verify_code(email, "123456");
    assert_eq!(without_id(guess(known).await), without_id(guess(unknown).await));
    // Both asked for one.
    assert_eq!(without_id(world.request_code(known).await), without_id(world.request_code(unknown).await));
    for _ in 0..4 {
        let wrong = [known, unknown].map(|email| other_than(&world.mailed_code(email)));
        let replies = (world.verify_code(known, &wrong[0]).await, world.verify_code(unknown, &wrong[1]).await);
        assert_eq!(without_id(replies.0), without_id(replies.1));
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_wrong_guesses_three_are_looked_at() {
    let world = World::new().await;
    for _ in 0..5 {
        world.request_code("ann@example.com").await.ok(200);
        let code = world.mailed_code("ann@example.com");
        let replies = parallel(50, |_| world.verify_code("ann@example.com", &other_than(&code)).into_future()).await;

        let mut remaining = Vec::new();
        for reply in replies {
            if reply.json["code"] == "INVALID_CODE" {
                remaining.push(reply.fails(400, "INVALID_CODE")["attemptsRemaining"].as_u64().unwrap());
            } else {
                reply.fails(400, "TOO_MANY_ATTEMPTS");
            }
        }
        remaining.sort_unstable();
        assert_eq!(remaining, [0, 1, 2]);
        world.verify_code("ann@example.com", &code).await.fails(400, "TOO_MANY_ATTEMPTS");
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_right_codes_make_one_session() {
    let world = World::new().await;
    for round in 1..=10 {
        world.request_code("ann@example.com").await.ok(200);
        let code = world.mailed_code("ann@example.com");
        let replies = parallel(4, |_| world.verify_code("ann@example.com", &code).into_future()).await;
        let (signed_in, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
        assert_eq!(signed_in.len(), 1);
        person(&signed_in[0].json);
        for reply in refused {
            reply.fails(400, "INVALID_CODE");
        }
        assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, round);
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 1);
}

#[tokio::test]
async fn what_is_no_address_gets_no_mail() {
    let world = World::new().await;
    for email in
        ["", "ann", "ann@", "@example.com", "a b@example.com", "ann@example.com\r\nBcc: eve@example.com", "a\0@x.de"]
    {
        world.request_code(email).await.fails_at("email");
        world.verify_code(email, "123456").await.fails_at("email");
    }
    for body in [json!({}), json!({ "email": null }), json!({ "email": 7 }), json!({ "email": ["ann@example.com"] })] {
        world.post("/auth/email/request").json(&body).await.fails_at("email");
    }
    world.post("/auth/email/request").json(&json!([])).await.fails(400, "VALIDATION_ERROR");
    assert_eq!(world.outbox.mails().len(), 0);
    assert_eq!(world.count("SELECT COUNT(*) FROM one_time_codes").await, 0);
}

#[tokio::test]
async fn what_is_no_code_is_no_guess() {
    let world = World::new().await;
    world.request_code("ann@example.com").await.ok(200);
    for code in ["", "12345", "1234567", "12345a", "１２３４５６", "12345\0", "-12345", "+12345"] {
        world.verify_code("ann@example.com", code).await.fails_at("code");
    }
    for code in [json!(null), json!(123_456), json!(["123456"])] {
        let body = json!({ "email": "ann@example.com", "code": code });
        world.post("/auth/email/verify").json(&body).await.fails_at("code");
    }
    world.verify_code("ann@example.com", &world.mailed_code("ann@example.com")).await.ok(200);
}

#[tokio::test]
async fn a_disabled_account_stays_shut() {
    let world = World::new().await;
    let ann = world.ann().await;
    world.by_hand("UPDATE users SET disabled_at = 1").await;
    world.request_code("ann@example.com").await.ok(200);
    let code = world.mailed_code("ann@example.com");
    world.verify_code("ann@example.com", &code).await.fails(403, "FORBIDDEN");
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 1, "the one that was there");

    world.by_hand("UPDATE users SET disabled_at = NULL").await;
    world.verify_code("ann@example.com", &code).await.fails(400, "INVALID_CODE");
    assert_eq!(world.count_events(&ann, "sign_in.failed").await, 2, "disabled, and a code that was spent");
}

#[tokio::test]
async fn whoever_proves_an_address_shares_no_account_with_whoever_entered_it() {
    let world = World::new().await;
    // Mallory has an account under Ann's address, which she never proved, and leaves all that she can in it.
    let mallory = world.ann().await;
    let token = world.token(&mallory).await;
    world.by_hand("UPDATE auth_methods SET verified = 0").await;
    world.by_hand("UPDATE users SET email_verified = 0").await;

    let ann = world.ann().await;
    assert_ne!(ann.id, mallory.id);
    assert_eq!(world.token_ids(&ann).await, [""; 0]);
    let me = world.get("/auth/me").by(&ann.access).await.ok(200);
    assert_eq!((&me["user"]["email"], &me["user"]["emailVerified"]), (&"ann@example.com".into(), &true.into()));
    assert_eq!(world.ann().await.id, ann.id);

    // What she left leads to her own account only, which has lost the address.
    world.refresh(&mallory.refresh).await.ok(200);
    for credential in [&mallory.access, &token.secret] {
        let me = world.get("/auth/me").by(credential).await.ok(200);
        assert_eq!((&me["user"]["id"], &me["user"]["email"]), (&mallory.id.as_str().into(), &Value::Null));
    }
    let events = world.events(&mallory).await;
    let unlinked = events.iter().find(|event| event["type"] == "method.unlinked").unwrap();
    assert_eq!((&unlinked["metadata"]["reason"], &unlinked["ip"]), (&"proved_by_another".into(), &Value::Null));
}
