//! What others have published: the requests of RFCs, which our routes have to understand, and messages of EIP-4361's.
//! Where each comes from is in `tests/published/README.md`.

use http::Method;
use serde_json::{Value, json};
use testkit::{read_sign_in_message, sign_with_wallet};

use crate::client::{Call, Reply};
use crate::wallets::{assert_nobody_is_in, challenge, verify};
use crate::world::World;

/// The token of RFC 6750's examples.
const TOKEN: &str = "mF_9.B5f-4.1JqM";

macro_rules! published {
    ($name:literal) => {
        include_str!(concat!("../published/", $name))
    };
}

/// An RFC's request, sent to a route of ours instead of its `path`, with some of its texts replaced.
fn request(world: &World, text: &str, path: (&str, &str), replaced: &[(&str, &str)]) -> Call {
    let mut text = text.to_owned();
    for (old, new) in [path].iter().chain(replaced) {
        assert_eq!(text.matches(old).count(), 1, "{old} in {text}");
        text = text.replacen(old, new, 1);
    }
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let first: Vec<&str> = lines.next().unwrap().split(' ').collect();
    let mut call = world.call(Method::from_bytes(first[0].as_bytes()).unwrap(), first[1]);
    let mut content_type = None;
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        if name == "Content-Type" {
            content_type = Some(value);
        } else {
            call = call.header(name, value);
        }
    }
    match content_type {
        Some(content_type) => call.body(content_type, body.trim_end().to_owned()),
        None => call,
    }
}

#[track_caller]
fn refused(reply: &Reply, error: &str) {
    assert_eq!((reply.status, &reply.json["error"]), (400, &json!(error)), "{}", reply.text);
}

