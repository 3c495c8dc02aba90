//! Signing in with wallets, signed for by ethers, viem and tweetnacl.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{WalletSignature, sign_with_wallet};

use crate::client::{Call, Reply, parallel};
use crate::world::{MINUTE, World, person};

const ANN: [u8; 32] = [0x11; 32];
const BOB: [u8; 32] = [0x22; 32];
const LIBRARIES: [&str; 3] = ["ethers", "viem", "tweetnacl"];

pub(crate) fn ask(world: &World, address: &str) -> Call {
    world.post("/auth/wallet/challenge").json(&json!({ "address": address }))
}

pub(crate) fn verify(world: &World, address: &str, message: &str, signature: &str) -> Call {
    let body = json!({ "address": address, "message": message, "signature": signature });
    world.post("/auth/wallet/verify").json(&body)
}

pub(crate) async fn challenge(world: &World, address: &str) -> String {
    ask(world, address).await.ok(200)["message"].as_str().unwrap().to_owned()
}

async fn address(library: &str, key: [u8; 32]) -> String {
    sign_with_wallet(library, key, "").await.address
}

/// A challenge and its right signature.
async fn signed(world: &World, library: &str, key: [u8; 32]) -> (String, WalletSignature) {
    let message = challenge(world, &address(library, key).await).await;
    let signed = sign_with_wallet(library, key, &message).await;
    (message, signed)
}

pub(crate) async fn assert_nobody_is_in(world: &World) {
    for table in ["users", "sessions", "auth_methods", "audit_events"] {
        assert_eq!(world.count(&format!("SELECT COUNT(*) FROM {table}")).await, 0, "{table}");
    }
}

async fn sign_in(world: &World, library: &str, key: [u8; 32]) -> Value {
    let (message, signed) = signed(world, library, key).await;
    verify(world, &signed.address, &message, &signed.signature).await.ok(200)
}

#[tokio::test]
async fn wallets_sign_in_and_lead_to_a_working_token() {
    let world = World::new().await;
    for library in LIBRARIES {
        let reply = sign_in(&world, library, ANN).await;
        let ann = person(&reply);
        assert_eq!(reply["user"]["walletAddress"], address(library, ANN).await.as_str());
        assert_eq!(reply["user"]["email"], Value::Null);
        let token = world.token(&ann).await;
        assert!(world.is_valid(&token.secret).await);
        assert_eq!(person(&sign_in(&world, library, ANN).await).id, ann.id, "the same account again");
        let methods: Vec<_> =
            world.events(&ann).await.iter().map(|event| event["metadata"]["method"].clone()).collect();
        assert!(methods.contains(&json!("wallet")), "{methods:?}");
    }
    // ethers' and viem's are the same wallet.
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 2);
    assert_eq!(world.count("SELECT COUNT(*) FROM auth_methods WHERE provider = 'ethereum'").await, 1);
    assert_eq!(world.count("SELECT COUNT(*) FROM auth_methods WHERE provider = 'solana'").await, 1);
}

