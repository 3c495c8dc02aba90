//! The keys that sign access and narrowed JWTs: published, rotated, and what forgers try.

use auth::{OldKeys, Secrets, rotate_signing_keys};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};
use testkit::seeded_chance;

use crate::client::parallel;
use crate::world::{DAY, JWT_SECRET, REFRESH_SECRET, SECOND, World, decode_jwt};

fn secrets() -> Secrets {
    Secrets { service_jwt: vec![JWT_SECRET.into()], refresh_jwt: REFRESH_SECRET.into(), seal: Vec::new() }
}

/// What `afd keys rotate` does, in a process of its own.
async fn rotate(world: &World, seed: u64, old: OldKeys) -> String {
    let kid = rotate_signing_keys(&world.store, &secrets(), seeded_chance(seed), world.now(), old).await.unwrap();
    kid.to_string()
}

async fn published(world: &World) -> Vec<Value> {
    let reply = world.get("/.well-known/jwks.json").await;
    assert_eq!(reply.status, 200);
    reply.json["keys"].as_array().unwrap().clone()
}

fn kid(jwt: &str) -> String {
    decode_jwt(jwt).0["kid"].as_str().unwrap().to_owned()
}

fn encode(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()))
}

/// The key pair of another instance.
fn elsewhere() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap()
}

/// Another instance puts its key into the database; this one could not open the private half, and need not.
async fn add_key(world: &World) {
    let public = BASE64URL.encode(elsewhere().public_key());
    let row = format!("('elsewhere', '{public}', 'x.x', '0123456789abcdef', 1, 9000000000000)");
    world.by_hand(&format!("INSERT INTO signing_keys VALUES {row}")).await;
}

fn signed_elsewhere(claims: &Value) -> String {
    let text = encode(&json!({ "alg": "EdDSA", "typ": "JWT", "kid": "elsewhere" }), claims);
    format!("{text}.{}", BASE64URL.encode(elsewhere().sign(text.as_bytes())))
}

