//! Clocks that are set, and copies that nobody has looked after.

use std::time::Duration;

use domain::Limit;

use crate::world::{MINUTE, SECOND, World};

const HOUR: i64 = 3_600_000;

#[tokio::test]
async fn what_was_deleted_stays_so_when_the_clock_is_set() {
    for by in [-HOUR, HOUR] {
        for is_set_before in [true, false] {
            let world = World::new().await;
            let ann = world.ann().await;
            let (token, other) = (world.token(&ann).await, world.token(&ann).await);
            for token in [&token, &other] {
                assert!(world.is_valid(&token.secret).await);
            }
            let delete = async || {
                let jwt = world.service_jwt().user(&ann.id).sign();
                world.delete(&format!("/tokens/{}", token.id)).by(&jwt).await.ok(200);
            };
            if is_set_before {
                world.clock.set_by(by);
                delete().await;
            } else {
                delete().await;
                world.clock.set_by(by);
            }
            for second in 0..150 {
                assert!(!world.is_valid(&token.secret).await, "{second} s after the clock was set by {by}");
                assert!(world.is_valid(&other.secret).await);
                world.later(SECOND).await;
            }
        }
    }
}

/// Without a mark: what another process does to the database.
#[tokio::test]
async fn a_copy_grows_old_when_the_clock_is_set_back() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = world.token(&ann).await;
    assert!(world.is_valid(&token.secret).await);
    world.clock.set_by(-HOUR);
    world.by_hand("DELETE FROM personal_access_tokens").await;
    assert!(world.is_valid(&token.secret).await, "nobody has looked, and it is not too old");
    world.clock.advance(auth::TRUST - Duration::from_millis(1));
    assert!(world.is_valid(&token.secret).await);
    world.clock.advance(Duration::from_millis(1));
    assert!(!world.is_valid(&token.secret).await, "nobody has looked for too long");
}

#[tokio::test]
async fn an_instance_that_cannot_look_lets_nobody_in() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = world.token(&ann).await;
    for credential in [&token.secret, &ann.access] {
        assert!(world.is_valid(credential).await);
    }
    world.store.close().await;
    for credential in [&token.secret, &ann.access] {
        assert!(world.is_valid(credential).await, "from the copy");
    }
    assert!(world.auth.look().await.is_err());
    world.clock.advance(auth::TRUST);
    for credential in [&token.secret, &ann.access] {
        world.validate(credential).await.fails(503, "UNAVAILABLE");
    }
    world.get("/.well-known/jwks.json").await.fails(503, "UNAVAILABLE");
}

#[tokio::test]
async fn a_key_that_was_ended_verifies_nothing_once_nobody_has_looked_for_too_long() {
    let world = World::new().await;
    let ann = world.ann().await;
    assert!(world.is_valid(&ann.access).await);
    world.by_hand("UPDATE signing_keys SET retires_at = 0").await;
    assert!(world.is_valid(&ann.access).await, "nobody has looked");
    world.clock.advance(auth::TRUST);
    assert!(!world.is_valid(&ann.access).await);
    let keys = world.get("/.well-known/jwks.json").await;
    assert_eq!(keys.json, serde_json::json!({ "keys": [] }));
}

#[tokio::test]
async fn windows_neither_empty_nor_close_when_the_clock_is_set() {
    for by in [-HOUR, HOUR] {
        let world = World::with(|setup| setup.config.limits.token = Limit::per_minute(3)).await;
        let ann = world.ann().await;
        let token = world.token(&ann).await;
        for _ in 0..3 {
            world.validate(&token.secret).await.ok(200);
        }
        world.later(SECOND).await;
        world.clock.set_by(by);
        let refused = world.validate(&token.secret).await;
        let reset_at = refused.fails(429, "RATE_LIMIT_EXCEEDED")["rateLimit"]["resetAt"].clone();
        let expected = world.now().plus(59 * SECOND).to_string();
        assert_eq!(reset_at, expected, "as the world counts now");
        world.later(MINUTE - SECOND).await;
        world.validate(&token.secret).await.ok(200);
    }
}

/// Nobody waits for an instance without a row, so what it has kept meanwhile counts for nothing.
#[tokio::test]
async fn an_instance_whose_row_was_removed_makes_it_anew_and_starts_from_nothing() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = world.token(&ann).await;
    world.look().await;
    assert!(world.is_valid(&token.secret).await);
    assert_eq!(world.count("SELECT COUNT(*) FROM instances").await, 1);
    world.by_hand("DELETE FROM instances").await;
    world.by_hand("DELETE FROM personal_access_tokens").await;
    world.look().await;
    assert_eq!(world.count("SELECT COUNT(*) FROM instances").await, 1);
    assert!(!world.is_valid(&token.secret).await);
}

/// Each mark is applied once, and leaves when no copy can be left from before it.
#[tokio::test]
async fn marks_leave_the_database_whatever_the_clock_says() {
    let world = World::new().await;
    let ann = world.ann().await;
    let owed = async || world.count("SELECT COUNT(*) FROM owed_marks").await;
    for by in [0, HOUR, -HOUR] {
        let token = world.token(&ann).await;
        world.delete(&format!("/tokens/{}", token.id)).by(&ann.access).await.ok(200);
        world.clock.set_by(by);
        world.look().await;
        world.later(30 * SECOND).await;
        world.auth.sweep().await.unwrap();
        assert_eq!(owed().await, 1);
        world.later(31 * SECOND).await;
        world.auth.sweep().await.unwrap();
        assert_eq!(owed().await, 0);
        world.clock.set_by(-by);
    }
}
