//! Adding ways in to an account.

use serde_json::{Value, json};
use testkit::sign_with_wallet;

use crate::client::parallel;
use crate::wallets::challenge as challenge_to_sign_in;
use crate::world::World;

const SECOND: &str = "ann@second.example";

async fn begin(world: &World, access: &str, email: &str) -> Value {
    world.post("/account/methods/link").by(access).json(&json!({ "type": "email", "email": email })).await.ok(200)
}

fn proof(email: &str, code: &str) -> Value {
    json!({ "type": "email", "email": email, "code": code })
}

async fn methods(world: &World, access: &str) -> Vec<String> {
    let reply = world.get("/account/methods").by(access).await.ok(200);
    let list = reply["methods"].as_array().unwrap();
    let mut found: Vec<_> = list.iter().map(|method| method["identifier"].as_str().unwrap().to_owned()).collect();
    found.sort();
    found
}

/// Before, whoever asked for five codes to sign in by an address kept everybody from adding it.
#[tokio::test]
async fn strangers_keep_nobody_from_adding_an_address() {
    let world = World::with(|setup| setup.config.limits.strict = "5/15m".parse().unwrap()).await;
    let ann = world.ann().await;
    for number in 0..30 {
        world.request_code(SECOND).from(&format!("203.0.113.{number}")).await.ok(200);
    }
    begin(&world, &ann.access, SECOND).await;
    let body = proof(SECOND, &world.mailed_code(SECOND));
    let again = json!({ "type": "email", "email": SECOND });
    let again = world.post("/account/methods/link").by(&ann.access).json(&again).await;
    again.fails(429, "RATE_LIMIT_EXCEEDED");
    world.post("/account/methods/link/verify").by(&ann.access).json(&body).await.ok(200);
    assert_eq!(methods(&world, &ann.access).await, ["ann@example.com", SECOND]);
}

#[tokio::test]
async fn an_address_is_added_by_its_code_and_signs_in_to_the_same_account() {
    let world = World::new().await;
    let ann = world.ann().await;
    let sent = begin(&world, &ann.access, "ANN@second.example ").await;
    assert_eq!(sent["expiresIn"], 600);
    let code = world.mailed_code(SECOND);
    let verify = || world.post("/account/methods/link/verify").by(&ann.access).json(&proof(SECOND, &code));
    assert_eq!(verify().await.ok(200)["success"], true);
    assert_eq!(methods(&world, &ann.access).await, ["ann@example.com", SECOND]);
    assert_eq!(world.count_events(&ann, "method.linked").await, 1);

    verify().await.fails(400, "INVALID_CODE");
    assert_eq!(world.sign_in(SECOND).await.id, ann.id, "both addresses lead to one account");
    assert_eq!(world.get("/auth/me").by(&ann.access).await.ok(200)["user"]["email"], "ann@example.com");
}

#[tokio::test]
async fn codes_for_linking_and_for_signing_in_are_kept_apart() {
    let world = World::new().await;
    let ann = world.ann().await;
    begin(&world, &ann.access, SECOND).await;
    let link_code = world.mailed_code(SECOND);
    world.verify_code(SECOND, &link_code).await.fails(400, "INVALID_CODE");
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 1, "nobody was signed up");

    world.request_code(SECOND).await.ok(200);
    let sign_in_code = world.mailed_code(SECOND);
    let wrong = world.post("/account/methods/link/verify").by(&ann.access).json(&proof(SECOND, &sign_in_code)).await;
    wrong.fails(400, "INVALID_CODE");
    assert_eq!(methods(&world, &ann.access).await, ["ann@example.com"]);
}

#[tokio::test]
async fn a_code_is_bound_to_the_account_that_asked_for_it() {
    let world = World::new().await;
    let (ann, bob) = (world.ann().await, world.bob().await);
    begin(&world, &ann.access, SECOND).await;
    let code = world.mailed_code(SECOND);
    let stolen = world.post("/account/methods/link/verify").by(&bob.access).json(&proof(SECOND, &code)).await;
    stolen.fails(400, "INVALID_CODE");
    assert_eq!(methods(&world, &bob.access).await, ["bob@example.com"]);
}

#[tokio::test]
async fn what_belongs_to_another_account_is_a_conflict_and_changes_nothing() {
    let world = World::new().await;
    let (ann, bob) = (world.ann().await, world.bob().await);
    begin(&world, &ann.access, "bob@example.com").await;
    let code = world.mailed_code("bob@example.com");
    let verify = world.post("/account/methods/link/verify").by(&ann.access);
    verify.json(&proof("bob@example.com", &code)).await.fails(409, "CONFLICT");
    assert_eq!(methods(&world, &ann.access).await, ["ann@example.com"]);
    assert_eq!(methods(&world, &bob.access).await, ["bob@example.com"]);
    assert_eq!(world.count_events(&ann, "method.linked").await, 0);
}

