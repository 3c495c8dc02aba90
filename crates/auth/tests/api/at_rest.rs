//! What is kept opens nothing: no token, code or JWT is in the database's files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use crate::world::{World, token};

/// Whether the data folder holds the text anywhere, the write-ahead log included.
fn is_kept(world: &World, text: &str) -> bool {
    world.kept_bytes().windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn no_secret_is_in_the_database_or_its_log() {
    let world = World::new().await;
    world.request_code("ann@example.com").await.ok(200);
    let code = world.mailed_code("ann@example.com");
    assert!(is_kept(&world, "ann@example.com"), "the search finds what is there");
    assert!(!is_kept(&world, &code));

    let ann = world.ann().await;
    let first = world.token(&ann).await;
    let rotated = token(
        &world
            .post(&format!("/tokens/{}/rotate", first.id))
            .by(&ann.access)
            .json(&json!({ "graceSeconds": 60 }))
            .await
            .ok(201),
    );
    let legacy = world.post("/auth/pat/create").by(&ann.access).json(&json!({ "name": "cli" })).await.ok(201);
    let renewed = world.refresh(&ann.refresh).await.ok(200);
    for secret in [&first.secret, &rotated.secret] {
        assert!(world.is_valid(secret).await);
    }
    world.auth.flush().await.unwrap();
    world.auth.seal().await.unwrap();

    let secrets = [
        &code,
        &first.secret,
        &rotated.secret,
        legacy["token"].as_str().unwrap(),
        &ann.access,
        &ann.refresh,
        renewed["accessToken"].as_str().unwrap(),
        renewed["refreshToken"].as_str().unwrap(),
    ];
    for open in [true, false] {
        if !open {
            // Moves the log's content into the database file.
            world.store.close().await;
        }
        assert!(is_kept(&world, &first.id) && is_kept(&world, &first.secret[..12]), "the id and the prefix are");
        for secret in secrets {
            assert!(!is_kept(&world, secret), "kept in clear: {secret}");
            assert!(!is_kept(&world, &secret[secret.len() - 6.min(secret.len())..]), "its end is kept: {secret}");
        }
    }
}

#[tokio::test]
async fn the_signing_key_is_sealed() {
    let world = World::new().await;
    // PKCS #8 of an Ed25519 key begins like this (RFC 8410 §7).
    let pkcs8 = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
    assert_eq!(world.count("SELECT COUNT(*) FROM signing_keys WHERE sealed_private_key <> ''").await, 1);
    assert!(!world.kept_bytes().windows(pkcs8.len()).any(|window| window == pkcs8));
    assert!(!is_kept(&world, &BASE64.encode(pkcs8)));
}
