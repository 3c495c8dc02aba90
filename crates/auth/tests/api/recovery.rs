//! Tokens outlive the keys of the server that issued them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use testkit::until;
use tokio::task::JoinSet;

use crate::client::{Reply, parallel};
use crate::world::{MINUTE, SECOND, Setup, Token, World};

fn first_seal(setup: &mut Setup) {
    setup.config.secrets.seal = vec!["the first key for digests and seals, in tests".into()];
}

fn other_seal(setup: &mut Setup) {
    setup.config.secrets.seal = vec!["a key for digests and seals, in tests".into()];
}

/// A validation on behalf of an end user at this address.
async fn validate_from(world: &World, secret: &str, address: &str) -> Reply {
    let body = json!({ "token": secret, "client": { "ip": address } });
    world.post("/tokens/validate").by(&world.service_jwt().sign()).json(&body).await
}

/// Well-formed tokens that begin like this one and are not it.
fn forgeries(token: &Token, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| {
            let body = format!("{}{number:028}", &token.secret[..12]);
            let mut checksum = crc32fast::hash(body.as_bytes());
            let mut six = String::new();
            for _ in 0..6 {
                let digit = u8::try_from(checksum % 62).unwrap();
                let character = match digit {
                    0..=9 => b'0' + digit,
                    10..=35 => b'A' + digit - 10,
                    _ => b'a' + digit - 36,
                };
                six.insert(0, char::from(character));
                checksum /= 62;
            }
            let forged = format!("{body}{six}");
            assert!(domain::token::is_well_formed(&forged), "{forged}");
            forged
        })
        .collect()
}

#[tokio::test]
async fn a_token_is_recovered_by_its_hash_once_and_sealed_anew() {
    let world = World::with(first_seal).await;
    let ann = world.ann().await;
    let (first, second) = (world.token(&ann).await, world.token(&ann).await);
    let world = world.restart(other_seal).await;
    let keys = "SELECT COUNT(DISTINCT seal_key) FROM token_secrets";
    assert_eq!(world.count(keys).await, 1);
    let reply = validate_from(&world, &first.secret, "203.0.113.7").await.ok(200);
    assert_eq!((&reply["userId"], &reply["tokenId"]), (&json!(ann.id), &json!(first.id)));
    assert_eq!(world.count(keys).await, 2, "one is sealed under the new key, one waits for its use");

    // Without a verifier of record the second is lost, and the first no longer needs one.
    world.by_hand("UPDATE token_secrets SET hash = 'none'").await;
    let world = world.restart(other_seal).await;
    assert!(world.is_valid(&first.secret).await);
    assert!(!world.is_valid(&second.secret).await);
    world.get("/auth/me").by(&first.secret).await.ok(200);
    world.get("/auth/me").by(&ann.access).await.ok(200);
}

