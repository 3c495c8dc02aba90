//! Windows go on where they were when the service starts again, whether it stopped in order or was killed.

use auth::Limits;
use serde_json::json;
use web::TrustedProxies;

use crate::mfa;
use crate::world::{MINUTE, SECOND, Setup, World, nobody};

/// With a limit of sign-in that is soon reached, and otherwise those that an installation has.
fn by_default(setup: &mut Setup) {
    setup.config.limits = Limits { sign_in: "5/15m".parse().unwrap(), ..Limits::default() };
    setup.config.trusted_proxies = TrustedProxies::default();
}

/// How many of so many validations are admitted.
async fn admitted(world: &World, token: &str, asked: usize) -> usize {
    let mut admitted = 0;
    for _ in 0..asked {
        match world.validate(token).await.status {
            200 => admitted += 1,
            status => assert_eq!(status, 429),
        }
    }
    admitted
}

#[tokio::test]
async fn a_tokens_window_goes_on_exactly_after_a_stop() {
    let world = World::new().await;
    let token = world.token(&world.ann().await).await;
    assert_eq!(admitted(&world, &token.secret, 437).await, 437);
    let world = world.restart(|_| {}).await;
    world.clock.advance(SECOND);
    assert_eq!(admitted(&world, &token.secret, 600).await, 563);
    let world = world.restart(|_| {}).await;
    world.clock.advance(58 * SECOND);
    assert_eq!(admitted(&world, &token.secret, 1).await, 0);
    world.clock.advance(3 * SECOND);
    assert_eq!(admitted(&world, &token.secret, 1_001).await, 1_000, "a minute and a bucket later all of it is back");
}

#[tokio::test]
async fn four_kills_in_a_minute_admit_no_more_than_the_limit() {
    let mut world = World::new().await;
    let token = world.token(&world.ann().await).await;
    let mut sum = 0;
    for _ in 0..4 {
        sum += admitted(&world, &token.secret, 240).await;
        world.clock.advance(SECOND);
        world = world.killed(|_| {}).await;
    }
    sum += admitted(&world, &token.secret, 1_000).await;
    assert!((600..=1_000).contains(&sum), "{sum}: a tenth less for each kill, and never more");
    world.clock.advance(MINUTE + SECOND);
    assert_eq!(admitted(&world, &token.secret, 1_001).await, 1_000);
}

#[tokio::test]
async fn strict_windows_of_addresses_survive_kills_exactly() {
    let mut world = World::with(by_default).await;
    let attempt = |world: &World| world.verify_code(&nobody(), "123456");
    for _ in 0..5 {
        attempt(&world).await.fails(400, "INVALID_CODE");
        world = world.killed(by_default).await;
    }
    for stop in [false, true] {
        attempt(&world).await.fails(429, "RATE_LIMIT_EXCEEDED");
        world = if stop { world.restart(by_default).await } else { world.killed(by_default).await };
    }
    attempt(&world).from("203.0.113.7").await.fails(400, "INVALID_CODE");
    world.clock.advance(15 * MINUTE + 15 * SECOND);
    attempt(&world).await.fails(400, "INVALID_CODE");
}

#[tokio::test]
async fn a_mailbox_is_flooded_neither_before_nor_after_a_kill() {
    let mut world = World::with(by_default).await;
    for number in 0..5 {
        world.request_code("ann@example.com").from(&format!("203.0.{number}.1")).await.ok(200);
        world = world.killed(by_default).await;
    }
    world.request_code("ann@example.com").from("203.0.99.1").await.ok(200);
    assert_eq!(world.outbox.mails().len(), 0, "of this process");
    world.request_code("bob@example.com").from("203.0.99.1").await.ok(200);
}

#[tokio::test]
async fn guesses_at_a_second_factor_survive_a_kill() {
    // What protects a secret is no setting.
    let strict = |setup: &mut Setup| setup.config.limits.strict = domain::Limit::per_minute(1_000_000);
    let mut world = World::new().await;
    let (person, app, _) = mfa::ann(&world).await;
    let wrong = app.wrong(&world);
    world = world.restart(strict).await;
    let mut looked_at = 0;
    for number in 0..12 {
        let guess = world.post("/account/mfa/disable").by(&person.access).json(&json!({ "code": wrong }));
        match guess.from(&format!("203.{number}.113.1")).await.status {
            400 => looked_at += 1,
            status => assert_eq!(status, 429),
        }
        world = world.killed(strict).await;
    }
    assert_eq!(looked_at, 4, "and one was shown to enable it");
}

/// The clock was set back, or on, while the service ran: what is saved keeps its age all the same.
#[tokio::test]
async fn setting_the_clock_empties_no_window() {
    for by in [-3_600_000, 3_600_000] {
        let world = World::with(by_default).await;
        let attempt = |world: &World| world.verify_code(&nobody(), "123456");
        for _ in 0..5 {
            attempt(&world).await.fails(400, "INVALID_CODE");
        }
        world.clock.set_by(by);
        world.auth.look_at_the_clock().await.unwrap();
        let world = world.killed(by_default).await;
        attempt(&world).await.fails(429, "RATE_LIMIT_EXCEEDED");
    }
}

/// Nothing is admitted unseen when it cannot be saved; what was counted before goes on.
#[tokio::test]
async fn without_the_database_no_more_is_admitted_than_a_kill_accounts_for() {
    let world = World::new().await;
    let token = world.token(&world.ann().await).await;
    assert!(world.is_valid(&token.secret).await);
    world.store.close().await;
    let mut outcomes = Vec::new();
    for _ in 0..200 {
        let reply = world.validate(&token.secret).await;
        outcomes.push(reply.status);
        if reply.status != 200 {
            reply.fails(503, "UNAVAILABLE");
        }
    }
    let admitted = outcomes.iter().filter(|status| **status == 200).count();
    assert_eq!(admitted, 99, "with the first, a tenth");
}

#[tokio::test]
async fn what_is_over_is_purged() {
    let world = World::with(by_default).await;
    world.verify_code(&nobody(), "123456").await.fails(400, "INVALID_CODE");
    assert!(world.count("SELECT COUNT(*) FROM windows").await > 0);
    world.clock.advance(15 * MINUTE + SECOND);
    world.auth.sweep().await.unwrap();
    assert_eq!(world.count("SELECT COUNT(*) FROM windows").await, 0);
}

/// An address counts for its networks, with four times as much each step.
#[tokio::test]
async fn networks_have_limits_of_their_own() {
    let world = World::with(by_default).await;
    let attempt = async |address: String| {
        let reply = world.verify_code(&nobody(), "123456").from(&address).await;
        if reply.status == 429 {
            reply.fails(429, "RATE_LIMIT_EXCEEDED");
            return false;
        }
        reply.fails(400, "INVALID_CODE");
        true
    };
    let mut of_56 = 0;
    for n in 0..40 {
        of_56 += u32::from(attempt(format!("2001:db8:1:{n:x}::1")).await);
    }
    assert_eq!(of_56, 20, "a /56");
    let mut of_48 = of_56;
    for n in 0..120 {
        of_48 += u32::from(attempt(format!("2001:db8:1:{:x}::1", 0x100 * (n + 1))).await);
    }
    assert_eq!(of_48, 80, "a /48");
    assert!(attempt("2001:db8:2::1".to_owned()).await, "another /48");
    let mut of_24 = 0;
    for n in 0..40 {
        of_24 += u32::from(attempt(format!("203.0.113.{n}")).await);
    }
    assert_eq!(of_24, 20, "a /24");
    assert!(attempt("203.0.114.1".to_owned()).await, "another /24");
}
