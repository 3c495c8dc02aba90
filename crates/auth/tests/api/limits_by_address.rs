//! Limits by the real address, and by user where there is one.

use auth::Limits;
use serde_json::{Value, json};
use testkit::sign_with_wallet;
use web::TrustedProxies;

use crate::client::{ADDRESS, Call, Reply};
use crate::wallets::{ask, verify};
use crate::world::{MINUTE, SECOND, World, nobody, person};

/// With the limits that an installation has unless it says otherwise.
async fn by_default() -> World {
    World::with(|setup| setup.config.limits = Limits::default()).await
}

/// With a limit of sign-in that is soon reached.
fn five() -> Limits {
    Limits { sign_in: "5/15m".parse().unwrap(), ..Limits::default() }
}

async fn with_five() -> World {
    World::with(|setup| setup.config.limits = five()).await
}

async fn behind_proxies() -> World {
    World::with(|setup| {
        setup.config.limits = five();
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        setup.config.trusted_proxies = TrustedProxies::new(networks.into());
    })
    .await
}

/// A sign-in attempt for a mailbox that nobody asked a code for: refused, and within the limit of sign-in.
fn attempt(world: &World) -> Call {
    world.verify_code(&nobody(), "123456")
}

#[track_caller]
fn assert_window(reply: &Reply, limit: u32, remaining: u32, reset: &str, seconds: u32, length: u32) {
    assert_eq!(reply.header("x-ratelimit-limit"), limit.to_string(), "{reply:?}");
    assert_eq!(reply.header("x-ratelimit-remaining"), remaining.to_string());
    assert_eq!(reply.header("x-ratelimit-reset"), reset);
    assert_eq!(reply.header("ratelimit"), format!("\"default\";r={remaining};t={seconds}"));
    assert_eq!(reply.header("ratelimit-policy"), format!("\"default\";q={limit};w={length}"));
}

#[tokio::test]
async fn sign_in_is_limited_by_address() {
    let world = with_five().await;
    let resets = world.now().plus(15 * MINUTE).to_string();
    for remaining in (0..5).rev() {
        let reply = attempt(&world).await;
        assert_window(&reply, 5, remaining, &resets, 900, 900);
        reply.fails(400, "INVALID_CODE");
    }
    world.clock.advance(5 * MINUTE);
    let reply = attempt(&world).await;
    assert_window(&reply, 5, 0, &resets, 600, 900);
    assert_eq!(reply.header("retry-after"), "600");
    assert_eq!(reply.fails(429, "RATE_LIMIT_EXCEEDED")["resetAt"], resets);

    attempt(&world).from("203.0.113.7").await.fails(400, "INVALID_CODE");
    world.clock.advance(10 * MINUTE - SECOND);
    attempt(&world).await.fails(429, "RATE_LIMIT_EXCEEDED");
    world.clock.advance(SECOND);
    attempt(&world).await.fails(400, "INVALID_CODE");
}

#[tokio::test]
async fn the_routes_of_sign_in_share_a_window_and_a_refusal_does_nothing() {
    let world = with_five().await;
    for number in 0..5 {
        world.request_code(&format!("user{number}@example.com")).await.ok(200);
    }
    world.request_code("user5@example.com").await.fails(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(world.outbox.mails().len(), 5);
    assert_eq!(world.count("SELECT COUNT(*) FROM one_time_codes").await, 5);
    attempt(&world).await.fails(429, "RATE_LIMIT_EXCEEDED");
    world.post("/auth/email/link").json(&json!({ "token": "x" })).await.fails(429, "RATE_LIMIT_EXCEEDED");
    world.refresh("x").await.fails(401, "INVALID_TOKEN");
}

/// A company's address, and the day begins.
#[tokio::test]
async fn seven_colleagues_behind_one_address_all_sign_in() {
    for address in [ADDRESS, "2001:db8:1:2::3"] {
        let world = by_default().await;
        for number in 0..7 {
            let email = format!("colleague{number}@example.com");
            world.request_code(&email).from(address).await.ok(200);
            let code = world.mailed_code(&email);
            world.verify_code(&email, &code).from(address).await.ok(200);
        }
        assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 7);
    }
}

/// Before: none of 900 was refused.
#[tokio::test]
async fn somebody_with_a_whole_48_guesses_no_more_than_sixteen_addresses() {
    let world = by_default().await;
    let mut looked_at = 0;
    for number in 0..900 {
        let subnet = number % 240;
        let reply = attempt(&world).from(&format!("2001:db8:1:{:x}::{number:x}", subnet * 256)).await;
        if reply.status == 429 {
            reply.fails(429, "RATE_LIMIT_EXCEEDED");
        } else {
            looked_at += 1;
        }
    }
    assert_eq!(looked_at, 16 * 30);
    attempt(&world).from("2001:db8:2::1").await.fails(400, "INVALID_CODE");
}

