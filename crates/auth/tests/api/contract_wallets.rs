//! Wallets that are contracts, on a chain with a real EVM (`test-clients/chain.mjs`), and nodes that misbehave.

use std::process::Stdio;

use auth::EthereumRpc;
use axum::Router;
use domain::wallet::ethereum::{personal_message_hash, to_hex};
use serde_json::{Value, json};
use testkit::test_clients;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::wallets::{assert_nobody_is_in, challenge, verify};
use crate::world::{World, person};

struct Chain {
    url: String,
    wallet: String,
    counterfactual: String,
    _node: Child,
}

impl Chain {
    async fn start() -> Self {
        let mut node = Command::new("node")
            .arg("chain.mjs")
            .current_dir(test_clients())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(node.stdout.take().unwrap()).lines();
        let started: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        let text = |field: &str| started[field].as_str().unwrap().to_owned();
        let url = format!("http://127.0.0.1:{}", started["port"]);
        Self { url, wallet: text("wallet"), counterfactual: text("counterfactual"), _node: node }
    }

    /// What the software of a wallet that is not deployed yet makes of its signature.
    async fn wrap(&self, signature: &str) -> String {
        let body = json!({ "id": 1, "method": "test_counterfactualSignature", "params": [signature] });
        let answer = reqwest::Client::new().post(&self.url).body(body.to_string()).send().await.unwrap();
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        answer["result"].as_str().unwrap().to_owned()
    }
}

async fn world(url: &str) -> World {
    let rpc = EthereumRpc::new(url.into()).unwrap();
    World::with(|setup| setup.config.ethereum = Some(rpc)).await
}

/// What the wallets of that chain take for a signature.
fn sign(message: &str) -> String {
    to_hex(&personal_message_hash(message))
}

#[tokio::test]
async fn contracts_sign_in_deployed_or_not() {
    let chain = Chain::start().await;
    let world = world(&chain.url).await;
    for is_deployed in [true, false] {
        let address = if is_deployed { &chain.wallet } else { &chain.counterfactual };
        let message = challenge(&world, address).await;
        let mut signature = sign(&message);
        if !is_deployed {
            verify(&world, address, &message, &signature).await.fails(400, "INVALID_SIGNATURE");
            signature = chain.wrap(&signature).await;
        }
        let reply = verify(&world, address, &message, &signature).await.ok(200);
        assert_eq!(reply["user"]["walletAddress"], address.as_str());
        assert!(world.is_valid(&world.token(&person(&reply)).await.secret).await);
        verify(&world, address, &message, &signature).await.fails(400, "INVALID_SIGNATURE");
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 2);
}

#[tokio::test]
async fn contracts_refuse_what_they_have_not_signed() {
    let chain = Chain::start().await;
    let world = world(&chain.url).await;
    let other = sign("something else");
    for address in [&chain.wallet, &chain.counterfactual] {
        let message = challenge(&world, address).await;
        let nonsense = format!("0x00{}", "6492".repeat(16));
        for signature in [&other, &chain.wrap(&other).await, "0x", &"00".repeat(65), &"00".repeat(66), &nonsense] {
            verify(&world, address, &message, signature).await.fails(400, "INVALID_SIGNATURE");
        }
    }
    // An address without code, and one that the factory does not make.
    let nobody = format!("0x{}", "33".repeat(20));
    let message = challenge(&world, &nobody).await;
    for signature in [sign(&message), chain.wrap(&sign(&message)).await] {
        verify(&world, &nobody, &message, &signature).await.fails(400, "INVALID_SIGNATURE");
    }
    assert_nobody_is_in(&world).await;
}

#[tokio::test]
async fn a_contract_of_another_network_is_not_taken_for_this_ones() {
    let chain = Chain::start().await;
    let world = world(&chain.url).await;
    let body = json!({ "address": chain.wallet, "chainId": 10 });
    let reply = world.post("/auth/wallet/challenge").json(&body).await.ok(200);
    let message = reply["message"].as_str().unwrap();
    verify(&world, &chain.wallet, message, &sign(message)).await.fails(400, "INVALID_SIGNATURE");
    assert_nobody_is_in(&world).await;
}

/// A node that answers everything with this.
async fn node(answer: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(move || {
        let answer = answer.clone();
        async move { answer }
    });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

#[tokio::test]
async fn a_node_that_fails_lets_nobody_in_and_spends_nothing() {
    let answers = [
        String::new(),
        "<html>502 Bad Gateway</html>".to_owned(),
        "{}".to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"result":null}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"result":"one"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"over your limit"}}"#.to_owned(),
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":"0x{}"}}"#, "00".repeat(5_000_000)),
    ];
    let mut urls = vec!["http://127.0.0.1:9/a-secret-key".to_owned()];
    for answer in answers {
        urls.push(node(answer).await);
    }
    let address = format!("0x{}", "11".repeat(20));
    for url in urls {
        let world = world(&url).await;
        let message = challenge(&world, &address).await;
        let body = verify(&world, &address, &message, &sign(&message)).await.fails(502, "PROVIDER_ERROR");
        assert!(!body.to_string().contains("127.0.0.1"), "{body}");
        assert_nobody_is_in(&world).await;
        assert_eq!(world.count("SELECT COUNT(*) FROM wallet_challenges WHERE consumed_at IS NULL").await, 1);
    }
    // One that says yes to everything with another word.
    let world = world(&node(r#"{"jsonrpc":"2.0","id":1,"result":"0x1"}"#.to_owned()).await).await;
    let message = challenge(&world, &address).await;
    verify(&world, &address, &message, &sign(&message)).await.fails(400, "INVALID_SIGNATURE");
    assert_nobody_is_in(&world).await;
}
