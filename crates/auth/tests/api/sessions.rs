//! Sessions: who one is, renewal, replay, logout, and their ends.

use serde_json::{Value, json};

use crate::client::parallel;
use crate::world::{DAY, MINUTE, Person, SECOND, World, decode_jwt, person};

const GRACE_OVER: std::time::Duration = std::time::Duration::from_secs(16);

async fn renew(world: &World, who: &Person) -> Person {
    person(&world.refresh(&who.refresh).await.ok(200))
}

#[tokio::test]
async fn me_shows_who_one_is() {
    let world = World::new().await;
    let ann = world.ann().await;
    let now = world.now().to_string();
    assert_eq!(
        world.get("/auth/me").by(&ann.access).await.ok(200),
        json!({
            "user": {
                "id": ann.id, "email": "ann@example.com", "phone": null, "displayName": null, "avatarUrl": null,
                "emailVerified": true, "phoneVerified": false, "walletAddress": null,
                "createdAt": now, "updatedAt": now, "lastLoginAt": now,
            },
            "organizations": [],
        })
    );
    world.clock.advance(MINUTE);
    let again = world.ann().await;
    let me = world.get("/auth/me").by(&again.access).await.ok(200);
    assert_eq!((&me["user"]["createdAt"], &me["user"]["lastLoginAt"]), (&json!(now), &json!(world.now())));
}

#[tokio::test]
async fn a_refresh_renews_the_pair_and_keeps_the_session() {
    let world = World::new().await;
    let ann = world.ann().await;
    world.clock.advance(MINUTE);
    let renewed = renew(&world, &ann).await;

    assert_eq!(renewed.id, ann.id);
    assert_ne!((&renewed.access, &renewed.refresh), (&ann.access, &ann.refresh));
    assert_eq!(decode_jwt(&renewed.access).1["sessionId"], decode_jwt(&ann.access).1["sessionId"]);
    for access in [&ann.access, &renewed.access] {
        world.get("/auth/me").by(access).await.ok(200);
    }
    world.clock.advance(GRACE_OVER);
    renew(&world, &renewed).await;
    assert_eq!(world.count_events(&ann, "session.refreshed").await, 2);
}

#[tokio::test]
async fn a_lost_reply_is_given_again_within_the_grace() {
    let world = World::new().await;
    let ann = world.ann().await;
    world.clock.advance(MINUTE);
    let first = world.refresh(&ann.refresh).await.ok(200);
    world.clock.advance(15 * SECOND);
    assert_eq!(world.refresh(&ann.refresh).await.ok(200), first, "the very same pair");
    assert_eq!(world.count_events(&ann, "session.refreshed").await, 1);
    renew(&world, &person(&first)).await;
}

#[tokio::test]
async fn a_replay_after_the_grace_ends_the_session() {
    let world = World::new().await;
    let ann = world.ann().await;
    let other_device = world.ann().await;
    let renewed = renew(&world, &ann).await;
    world.get("/auth/me").by(&renewed.access).await.ok(200);
    world.clock.advance(GRACE_OVER);

    world.refresh(&ann.refresh).await.fails(401, "REFRESH_REUSED");
    for access in [&ann.access, &renewed.access] {
        world.get("/auth/me").by(access).await.fails(401, "SESSION_REVOKED");
        assert!(!world.is_valid(access).await);
    }
    for refresh in [&ann.refresh, &renewed.refresh] {
        world.refresh(refresh).await.fails(401, "SESSION_REVOKED");
    }
    assert_eq!(world.count_events(&ann, "session.reuse_detected").await, 1);
    world.get("/auth/me").by(&other_device.access).await.ok(200);
}