#[tokio::test]
async fn the_public_keys_are_published_and_may_be_kept_for_a_while() {
    let world = World::new().await;
    let ann = world.ann().await;
    let reply = world.get("/.well-known/jwks.json").await;
    assert_eq!(reply.header("cache-control"), "public, max-age=300");
    assert_eq!(reply.header("content-type"), "application/json");
    let key = &reply.json["keys"][0];
    assert_eq!(reply.json["keys"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&key["kty"], &key["crv"], &key["alg"], &key["use"]),
        (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA"), &json!("sig"))
    );
    assert_eq!(key.as_object().unwrap().len(), 6, "and nothing private");
    assert_eq!(key["kid"], kid(&ann.access));
    let verifying = aws_lc_rs::signature::UnparsedPublicKey::new(
        &aws_lc_rs::signature::ED25519,
        BASE64URL.decode(key["x"].as_str().unwrap()).unwrap(),
    );
    let (signed, signature) = ann.access.rsplit_once('.').unwrap();
    verifying.verify(signed.as_bytes(), &BASE64URL.decode(signature).unwrap()).unwrap();

    let etag = reply.header("etag").to_owned();
    let again = world.get("/.well-known/jwks.json").header("if-none-match", &etag).await;
    assert_eq!((again.status, again.text.as_str(), again.header("etag")), (304, "", etag.as_str()));
    rotate(&world, 2, OldKeys::Overlap).await;
    world.auth.look_after_keys().await.unwrap();
    assert_eq!(world.get("/.well-known/jwks.json").header("if-none-match", &etag).await.status, 200);
}

#[tokio::test]
async fn after_a_rotation_the_new_key_signs_and_the_old_one_verifies_until_the_overlap_is_past() {
    // A session as long as nobody has one, so that it is the key that ends.
    let world = World::with(|setup| {
        setup.config.access_lifetime = 60 * DAY;
        setup.config.refresh_lifetime = 60 * DAY;
        setup.config.session_max_lifetime = 60 * DAY;
    })
    .await;
    let old = world.ann().await.access;
    let first = kid(&old);

    let second = rotate(&world, 2, OldKeys::Overlap).await;
    world.auth.look_after_keys().await.unwrap();
    let kids: Vec<Value> = published(&world).await.iter().map(|key| key["kid"].clone()).collect();
    assert_eq!(kids, [second.as_str(), first.as_str()], "published before it signs");
    world.clock.advance(2 * SECOND);
    let bob = world.bob().await;
    assert_eq!(kid(&bob.access), second);
    assert!(world.is_valid(&old).await && world.is_valid(&bob.access).await);

    world.clock.advance(30 * DAY - 3 * SECOND);
    assert!(world.is_valid(&old).await);
    world.clock.advance(SECOND);
    // The copy in the cache is one second old and rests on a signature of a key that has just ended.
    assert_eq!(published(&world).await.len(), 1);
    world.clock.advance(30 * SECOND);
    assert!(!world.is_valid(&old).await);
    assert_eq!(world.count("SELECT COUNT(*) FROM audit_events WHERE type = 'signing_key.added'").await, 1);
    world.clock.advance(2 * DAY);
    world.auth.clean().await.unwrap();
    assert_eq!(world.count("SELECT COUNT(*) FROM signing_keys").await, 1);
}

#[tokio::test]
async fn keys_are_rotated_every_thirty_days_once_however_many_instances_there_are() {
    let world = World::new().await;
    let first = kid(&world.ann().await.access);
    world.clock.advance(30 * DAY - SECOND);
    world.auth.look_after_keys().await.unwrap();
    assert_eq!(published(&world).await.len(), 1);
    world.clock.advance(SECOND);
    for reply in parallel(8, |_| {
        let auth = std::sync::Arc::clone(&world.auth);
        async move { auth.look_after_keys().await }
    })
    .await
    {
        reply.unwrap();
    }
    let keys = published(&world).await;
    assert_eq!((keys.len(), &keys[1]["kid"]), (2, &json!(first)));
    world.clock.advance(30 * DAY);
    world.auth.look_after_keys().await.unwrap();
    assert_eq!(published(&world).await.len(), 2, "two overlap");
}

#[tokio::test]
async fn a_leaked_key_can_be_ended_at_once() {
    let world = World::new().await;
    let ann = world.ann().await;
    assert!(world.is_valid(&ann.access).await, "and in the cache");
    let second = rotate(&world, 2, OldKeys::End).await;
    world.auth.look_after_keys().await.unwrap();
    world.clock.advance(30 * SECOND);
    assert!(!world.is_valid(&ann.access).await);
    assert_eq!(published(&world).await.len(), 1);
    let refreshed = world.refresh(&ann.refresh).await.ok(200);
    let access = refreshed["accessToken"].as_str().unwrap();
    assert_eq!(kid(access), second);
    assert!(world.is_valid(access).await, "the session goes on");
}

#[tokio::test]
async fn a_key_that_another_instance_made_is_found_at_its_first_jwt() {
    let world = World::new().await;
    let ann = world.ann().await;
    let (_, claims) = decode_jwt(&ann.access);
    // Whoever invents key ids makes it look once a second, and cannot keep it from looking.
    for invented in ["a", "b", "c"] {
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": invented });
        assert!(!world.is_valid(&format!("{}.AAAA", encode(&header, &claims))).await);
    }
    add_key(&world).await;
    world.clock.advance(SECOND);
    assert!(world.is_valid(&signed_elsewhere(&claims)).await);
}

#[tokio::test]
async fn forged_signatures_and_headers_open_nothing() {
    let world = World::new().await;
    let ann = world.ann().await;
    let (header, claims) = decode_jwt(&ann.access);
    let (signed, signature) = ann.access.rsplit_once('.').unwrap();
    let public = published(&world).await[0]["x"].as_str().unwrap().to_owned();
    let mine = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let sign = |header: &Value| {
        let text = encode(header, &claims);
        format!("{text}.{}", BASE64URL.encode(mine.sign(text.as_bytes())))
    };
    let hmac = |algorithm, secret: &[u8], kid: Option<&str>| {
        let mut header = jsonwebtoken::Header::new(algorithm);
        header.kid = kid.map(str::to_owned);
        jsonwebtoken::encode(&header, &claims, &jsonwebtoken::EncodingKey::from_secret(secret)).unwrap()
    };
    let kid = header["kid"].as_str().unwrap();
    let raw = BASE64URL.decode(&public).unwrap();
    let own_key = json!({ "kty": "OKP", "crv": "Ed25519", "x": BASE64URL.encode(mine.public_key()) });
    let with = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        header
    };
    let mut forged = vec![
        hmac(jsonwebtoken::Algorithm::HS256, &raw, Some(kid)),
        hmac(jsonwebtoken::Algorithm::HS256, public.as_bytes(), Some(kid)),
        hmac(jsonwebtoken::Algorithm::HS256, JWT_SECRET.as_bytes(), Some(kid)),
        hmac(jsonwebtoken::Algorithm::HS256, JWT_SECRET.as_bytes(), None),
        hmac(jsonwebtoken::Algorithm::HS512, JWT_SECRET.as_bytes(), Some(kid)),
        format!("{}.", encode(&json!({ "alg": "none", "typ": "JWT", "kid": kid }), &claims)),
        format!("{}.{signature}", encode(&json!({ "alg": "none", "kid": kid }), &claims)),
        format!("{signed}."),
        sign(&header),
        sign(&with("jwk", own_key)),
        sign(&with("jku", json!("https://evil.example/jwks.json"))),
        sign(&json!({ "alg": "EdDSA", "typ": "JWT" })),
    ];
    let hostile = ["", "x", "../../../etc/passwd", "' OR 1=1 --", "0\0", "ä", &"k".repeat(64), &"k".repeat(3000)];
    forged.extend(hostile.map(|kid| sign(&with("kid", json!(kid)))));
    forged.extend([json!(7), json!(null), json!([kid]), json!({})].map(|kid| sign(&with("kid", kid))));
    for jwt in &forged {
        assert!(!world.is_valid(jwt).await, "{jwt}");
        assert_eq!(world.get("/forward-auth").by(jwt).await.status, 401, "{jwt}");
        assert_eq!(world.get("/auth/me").by(jwt).await.status, 401, "{jwt}");
    }
    assert!(world.is_valid(&ann.access).await);
}