#[tokio::test]
async fn one_mailbox_cannot_be_flooded_from_many_addresses() {
    let world = by_default().await;
    for number in 0..5 {
        let spelling = if number % 2 == 0 { "ann@example.com" } else { " ANN@Example.com" };
        world.request_code(spelling).from(&format!("203.0.113.{number}")).await.ok(200);
    }
    let flow = world.begin_flow("ann@example.com", "203.0.113.99").await;
    assert_eq!(world.outbox.mails().len(), 5, "nobody is refused, and no mail goes out");
    let code = world.mailed_code("ann@example.com");
    world.verify_in(&flow, "ann@example.com", &code).from("203.0.113.99").await.ok(200);
    world.request_code("bob@example.com").from("203.0.113.99").await.ok(200);
}

#[tokio::test]
async fn other_names_of_one_mailbox_share_its_mails() {
    let world = by_default().await;
    for (number, address) in
        ["ann@gmail.com", "a.nn@gmail.com", "ann+1@gmail.com", "ann@googlemail.com", "A.N.N+2@gmail.com"]
            .into_iter()
            .enumerate()
    {
        world.request_code(address).from(&format!("203.0.113.{number}")).await.ok(200);
    }
    // Nobody is refused, and a name that somebody has made up gets no mail.
    for address in ["ann+3@gmail.com", "an.n@googlemail.com"] {
        world.request_code(address).from("203.0.113.99").await.ok(200);
    }
    assert_eq!(world.outbox.mails().len(), 5);
    assert!(world.outbox.mails().iter().any(|mail| mail.to == "a.n.n+2@gmail.com"), "it goes where it was asked for");
    world.request_code("ann+3@example.com").from("203.0.113.99").await.ok(200);
    let code = world.mailed_code("ann+1@gmail.com");
    let ann = person(&world.verify_code("ann+1@gmail.com", &code).await.ok(200));
    let me = world.get("/auth/me").by(&ann.access).await.ok(200);
    assert_eq!(me["user"]["email"], "ann+1@gmail.com", "the account is the address's, not the mailbox's");
}

#[tokio::test]
async fn a_forwarded_address_from_an_untrusted_peer_changes_nothing() {
    for world in [with_five().await, behind_proxies().await] {
        for number in 0..5 {
            let claimed = format!("203.0.113.{number}");
            attempt(&world).header("x-forwarded-for", &claimed).await.fails(400, "INVALID_CODE");
        }
        attempt(&world).header("x-forwarded-for", "203.0.113.9").await.fails(429, "RATE_LIMIT_EXCEEDED");
        attempt(&world).header("forwarded", "for=203.0.113.9").await.fails(429, "RATE_LIMIT_EXCEEDED");
        attempt(&world).header("x-real-ip", "203.0.113.9").await.fails(429, "RATE_LIMIT_EXCEEDED");
        attempt(&world).await.fails(429, "RATE_LIMIT_EXCEEDED");
        assert_eq!(world.gauge("ignored_forwarded_for_total").await, 6, "and an operator is told");
    }
}

#[tokio::test]
async fn a_forwarded_address_from_a_trusted_proxy_is_the_real_one() {
    let world = behind_proxies().await;
    let forwarded = |chain: &str| attempt(&world).from("10.1.2.3").header("x-forwarded-for", chain);
    for number in 0..5 {
        // What the client claims to have come from stands left of what the proxy saw.
        forwarded(&format!("192.0.2.{number}, {ADDRESS}")).await.fails(400, "INVALID_CODE");
    }
    forwarded(ADDRESS).await.fails(429, "RATE_LIMIT_EXCEEDED");
    forwarded(&format!("{ADDRESS}, 10.9.9.9")).await.fails(429, "RATE_LIMIT_EXCEEDED");
    attempt(&world).await.fails(429, "RATE_LIMIT_EXCEEDED");
    forwarded("203.0.113.7").await.fails(400, "INVALID_CODE");
    attempt(&world).from("10.1.2.3").await.fails(400, "INVALID_CODE");
}