#[tokio::test]
async fn an_older_generation_ends_the_session_even_within_the_grace() {
    let world = World::new().await;
    let ann = world.ann().await;
    let second = renew(&world, &ann).await;
    let third = renew(&world, &second).await;
    world.refresh(&ann.refresh).await.fails(401, "REFRESH_REUSED");
    world.refresh(&third.refresh).await.fails(401, "SESSION_REVOKED");
    world.get("/auth/me").by(&third.access).await.fails(401, "SESSION_REVOKED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_refreshes_make_one_lineage() {
    let world = World::new().await;
    let mut ann = world.ann().await;
    for round in 1..=5 {
        world.clock.advance(MINUTE);
        let replies = parallel(20, |_| world.refresh(&ann.refresh).into_future()).await;
        let bodies: Vec<Value> = replies.into_iter().map(|reply| reply.ok(200)).collect();
        assert!(bodies.iter().all(|body| *body == bodies[0]), "all got the same pair");
        assert_eq!(world.count_events(&ann, "session.refreshed").await, round);
        ann = person(&bodies[0]);
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 1);
    world.get("/auth/me").by(&ann.access).await.ok(200);
}

#[tokio::test]
async fn logout_kills_access_and_refresh() {
    let world = World::new().await;
    let ann = world.ann().await;
    let other_device = world.ann().await;
    let bob = world.bob().await;
    let renewed = renew(&world, &ann).await;
    assert!(world.is_valid(&renewed.access).await);

    let reply = world.post("/auth/logout").by(&renewed.access).await.ok(200);
    assert_eq!(reply, json!({ "success": true, "message": "You are signed out" }));
    for access in [&ann.access, &renewed.access] {
        world.get("/auth/me").by(access).await.fails(401, "SESSION_REVOKED");
        assert!(!world.is_valid(access).await);
        world.post("/auth/logout").by(access).await.fails(401, "SESSION_REVOKED");
    }
    world.refresh(&renewed.refresh).await.fails(401, "SESSION_REVOKED");
    assert_eq!(world.count_events(&ann, "session.ended").await, 1);
    for access in [&other_device.access, &bob.access] {
        world.get("/auth/me").by(access).await.ok(200);
    }
}

#[tokio::test]
async fn logout_ends_the_session_of_the_refresh_token_too_if_it_is_ones_own() {
    let world = World::new().await;
    let (bob, other) = (world.bob().await, world.ann().await);
    let rotated = world.refresh(&other.refresh).await.ok(200);
    let other_access = rotated["accessToken"].as_str().unwrap();
    let logout =
        |access: &str, refresh: &str| world.post("/auth/logout").by(access).json(&json!({ "refreshToken": refresh }));
    // An older refresh token names its session as well.
    let ann = world.ann().await;
    let reply = logout(&ann.access, &other.refresh).await.ok(200);
    assert!(!world.is_valid(&ann.access).await && !world.is_valid(other_access).await);
    world.refresh(rotated["refreshToken"].as_str().unwrap()).await.fails(401, "SESSION_REVOKED");

    // Somebody else's and what is none are answered the same, and end nothing but the caller's own session.
    for text in [bob.refresh.as_str(), bob.access.as_str(), "x.y.z", "", "\0"] {
        let ann = world.ann().await;
        assert_eq!(logout(&ann.access, text).await.ok(200), reply, "{text:?}");
        assert!(!world.is_valid(&ann.access).await && world.is_valid(&bob.access).await, "{text:?}");
    }
    world.refresh(&bob.refresh).await.ok(200);
    assert_eq!(world.count_events(&bob, "session.ended").await, 0);
    assert_eq!(world.count_events(&ann, "session.ended").await, 7);
}

#[tokio::test]
async fn a_refresh_token_alone_is_enough_to_log_out() {
    let world = World::new().await;
    let ann = world.ann().await;
    let with = |refresh: &str| world.post("/auth/logout").json(&json!({ "refreshToken": refresh }));
    assert!(world.is_valid(&ann.access).await);
    let reply = with(&ann.refresh).await.ok(200);
    assert_eq!(reply, json!({ "success": true, "message": "You are signed out" }));
    assert!(!world.is_valid(&ann.access).await);
    world.refresh(&ann.refresh).await.fails(401, "SESSION_REVOKED");
    // A client that lost the reply asks again.
    assert_eq!(with(&ann.refresh).await.ok(200), reply);
    assert_eq!(world.count_events(&ann, "session.ended").await, 1);

    // Beside an access JWT that is over, or dead; by an older one of the session, and by one whose own time is over.
    let other = world.ann().await;
    let renewed = renew(&world, &other).await;
    world.later(20 * MINUTE).await;
    with(&other.refresh).by(&renewed.access).await.ok(200);
    world.refresh(&renewed.refresh).await.fails(401, "SESSION_REVOKED");
    let late = world.ann().await;
    world.later(8 * DAY).await;
    with(&late.refresh).await.ok(200);
    assert_eq!(world.count_events(&ann, "session.ended").await, 3);

    // What is none of ours is what nothing is.
    let bob = world.bob().await;
    for text in [bob.access.as_str(), "x.y.z", "", "\0"] {
        with(text).await.fails(401, "UNAUTHORIZED");
    }
    let token = world.token(&bob).await;
    with(&bob.refresh).by(&token.secret).await.fails(403, "FORBIDDEN");
    assert!(world.is_valid(&bob.access).await);
}

#[tokio::test]
async fn logout_takes_a_body_or_none() {
    let world = World::new().await;
    for body in ["{}", r#"{"refreshToken":null}"#, r#"{"refreshToken":"whatever"}"#] {
        let ann = world.ann().await;
        world.post("/auth/logout").by(&ann.access).body("application/json", body).await.ok(200);
        world.get("/auth/me").by(&ann.access).await.fails(401, "SESSION_REVOKED");
    }
    let ann = world.ann().await;
    world.post("/auth/logout").by(&ann.access).body("application/json", "{").await.fails(400, "INVALID_JSON");
    world.get("/auth/me").by(&ann.access).await.ok(200);
    world.post("/auth/logout").await.fails(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn an_access_jwt_lives_fifteen_minutes_and_a_refresh_jwt_seven_days() {
    let world = World::new().await;
    let ann = world.ann().await;
    world.clock.advance(15 * MINUTE - SECOND);
    world.get("/auth/me").by(&ann.access).await.ok(200);
    world.clock.advance(SECOND);
    let reply = world.get("/auth/me").by(&ann.access).await;
    assert!(reply.header("www-authenticate").contains(r#"error="invalid_token""#), "{reply:?}");
    reply.fails(401, "TOKEN_EXPIRED");
    assert!(!world.is_valid(&ann.access).await);

    world.clock.advance(7 * DAY - 15 * MINUTE - SECOND);
    let renewed = renew(&world, &ann).await;
    world.clock.advance(7 * DAY);
    world.refresh(&renewed.refresh).await.fails(401, "TOKEN_EXPIRED");
}

#[tokio::test]
async fn a_session_ends_after_thirty_days_however_often_it_is_renewed() {
    let world = World::new().await;
    let mut ann = world.ann().await;
    for _ in 0..4 {
        world.clock.advance(6 * DAY);
        ann = renew(&world, &ann).await;
    }
    world.clock.advance(6 * DAY - MINUTE);
    ann = renew(&world, &ann).await;
    let end = world.now().plus(MINUTE).as_seconds();
    assert_eq!(decode_jwt(&ann.access).1["exp"], end, "not a minute longer than the session");
    assert_eq!(decode_jwt(&ann.refresh).1["exp"], end);

    world.clock.advance(MINUTE);
    world.refresh(&ann.refresh).await.fails(401, "TOKEN_EXPIRED");
    world.get("/auth/me").by(&ann.access).await.fails(401, "TOKEN_EXPIRED");
}

#[tokio::test]
async fn a_disabled_user_renews_nothing() {
    let world = World::new().await;
    let ann = world.ann().await;
    world.by_hand("UPDATE users SET disabled_at = 1").await;
    world.refresh(&ann.refresh).await.fails(401, "INVALID_TOKEN");
    world.by_hand("UPDATE users SET disabled_at = NULL").await;
    renew(&world, &ann).await;
}