#[tokio::test]
async fn guesses_are_counted_and_codes_end() {
    let world = World::new().await;
    let ann = world.ann().await;
    begin(&world, &ann.access, SECOND).await;
    let right = world.mailed_code(SECOND);
    let wrong = if right == "000000" { "000001" } else { "000000" };
    let verify = |code: &str| world.post("/account/methods/link/verify").by(&ann.access).json(&proof(SECOND, code));
    for left in [2, 1, 0] {
        assert_eq!(verify(wrong).await.fails(400, "INVALID_CODE")["attemptsRemaining"], left);
    }
    verify(&right).await.fails(400, "TOO_MANY_ATTEMPTS");

    begin(&world, &ann.access, SECOND).await;
    let right = world.mailed_code(SECOND);
    world.clock.advance(10 * crate::world::MINUTE);
    let access = &world.ann().await.access;
    let late = world.post("/account/methods/link/verify").by(access).json(&proof(SECOND, &right)).await;
    late.fails(400, "CODE_EXPIRED");
    assert_eq!(methods(&world, access).await, ["ann@example.com"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_accounts_that_prove_one_address_at_once_one_gets_it() {
    for _ in 0..10 {
        let world = World::new().await;
        let (ann, bob) = (world.ann().await, world.bob().await);
        begin(&world, &ann.access, SECOND).await;
        let anns = world.mailed_code(SECOND);
        begin(&world, &bob.access, SECOND).await;
        let bobs = world.mailed_code(SECOND);
        let people = [(ann.access, anns), (bob.access, bobs)];
        let replies = parallel(2, |n| {
            let (access, code) = &people[n];
            let call = world.post("/account/methods/link/verify").by(access).json(&proof(SECOND, code));
            async move { call.await }
        })
        .await;
        let mut statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
        assert_eq!(world.count("SELECT COUNT(*) FROM auth_methods WHERE identifier = 'ann@second.example'").await, 1);
    }
}

#[tokio::test]
async fn only_a_person_links_and_only_what_there_is() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = world.token(&ann).await;
    let link = |bearer: &str, body: Value| world.post("/account/methods/link").by(bearer).json(&body);
    link(&token.secret, json!({ "type": "email", "email": SECOND })).await.fails(403, "FORBIDDEN");
    link(&ann.access, json!({ "type": "carrier-pigeon" })).await.fails(400, "VALIDATION_ERROR");
    link(&ann.access, json!({ "type": "email", "email": "nobody" })).await.fails_at("email");
    link(&ann.access, json!({ "type": "sms", "phone": "12" })).await.fails_at("phone");
    link(&ann.access, json!({ "type": "wallet", "address": "0x12" })).await.fails_at("address");
    link(&ann.access, json!({ "type": "oauth", "provider": "github" })).await.fails(404, "NOT_FOUND");
    assert_eq!(methods(&world, &ann.access).await, ["ann@example.com"]);
}

#[tokio::test]
async fn a_wallet_is_added_by_a_message_that_signs_nobody_in() {
    let world = World::new().await;
    let ann = world.ann().await;
    let key = [7; 32];
    let address = sign_with_wallet("ethers", key, "").await.address;
    let body = json!({ "type": "wallet", "address": address });
    let challenge = world.post("/account/methods/link").by(&ann.access).json(&body).await.ok(200);
    assert_eq!(challenge["expiresIn"], 900);
    let message = challenge["message"].as_str().unwrap();
    let signature = sign_with_wallet("ethers", key, message).await.signature;
    let signed = json!({ "type": "wallet", "address": address, "message": message, "signature": signature });

    world.post("/auth/wallet/verify").json(&signed).await.fails(400, "INVALID_SIGNATURE");
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 1);
    let verify = || world.post("/account/methods/link/verify").by(&ann.access).json(&signed);
    verify().await.ok(200);
    verify().await.fails(400, "INVALID_SIGNATURE");
    assert_eq!(methods(&world, &ann.access).await, [address.as_str(), "ann@example.com"]);

    let message = challenge_to_sign_in(&world, &address).await;
    let signature = sign_with_wallet("ethers", key, &message).await.signature;
    let body = json!({ "address": address, "message": message, "signature": signature });
    let signed_in = world.post("/auth/wallet/verify").json(&body).await.ok(200);
    assert_eq!(signed_in["user"]["id"], ann.id.as_str());
}