#[tokio::test]
async fn an_ipv6_network_of_64_bits_is_one_address() {
    let world = with_five().await;
    for number in 0..5 {
        attempt(&world).from(&format!("2001:db8:1:2:{number}::1")).await.fails(400, "INVALID_CODE");
    }
    attempt(&world).from("2001:db8:1:2:ffff:ffff:ffff:ffff").await.fails(429, "RATE_LIMIT_EXCEEDED");
    attempt(&world).from("2001:db8:1:3::1").await.fails(400, "INVALID_CODE");
    for _ in 0..4 {
        attempt(&world).from("::ffff:203.0.113.7").await.fails(400, "INVALID_CODE");
    }
    attempt(&world).from("203.0.113.7").await.fails(400, "INVALID_CODE");
    attempt(&world).from("203.0.113.7").await.fails(429, "RATE_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn whoever_is_known_is_limited_as_themselves() {
    let world = World::with(|setup| setup.config.limits.standard = "3/1m".parse().unwrap()).await;
    let (ann, bob) = (world.ann().await, world.bob().await);
    let pat = world.token(&ann).await;
    // One window for all of a user's credentials, wherever they come from.
    for (credential, address) in [(&ann.access, ADDRESS), (&pat.secret, "203.0.113.7"), (&ann.access, "2001:db8::1")] {
        world.get("/tokens").by(credential).from(address).await.ok(200);
    }
    for credential in [&ann.access, &pat.secret] {
        let reply = world.get("/tokens").by(credential).from("203.0.113.8").await;
        assert_window(&reply, 3, 0, &world.now().plus(MINUTE).to_string(), 60, 60);
        reply.fails(429, "RATE_LIMIT_EXCEEDED");
    }
    world.get("/tokens").by(&bob.access).await.ok(200);
    world.get("/auth/me").by(&ann.access).await.ok(200);
}

#[tokio::test]
async fn whoever_is_unknown_is_limited_by_address() {
    let world = World::with(|setup| setup.config.limits.standard = "3/1m".parse().unwrap()).await;
    let ann = world.ann().await;
    for credential in ["x", "af_live_x", &ann.refresh] {
        world.get("/tokens").by(credential).await.fails(401, "INVALID_TOKEN");
    }
    world.get("/tokens").await.fails(429, "RATE_LIMIT_EXCEEDED");
    world.get("/tokens").from("203.0.113.7").await.fails(401, "UNAUTHORIZED");
    world.get("/tokens").by(&ann.access).await.ok(200);

    for _ in 0..3 {
        world.refresh("x").await.fails(401, "INVALID_TOKEN");
    }
    world.refresh(&ann.refresh).await.fails(429, "RATE_LIMIT_EXCEEDED");
    world.refresh(&ann.refresh).from("203.0.113.7").await.ok(200);
}

#[tokio::test]
async fn health_and_services_have_no_limit() {
    let world = World::with(|setup| {
        let one = "1/1m".parse().unwrap();
        setup.config.limits =
            Limits { strict: "10/1m".parse().unwrap(), standard: one, relaxed: one, ..Limits::default() };
    })
    .await;
    let ann = world.ann().await;
    let jwt = world.service_jwt().user(&ann.id).sign();
    for _ in 0..20 {
        for reply in [
            world.get("/health").await,
            world.get("/ready").await,
            world.get("/tokens").by(&jwt).await,
            world.get("/auth/me").by(&jwt).await,
        ] {
            assert_eq!(reply.header("x-ratelimit-limit"), "", "{reply:?}");
            reply.ok(200);
        }
    }
    // Their users' creation limit holds all the same.
    let create = || world.post("/tokens").by(&jwt).json(&json!({ "name": "x" }));
    for _ in 0..50 {
        create().await.ok(201);
    }
    create().await.fails(429, "RATE_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn public_reads_have_the_relaxed_limit() {
    let world = World::with(|setup| setup.config.limits.relaxed = "2/1m".parse().unwrap()).await;
    for path in ["/", "/openapi.json"] {
        for _ in 0..2 {
            assert_ne!(world.get(path).await.ok(200), Value::Null);
        }
        world.get(path).await.fails(429, "RATE_LIMIT_EXCEEDED");
    }
}

/// What is an event in the log for ever is limited by account as well: somebody has many addresses.
#[tokio::test]
async fn from_however_many_addresses_a_user_renews_sixty_times_a_minute() {
    let world = World::new().await;
    let [ann, bob] = [world.ann().await, world.bob().await];
    // Another session of hers counts along.
    let [mut first, mut second] = [ann.clone(), world.ann().await];
    let world = world.restart(|setup| setup.config.limits = Limits::default()).await;
    let from = |number: u32| format!("203.0.113.{}", number % 250);
    for number in 0..60 {
        let session = if number % 2 == 0 { &mut first } else { &mut second };
        *session = person(&world.refresh(&session.refresh).from(&from(number)).await.ok(200));
    }
    for session in [&first, &second] {
        let reply = world.refresh(&session.refresh).from("192.0.2.7").await;
        assert!(reply.fails(429, "RATE_LIMIT_EXCEEDED")["retryAfter"].as_u64() <= Some(61));
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM audit_events WHERE type = 'session.refreshed'").await, 60);
    world.refresh(&bob.refresh).from("192.0.2.7").await.ok(200);
    world.clock.advance(MINUTE + SECOND);
    world.refresh(&first.refresh).from("192.0.2.7").await.ok(200);
}

#[tokio::test]
async fn from_however_many_addresses_a_wallet_signs_in_five_times_in_fifteen_minutes() {
    let world = by_default().await;
    let sign_in = async |number: u8| {
        let from = format!("203.0.113.{number}");
        let address = sign_with_wallet("ethers", [0x11; 32], "").await.address;
        let challenge = ask(&world, &address).from(&from).await.ok(200);
        let message = challenge["message"].as_str().unwrap().to_owned();
        let signed = sign_with_wallet("ethers", [0x11; 32], &message).await;
        // Nobody but its owner counts against a wallet.
        verify(&world, &address, &message, &format!("0x{}", "11".repeat(65)))
            .from(&from)
            .await
            .fails(400, "INVALID_SIGNATURE");
        verify(&world, &address, &message, &signed.signature).from(&from).await
    };
    for number in 0..5 {
        sign_in(number).await.ok(200);
    }
    sign_in(5).await.fails(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(world.count("SELECT COUNT(*) FROM audit_events WHERE type = 'sign_in.succeeded'").await, 5);
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 5);
}