#[tokio::test]
async fn rfc_6750s_requests() {
    let world = World::new().await;
    let pat = world.token(&world.ann().await).await.secret;
    let path = ("/resource", "/auth/me");

    let header = published!("rfc6750-2.1.http");
    let reply = request(&world, header, path, &[]).await;
    let challenge = reply.header("www-authenticate");
    assert!(challenge.starts_with("Bearer realm=") && challenge.contains(r#"error="invalid_token""#), "{challenge}");
    reply.fails(401, "INVALID_TOKEN");
    request(&world, header, path, &[(TOKEN, &pat)]).await.ok(200);

    // The two other ways of it, which we do not offer: a form's field, and a URL's parameter, which ends in logs.
    let reply = request(&world, published!("rfc6750-2.3.http"), path, &[(TOKEN, &pat)]).await;
    let challenge = reply.header("www-authenticate");
    assert!(!challenge.contains("error="), "section 3.1: no credential, so no error code: {challenge}");
    reply.fails(401, "UNAUTHORIZED");
    request(&world, published!("rfc6750-2.2.http"), ("/resource", "/tokens"), &[(TOKEN, &pat)])
        .await
        .fails(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn rfc_7662s_requests() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await.secret;
    let service = world.service_jwt().sign();
    let path = ("/introspect", "/oauth/introspect");
    let bearer = published!("rfc7662-2.1-bearer.http");
    let (server, token) = ("23410913-abewfq.123483", "2YotnFZFEjr1zCsicMWpAA");

    request(&world, bearer, path, &[]).await.fails(401, "UNAUTHORIZED");
    let unknown = request(&world, bearer, path, &[(server, &service)]).await;
    assert_eq!((unknown.status, unknown.text.as_str()), (200, r#"{"active":false}"#));
    let known = request(&world, bearer, path, &[(server, &service), (token, &pat)]).await.ok(200);
    assert_eq!((&known["active"], &known["sub"]), (&json!(true), &json!(ann.id)));

    // With a hint, and credentials that no service of ours has.
    let basic = published!("rfc7662-2.1-basic.http");
    request(&world, basic, path, &[]).await.fails(401, "UNAUTHORIZED");
    let by_jwt = ("Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW", format!("Bearer {service}"));
    let hinted = request(&world, basic, path, &[(by_jwt.0, &by_jwt.1), (TOKEN, &pat)]).await.ok(200);
    assert_eq!(hinted["active"], true);
}

#[tokio::test]
async fn rfc_8693s_request() {
    let world = World::new().await;
    let pat = world.token(&world.ann().await).await.secret;
    let (path, text) = (("/as/token.oauth2", "/oauth/token"), published!("rfc8693-2.3.http"));
    refused(&request(&world, text, path, &[]).await, "invalid_request");
    let subject = ("accVkjcJyb4BWCxGsndESCJQbdFMogUC5PbRDqceLTC", pat.as_str());
    let reply = request(&world, text, path, &[subject]).await.ok(200);
    assert_eq!(reply["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    assert_eq!(reply["token_type"], "Bearer");
    let (_, claims) = crate::world::decode_jwt(reply["access_token"].as_str().unwrap());
    assert_eq!(claims["aud"], "https://backend.example.com/api");
}

#[tokio::test]
async fn rfc_8628s_requests() {
    let world = World::new().await;
    let path = ("/device_authorization", "/oauth/device_authorization");
    let reply = request(&world, published!("rfc8628-3.1.http"), path, &[]).await.ok(200);
    for field in ["device_code", "user_code", "verification_uri", "expires_in"] {
        assert!(!reply[field].is_null(), "section 3.2 wants {field}: {reply}");
    }
    let (path, text) = (("/token", "/oauth/token"), published!("rfc8628-3.4.http"));
    refused(&request(&world, text, path, &[]).await, "invalid_grant");
    let code = ("GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS", reply["device_code"].as_str().unwrap());
    refused(&request(&world, text, path, &[code]).await, "authorization_pending");
}

/// Whatever a message says and however right it is: only what we asked for signs anybody in.
#[tokio::test]
async fn siwes_messages_are_none_of_our_challenges() {
    let world = World::new().await;
    let by_name = |text: &str| serde_json::from_str::<serde_json::Map<String, Value>>(text).unwrap();
    let right = by_name(published!("siwe_parsing_positive.json"));
    let messages = right.values().map(|case| case["message"].clone());
    let messages: Vec<Value> =
        messages.chain(by_name(published!("siwe_parsing_negative.json")).into_values()).collect();
    assert_eq!(messages.len(), 48);
    let ann = sign_with_wallet("viem", [0x11; 32], messages[0].as_str().unwrap()).await;
    for message in &messages {
        let message = message.as_str().unwrap();
        verify(&world, &ann.address, message, &ann.signature).await.fails(400, "INVALID_SIGNATURE");
    }
    // Signed by the very wallet that it names.
    let tally = right["recovery byte starting at 0"]["message"].as_str().unwrap();
    let signature = "0x8c46b6eb8505939892d8e9b075f89f8277321b17b993151f37810cdda38cce6f4a85909d2b53e6a14629c74c0ac38bf4be\
                     cde78ee5b2529812bf6cceaf7b2a2501";
    let tallys = "0xc95EB884FE852e241D409234bfC7045CB9E31BD7";
    verify(&world, tallys, tally, signature).await.fails(400, "INVALID_SIGNATURE");
    assert_nobody_is_in(&world).await;
}

/// EIP-4361's reference parser, and the wallet standard's for Solana, read in our challenge what we mean.
#[tokio::test]
async fn wallets_can_read_our_challenges() {
    let world = World::new().await;
    for (chain, library, network) in [("ethereum", "viem", json!(1)), ("solana", "tweetnacl", json!("mainnet"))] {
        let address = sign_with_wallet(library, [0x11; 32], "").await.address;
        let message = challenge(&world, &address).await;
        let read = read_sign_in_message(chain, &message).await.unwrap();
        for (field, value) in [
            ("domain", json!("app.example.com")),
            ("address", json!(address)),
            ("statement", json!("Sign in with this wallet. This costs nothing and moves nothing.")),
            ("uri", json!("https://app.example.com/")),
            ("version", json!("1")),
            ("chainId", network),
            ("issuedAt", json!("2025-11-08T12:00:00.000Z")),
            ("expirationTime", json!("2025-11-08T12:15:00.000Z")),
        ] {
            assert_eq!(read[field], value, "{field} in {message}");
        }
        // And the parser is one that refuses.
        read_sign_in_message(chain, &message.replacen("Version: 1\n", "", 1).replacen("wants", "asks", 1))
            .await
            .unwrap_err();
    }
}