#[tokio::test]
async fn the_message_is_eip_4361_to_the_letter() {
    let world = World::new().await;
    let address = address("ethers", ANN).await;
    let body = json!({ "address": address.to_lowercase(), "chainId": 137 });
    let reply = world.post("/auth/wallet/challenge").json(&body).await.ok(200);
    let nonce = reply["nonce"].as_str().unwrap();
    assert!(nonce.len() >= 17 && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{nonce}");
    let message = format!(
        "app.example.com wants you to sign in with your Ethereum account:\n{address}\n\n\
         Sign in with this wallet. This costs nothing and moves nothing.\n\n\
         URI: https://app.example.com/\nVersion: 1\nChain ID: 137\nNonce: {nonce}\n\
         Issued At: 2025-11-08T12:00:00.000Z\nExpiration Time: 2025-11-08T12:15:00.000Z"
    );
    assert_eq!(reply, json!({ "success": true, "message": message, "nonce": nonce, "expiresIn": 900 }));
    assert_ne!(challenge(&world, &address).await, message, "each is one of a kind");
}

#[tokio::test]
async fn every_spelling_of_an_address_is_one_account() {
    let world = World::new().await;
    let address = address("ethers", ANN).await;
    let upper = format!("0x{}", address[2..].to_uppercase());
    for text in [address.clone(), address.to_lowercase(), upper, address.to_uppercase()] {
        let message = challenge(&world, &text).await;
        let signed = sign_with_wallet("viem", ANN, &message).await;
        verify(&world, &text, &message, &signed.signature).await.ok(200);
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 1);
}

#[tokio::test]
async fn wrong_requests_are_told_the_field() {
    let world = World::new().await;
    let right = address("ethers", ANN).await;
    let mistyped = right
        .chars()
        .map(|c| if c.is_lowercase() && c != 'x' { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() });
    let mistyped: String = mistyped.collect();
    let system_program = "1".repeat(32);
    for wrong in
        ["", "0x", &right[..41], mistyped.as_str(), "ann@example.com", &system_program, "ä", &"1".repeat(60_000)]
    {
        ask(&world, wrong).await.fails_at("address");
        verify(&world, wrong, "x", "0x00").await.fails_at("address");
    }
    for chain_id in [json!(0), json!(-1), json!(1.5), json!("mainnet"), json!(9_007_199_254_740_992_u64), json!(true)] {
        let body = json!({ "address": right, "chainId": chain_id });
        world.post("/auth/wallet/challenge").json(&body).await.fails_at("chainId");
    }
    let body = json!({ "address": address("tweetnacl", ANN).await, "chainId": 1 });
    world.post("/auth/wallet/challenge").json(&body).await.fails_at("chainId");
    assert_eq!(world.count("SELECT COUNT(*) FROM wallet_challenges").await, 0);
    assert_nobody_is_in(&world).await;
}

#[tokio::test]
async fn a_validly_signed_other_message_is_refused() {
    let world = World::new().await;
    for (library, chain) in
        [("ethers", ("Chain ID: 1", "Chain ID: 10")), ("tweetnacl", ("Chain ID: mainnet", "Chain ID: devnet"))]
    {
        let (message, right) = signed(&world, library, ANN).await;
        let nonce = message.lines().find(|line| line.starts_with("Nonce: ")).unwrap();
        let others = [
            message.replacen("app.example.com wants", "evil.example.com wants", 1),
            message.replacen("URI: https://app.example.com/", "URI: https://evil.example.com/", 1),
            message.replacen(chain.0, chain.1, 1),
            message.replacen("moves nothing", "moves everything", 1),
            message.replacen(nonce, &format!("Nonce: 12345678901234567890\n{nonce}"), 1),
            message.replacen(nonce, &format!("{nonce}\nNonce: 12345678901234567890"), 1),
            message.replacen("12:15:00", "13:15:00", 1),
            message.replace('\n', "\r\n"),
            format!("{message}\n"),
            format!("{message}\nResources:\n- https://evil.example.com"),
            message.to_lowercase(),
            String::new(),
        ];
        for other in others {
            assert_ne!(other, message);
            let signed = sign_with_wallet(library, ANN, &other).await;
            verify(&world, &signed.address, &other, &signed.signature).await.fails(400, "INVALID_SIGNATURE");
            // Nor does its signature fit the stored message.
            verify(&world, &signed.address, &message, &signed.signature).await.fails(400, "INVALID_SIGNATURE");
        }
        assert_nobody_is_in(&world).await;
        assert_eq!(world.count("SELECT COUNT(*) FROM wallet_challenges WHERE consumed_at IS NOT NULL").await, 0);
        // And what was tried spoils nothing.
        verify(&world, &right.address, &message, &right.signature).await.ok(200);
        world.by_hand("DELETE FROM users").await;
        world.by_hand("DELETE FROM audit_events").await;
        world.by_hand("DELETE FROM wallet_challenges").await;
    }
}

#[tokio::test]
async fn nobody_signs_for_somebody_else() {
    let world = World::new().await;
    for library in LIBRARIES {
        let (message, ann) = signed(&world, library, ANN).await;
        let bob = sign_with_wallet(library, BOB, &message).await;
        assert_ne!(ann.address, bob.address);
        verify(&world, &ann.address, &message, &bob.signature).await.fails(400, "INVALID_SIGNATURE");
        verify(&world, &bob.address, &message, &bob.signature).await.fails(400, "INVALID_SIGNATURE");
        verify(&world, &bob.address, &message, &ann.signature).await.fails(400, "INVALID_SIGNATURE");
    }
    assert_nobody_is_in(&world).await;
}

#[tokio::test]
async fn signatures_are_taken_in_every_usual_form() {
    let world = World::new().await;
    let (_, example) = signed(&world, "ethers", ANN).await;
    assert!(example.signature.starts_with("0x") && example.signature.len() == 132);
    for plain_v in [false, true] {
        for prefix in ["0x", "", "0X"] {
            let (message, signed) = signed(&world, "ethers", ANN).await;
            let (r_and_s, v) = signed.signature[2..].split_at(128);
            let v = if plain_v { format!("{:02x}", u8::from_str_radix(v, 16).unwrap() - 27) } else { v.to_owned() };
            verify(&world, &signed.address, &message, &format!("{prefix}{r_and_s}{v}")).await.ok(200);
        }
    }
    let (message, signed_) = signed(&world, "tweetnacl", ANN).await;
    verify(&world, &signed_.address, &message, &signed_.base64).await.ok(200);
    let (message, signed_) = signed(&world, "tweetnacl", ANN).await;
    verify(&world, &signed_.address, &message, signed_.base64.trim_end_matches('=')).await.ok(200);
}

#[tokio::test]
async fn malformed_signatures_of_every_length_are_refused() {
    let world = World::new().await;
    for library in ["ethers", "tweetnacl"] {
        let (message, right) = signed(&world, library, ANN).await;
        let digits = right.signature.trim_start_matches("0x");
        let repeated: String = digits.chars().cycle().take(400).collect();
        for length in (0..=400).filter(|length| *length != digits.len()) {
            for text in [repeated[..length].to_owned(), format!("0x{}", &repeated[..length])] {
                verify(&world, &right.address, &message, &text).await.fails(400, "INVALID_SIGNATURE");
            }
        }
        for text in ["ä", "\0", "0xzz", " ", &"00".repeat(20_000)] {
            verify(&world, &right.address, &message, text).await.fails(400, "INVALID_SIGNATURE");
        }
        assert_nobody_is_in(&world).await;
    }
    // Whoever has a contract for a wallet learns why it does not work.
    let (message, right) = signed(&world, "viem", ANN).await;
    let body = verify(&world, &right.address, &message, &"00".repeat(66)).await.fails(400, "INVALID_SIGNATURE");
    assert!(body["error"].as_str().unwrap().contains("smart-contract wallet"), "{body}");
}

#[tokio::test]
async fn a_challenge_works_once() {
    let world = World::new().await;
    for library in LIBRARIES {
        let (message, signed) = signed(&world, library, ANN).await;
        let sessions = world.count("SELECT COUNT(*) FROM sessions").await;
        verify(&world, &signed.address, &message, &signed.signature).await.ok(200);
        for _ in 0..3 {
            verify(&world, &signed.address, &message, &signed.signature).await.fails(400, "INVALID_SIGNATURE");
        }
        assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, sessions + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_replays_one_signs_in() {
    let world = World::new().await;
    for round in 0..10 {
        let (message, signed) = signed(&world, LIBRARIES[round % 3], [u8::try_from(round).unwrap() + 1; 32]).await;
        let replies: Vec<Reply> =
            parallel(20, |_| verify(&world, &signed.address, &message, &signed.signature).into_future()).await;
        let (in_, out): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
        assert_eq!((in_.len(), out.len()), (1, 19), "round {round}");
        for reply in out {
            reply.fails(400, "INVALID_SIGNATURE");
        }
        let expected = i64::try_from(round).unwrap() + 1;
        assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, expected);
        assert_eq!(world.count("SELECT COUNT(*) FROM users").await, expected);
    }
}

#[tokio::test]
async fn a_challenge_ends_by_our_clock() {
    let world = World::new().await;
    for library in ["viem", "tweetnacl"] {
        let (message, signed) = signed(&world, library, ANN).await;
        world.clock.advance(15 * MINUTE);
        verify(&world, &signed.address, &message, &signed.signature).await.fails(400, "CHALLENGE_EXPIRED");
        assert_nobody_is_in(&world).await;
    }
    let (message, signed) = signed(&world, "viem", ANN).await;
    world.clock.advance(15 * MINUTE - Duration::from_millis(1));
    verify(&world, &signed.address, &message, &signed.signature).await.ok(200);
}

#[tokio::test]
async fn a_challenge_outlives_the_process() {
    let world = World::new().await;
    let (message, signed) = signed(&world, "ethers", ANN).await;
    let world = world.restart(|_| {}).await;
    verify(&world, &signed.address, &message, &signed.signature).await.ok(200);
}

#[tokio::test]
async fn a_challenge_for_linking_signs_nobody_in() {
    let world = World::new().await;
    let (message, signed) = signed(&world, "ethers", ANN).await;
    world.by_hand("UPDATE wallet_challenges SET purpose = 'link'").await;
    verify(&world, &signed.address, &message, &signed.signature).await.fails(400, "INVALID_SIGNATURE");
    assert_nobody_is_in(&world).await;
}

#[tokio::test]
async fn a_second_factor_and_a_disabled_account_are_heeded() {
    let world = World::new().await;
    let ann = person(&sign_in(&world, "ethers", ANN).await);
    let (id, sql) = (&ann.id, "INSERT INTO totp_factors (user_id, sealed_secret, seal_key, created_at, enabled_at)");
    world.by_hand(&format!("{sql} VALUES ('{id}', 'x', 'x', 1, 1)")).await;
    let waiting = sign_in(&world, "ethers", ANN).await;
    assert_eq!((&waiting["success"], &waiting["mfaRequired"]), (&json!(false), &json!(true)));
    assert!(waiting["mfaToken"].is_string() && waiting["accessToken"].is_null());

    world.by_hand("UPDATE users SET disabled_at = 1").await;
    let (message, signed) = signed(&world, "ethers", ANN).await;
    verify(&world, &signed.address, &message, &signed.signature).await.fails(403, "FORBIDDEN");
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 1);
}

#[tokio::test]
async fn both_routes_have_the_limit_of_sign_in() {
    let world = World::with(|setup| setup.config.limits.sign_in = "4/15m".parse().unwrap()).await;
    let address = address("ethers", ANN).await;
    for _ in 0..2 {
        ask(&world, &address).await.ok(200);
        verify(&world, &address, "x", "0x00").await.fails(400, "INVALID_SIGNATURE");
    }
    ask(&world, &address).await.fails(429, "RATE_LIMIT_EXCEEDED");
    verify(&world, &address, "x", "0x00").await.fails(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(world.count("SELECT COUNT(*) FROM wallet_challenges").await, 2);
}

#[tokio::test]
async fn challenges_that_are_over_are_removed() {
    let world = World::new().await;
    signed(&world, "ethers", ANN).await;
    world.clock.advance(25 * 60 * MINUTE);
    signed(&world, "ethers", ANN).await;
    world.auth.clean().await.unwrap();
    assert_eq!(world.count("SELECT COUNT(*) FROM wallet_challenges").await, 1);
}