#[tokio::test]
async fn a_key_that_returns_finds_its_tokens_again() {
    let world = World::with(first_seal).await;
    let ann = world.ann().await;
    let token = world.token(&ann).await;
    let world = world.restart(other_seal).await;
    assert!(world.is_valid(&token.secret).await);
    let world = world.restart(first_seal).await;
    assert!(world.is_valid(&token.secret).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_uses_of_one_token_are_all_answered() {
    for _ in 0..4 {
        let world = World::with(first_seal).await;
        let ann = world.ann().await;
        let token = world.token(&ann).await;
        let world = world.restart(other_seal).await;
        let replies = parallel(300, |_| world.validate(&token.secret).into_future()).await;
        let mut remaining: Vec<_> =
            replies.into_iter().map(|reply| reply.ok(200)["rateLimit"]["remaining"].as_u64().unwrap()).collect();
        remaining.sort_unstable();
        assert_eq!(remaining, (700..1000).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_recovered_token_dies_like_any_other() {
    let world = World::with(first_seal).await;
    let ann = world.ann().await;
    let token = world.token(&ann).await;
    let world = world.restart(other_seal).await;
    assert!(world.is_valid(&token.secret).await);
    world.delete(&format!("/tokens/{}", token.id)).by(&ann.access).await.ok(200);
    assert!(!world.is_valid(&token.secret).await);
}

#[tokio::test]
async fn a_token_that_only_begins_like_one_is_invalid() {
    let world = World::with(first_seal).await;
    let ann = world.ann().await;
    let token = world.token(&ann).await;
    let forged = &forgeries(&token, 1)[0];
    assert!(!world.is_valid(forged).await);
    let world = world.restart(other_seal).await;
    assert!(!world.is_valid(forged).await);
    assert!(world.is_valid(&token.secret).await);
    assert!(!world.is_valid(forged).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn failed_recoveries_are_limited_by_address() {
    for at_once in [false, true] {
        let world = World::with(first_seal).await;
        let ann = world.ann().await;
        let (token, other) = (world.token(&ann).await, world.token(&ann).await);
        let world = Arc::new(world.restart(other_seal).await);
        let forged = forgeries(&token, 20);
        if at_once {
            parallel(20, |number| {
                let (world, forged) = (Arc::clone(&world), forged[number].clone());
                async move { validate_from(&world, &forged, "203.0.113.7").await.fails(401, "INVALID_TOKEN") }
            })
            .await;
        } else {
            assert_eq!(forged.len(), 20);
            for forged in &forged[..19] {
                validate_from(&world, forged, "203.0.113.7").await.fails(401, "INVALID_TOKEN");
            }
            validate_from(&world, &other.secret, "203.0.113.7").await.ok(200);
            validate_from(&world, &forged[19], "203.0.113.7").await.fails(401, "INVALID_TOKEN");
        }

        // Nothing more is checked for this address, be it right or wrong, so nobody says that it is wrong; what has been
        // sealed anew needs no check.
        for unknown in [&token.secret, &forged[0]] {
            validate_from(&world, unknown, "203.0.113.7").await.fails(429, "RATE_LIMIT_EXCEEDED");
        }
        if !at_once {
            validate_from(&world, &other.secret, "203.0.113.7").await.ok(200);
        }
        validate_from(&world, &token.secret, "203.0.113.8").await.ok(200);
        validate_from(&world, &token.secret, "203.0.113.7").await.ok(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_check_whose_caller_hangs_up_counts_as_failed() {
    let world = World::with(first_seal).await;
    let ann = world.ann().await;
    let (token, other) = (world.token(&ann).await, world.token(&ann).await);
    let world = world.restart(other_seal).await;
    // A check that takes long enough to hang up in it.
    let slow = bcrypt::hash("another token", 11).unwrap();
    world.by_hand(&format!("UPDATE token_secrets SET hash = '{slow}' WHERE token_id = '{}'", token.id)).await;
    for forged in forgeries(&token, 20) {
        let checks =
            async |wanted: usize| until("a check", || world.gauge("bcrypt_waiting"), |now| *now == wanted).await;
        tokio::select! {
            reply = validate_from(&world, &forged, "203.0.113.7") => panic!("answered: {}", reply.text),
            _ = checks(1) => {}
        }
        checks(0).await;
    }
    validate_from(&world, &other.secret, "203.0.113.7").await.fails(429, "RATE_LIMIT_EXCEEDED");
    validate_from(&world, &other.secret, "203.0.113.8").await.ok(200);
}

#[tokio::test]
async fn the_limit_on_recoveries_passes() {
    let world = World::with(first_seal).await;
    let ann = world.ann().await;
    let token = world.token(&ann).await;
    let world = world.restart(other_seal).await;
    for forged in forgeries(&token, 20) {
        validate_from(&world, &forged, "2001:db8::1").await.fails(401, "INVALID_TOKEN");
    }
    world.clock.advance(MINUTE - SECOND);
    validate_from(&world, &token.secret, "2001:db8::2").await.fails(429, "RATE_LIMIT_EXCEEDED");
    world.clock.advance(SECOND);
    validate_from(&world, &token.secret, "2001:db8::2").await.ok(200);
}

#[tokio::test]
async fn sessions_outlive_a_change_of_the_seal_key() {
    let world = World::with(first_seal).await;
    let ann = world.ann().await;
    let world = world.restart(other_seal).await;
    world.get("/auth/me").by(&ann.access).await.ok(200);
    let renewed = world.refresh(&ann.refresh).await.ok(200);
    world.get("/auth/me").by(renewed["accessToken"].as_str().unwrap()).await.ok(200);
}

#[tokio::test]
async fn a_changed_secret_of_both_services_ends_no_session() {
    let world = World::with(first_seal).await;
    let ann = world.ann().await;
    let next = "the next secret of both services, in tests";
    let world = world.restart(|setup| setup.config.secrets.service_jwt = vec![next.into()]).await;
    world.get("/auth/me").by(&ann.access).await.ok(200);
    let ann_again = world.ann().await;
    world.get("/auth/me").by(&ann_again.access).await.ok(200);
    assert_eq!(world.count("SELECT COUNT(*) FROM signing_keys").await, 2, "the old one can no longer sign");
}

/// Six hundred connections of one IPv6 /48, each from a /64 of its own, present tokens that only begin like one. What
/// somebody else waits for is counted in their checks, not in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_network_keeps_nobody_else_waiting() {
    for round in 0..3 {
        let world = World::with(first_seal).await;
        let ann = world.ann().await;
        let (known, good) = (world.token(&ann).await, world.token(&ann).await);
        let world = Arc::new(world.restart(other_seal).await);
        let failed = Arc::new(AtomicUsize::new(0));
        let mut attack = JoinSet::new();
        for (number, forged) in forgeries(&known, 600).into_iter().enumerate() {
            let (world, failed) = (Arc::clone(&world), Arc::clone(&failed));
            attack.spawn(async move {
                let reply = validate_from(&world, &forged, &format!("2001:db8:1:{number:x}::1")).await;
                if reply.status == 401 {
                    failed.fetch_add(1, Ordering::SeqCst);
                } else {
                    reply.fails(429, "RATE_LIMIT_EXCEEDED");
                }
            });
        }
        while failed.load(Ordering::SeqCst) < 10 {
            tokio::task::yield_now().await;
        }
        let before = failed.load(Ordering::SeqCst);
        validate_from(&world, &good.secret, "2001:db8:2::1").await.ok(200);
        let waited_for = failed.load(Ordering::SeqCst) - before;
        assert!(waited_for < 60, "round {round}: {waited_for} of others were checked first");
        while let Some(done) = attack.join_next().await {
            done.unwrap();
        }
        assert!(failed.load(Ordering::SeqCst) <= 320, "sixteen times what one /64 is granted");
    }
}