#[tokio::test]
async fn each_kind_is_taken_for_itself_only() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await;
    let form = format!(
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={}\
         &subject_token_type=urn:ietf:params:oauth:token-type:access_token",
        pat.secret
    );
    let reply = world.post("/oauth/token").body("application/x-www-form-urlencoded", form).await.ok(200);
    let (_, access) = decode_jwt(&ann.access);
    let (_, narrowed) = decode_jwt(reply["access_token"].as_str().unwrap());
    let changed = |claims: &Value, name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let second = world.bob().await;
    add_key(&world).await;
    for claims in [
        changed(&access, "type", json!("narrowed")),
        changed(&access, "type", json!("refresh")),
        changed(&access, "type", json!("service-to-service")),
        changed(&access, "type", Value::Null),
        changed(&access, "aud", json!("alternatefutures-api")),
        changed(&access, "iss", json!("somebody")),
        changed(&access, "userId", json!(second.id)),
        changed(&access, "sessionId", json!("nothing")),
        changed(&access, "exp", json!(world.now().as_seconds())),
        changed(&access, "exp", json!("soon")),
        changed(&narrowed, "type", json!("access")),
        changed(&narrowed, "iss", json!("somebody")),
        changed(&narrowed, "sub", json!(second.id)),
        changed(&narrowed, "parent", json!("other")),
        changed(&narrowed, "act", json!({ "sub": "other" })),
        changed(&narrowed, "parent_secret_id", json!("nothing")),
        changed(&narrowed, "aud", json!([])),
        changed(&narrowed, "aud", json!(7)),
        changed(&narrowed, "scope", json!("")),
        changed(&narrowed, "scope", json!(["*"])),
    ] {
        let jwt = signed_elsewhere(&claims);
        assert!(!world.is_valid(&jwt).await, "{claims}");
    }
    assert!(world.is_valid(&signed_elsewhere(&access)).await);
    assert!(world.is_valid(&signed_elsewhere(&narrowed)).await);
}
