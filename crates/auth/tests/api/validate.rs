//! `POST /tokens/validate`: the question that every call of every customer asks.

use serde_json::{Value, json};

use crate::world::{MINUTE, SECOND, World, decode_jwt};

#[tokio::test]
async fn a_good_token_is_described() {
    let world = World::new().await;
    let ann = world.ann().await;
    let end = world.now().plus(60 * MINUTE);
    let pat = world.token_with(&ann, json!({ "scopes": ["projects:read", "a"], "expiresAt": end })).await;
    let reply = world.validate(&pat.secret).await;
    assert_eq!(reply.header("x-ratelimit-limit"), "1000");
    assert_eq!(reply.header("x-ratelimit-remaining"), "999");
    assert_eq!(
        reply.ok(200),
        json!({
            "valid": true, "kind": "pat", "userId": ann.id, "tokenId": pat.id, "name": "a token",
            "scopes": ["projects:read", "a"], "email": "ann@example.com", "displayName": null, "avatarUrl": null,
            "expiresAt": end,
            "rateLimit": { "limit": 1000, "remaining": 999, "resetAt": world.now().plus(MINUTE) },
        })
    );
}

#[tokio::test]
async fn a_good_session_is_described() {
    let world = World::new().await;
    let ann = world.ann().await;
    world.by_hand("UPDATE users SET display_name = 'Ann', avatar_url = 'https://example.com/a.png'").await;
    assert_eq!(
        world.validate(&ann.access).await.ok(200),
        json!({
            "valid": true, "kind": "session", "userId": ann.id, "tokenId": decode_jwt(&ann.access).1["sessionId"],
            "name": null, "scopes": ["*"], "email": "ann@example.com", "displayName": "Ann",
            "avatarUrl": "https://example.com/a.png", "expiresAt": world.now().plus(15 * MINUTE),
            "rateLimit": { "limit": 1000, "remaining": 999, "resetAt": world.now().plus(MINUTE) },
        })
    );
}

#[tokio::test]
async fn a_bad_token_is_told_invalid_and_no_more() {
    let world = World::new().await;
    let ann = world.ann().await;
    let deleted = world.token(&ann).await;
    world.delete(&format!("/tokens/{}", deleted.id)).by(&ann.access).await.ok(200);
    let never_was = testkit::seeded_chance(77)
        .with(|rng| domain::token::TokenSecret::generate(domain::token::Kind::Live, rng).expose().to_owned());

    for bad in [deleted.secret.as_str(), &never_was, "af_live_x", ""] {
        let reply = world.validate(bad).await;
        assert_eq!(reply.header("www-authenticate"), r#"Bearer realm="alternatefutures", error="invalid_token""#);
        let id = reply.header("x-request-id").to_owned();
        let body =
            json!({ "valid": false, "error": "This token is not valid", "code": "INVALID_TOKEN", "requestId": id });
        assert_eq!(reply.fails(401, "INVALID_TOKEN"), body);
    }
}

#[tokio::test]
async fn a_token_with_one_character_changed_is_invalid() {
    let world = World::new().await;
    let ann = world.ann().await;
    let secret = world.token(&ann).await.secret;
    for place in 0..secret.len() {
        let (before, after) = (&secret[..place], &secret[place + 1..]);
        let old = secret.as_bytes()[place];
        let recased =
            char::from(if old.is_ascii_lowercase() { old.to_ascii_uppercase() } else { old.to_ascii_lowercase() });
        let flipped = char::from(old ^ 1);
        for changed in [
            format!("{before}{flipped}{after}"),
            format!("{before}{after}"),
            format!("{before}{recased}{after}"),
            format!("{before}\0{after}"),
            format!("{before}ä{after}"),
            format!("{before}{}x{after}", char::from(old)),
        ] {
            assert!(changed == secret || !world.is_valid(&changed).await, "{changed}");
        }
    }
    for changed in [format!("{secret}a"), format!("{secret}\n"), format!(" {secret}"), format!("Bearer {secret}")] {
        assert!(!world.is_valid(&changed).await, "{changed}");
    }
    assert!(world.is_valid(&secret).await);
}

#[tokio::test]
async fn hostile_texts_are_invalid() {
    let world = World::new().await;
    for text in ["\0", "😀", "af_live_\0", "' OR 1=1 --", "af_", "..", "a.b.c", "{}", "\u{202e}", "null"] {
        assert!(!world.is_valid(text).await, "{text:?}");
    }
    for huge in ["x".repeat(5_000), "af_live_".repeat(7_000), format!("{}.a.b", "e".repeat(50_000))] {
        assert!(!world.is_valid(&huge).await);
    }
}

#[tokio::test]
async fn only_the_checksum_makes_a_token_worth_a_look() {
    let world = World::new().await;
    // With the database gone, what needs a look cannot be answered, and what does not still is.
    let unknown = testkit::seeded_chance(77)
        .with(|rng| domain::token::TokenSecret::generate(domain::token::Kind::Live, rng).expose().to_owned());
    world.store.close().await;
    world.validate(&unknown).await.fails(503, "UNAVAILABLE");
    let mut broken = unknown;
    broken.replace_range(45.., if broken.ends_with('a') { "b" } else { "a" });
    assert!(!world.is_valid(&broken).await);
}

#[tokio::test]
async fn a_body_that_is_none_is_refused() {
    let world = World::new().await;
    let ask = |body: Value| world.post("/tokens/validate").by(&world.service_jwt().sign()).json(&body);
    for body in [json!({}), json!({ "token": null }), json!({ "token": 7 }), json!({ "token": ["x"] })] {
        ask(body).await.fails_at("token");
    }
    ask(json!({ "token": "x", "client": "nobody" })).await.fails_at("client");
    ask(json!({ "token": "x", "client": { "ip": 7 } })).await.fails_at("client.ip");
    // What the end user's browser said about itself is not the asking service's mistake.
    let client = json!({ "ip": "not an ip", "userAgent": "\u{1}\u{7f}", "requestId": "<script>", "more": 1 });
    ask(json!({ "token": "x", "client": client })).await.fails(401, "INVALID_TOKEN");
}

#[tokio::test]
async fn only_a_service_may_ask() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await;
    let ask = || world.post("/tokens/validate").json(&json!({ "token": pat.secret }));
    let forged = testkit::service_jwt("another secret of at least 32 bytes", world.now()).sign();
    for refused in [
        ask(),
        ask().by(&pat.secret),
        ask().by(&ann.access),
        ask().by(&ann.refresh),
        ask().by(&forged),
        ask().header("authorization", "Basic eDp5"),
    ] {
        refused.await.fails(401, "UNAUTHORIZED");
    }
    let remaining = world.validate(&pat.secret).await.ok(200)["rateLimit"]["remaining"].clone();
    assert_eq!(remaining, 999, "no refused question was counted");
    ask().by(&world.service_jwt().user(&ann.id).sign()).await.ok(200);
}

#[tokio::test]
async fn an_installation_may_open_it_to_anybody_under_a_limit() {
    let world = World::with(|setup| {
        setup.config.validate_allow_anonymous = true;
        setup.config.limits.standard = "3/1m".parse().unwrap();
    })
    .await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await;
    let ask = || world.post("/tokens/validate").json(&json!({ "token": pat.secret }));
    for _ in 0..3 {
        assert_eq!(ask().await.ok(200)["valid"], true);
    }
    ask().await.fails(429, "RATE_LIMIT_EXCEEDED");
    ask().from("203.0.113.7").await.ok(200);
    // A credential that is wrong is still wrong, and a service still has no limit by address.
    ask().by("nonsense").from("203.0.113.8").await.fails(401, "UNAUTHORIZED");
    for _ in 0..4 {
        assert!(world.is_valid(&pat.secret).await);
    }
}

#[tokio::test]
async fn once_warm_neither_database_nor_bcrypt_is_asked() {
    let world = World::new().await;
    let ann = world.ann().await;
    let (warm, cold) = (world.token(&ann).await, world.token(&ann).await);
    let warm_session = world.ann().await;
    // No verifier of record, so that whoever needs bcrypt fails.
    world.by_hand("UPDATE token_secrets SET hash = 'none'").await;
    world.look().await;
    assert!(world.is_valid(&warm.secret).await && world.is_valid(&warm_session.access).await);
    world.later(29 * SECOND).await;
    world.store.close().await;

    for used in 2..10 {
        for credential in [&warm.secret, &warm_session.access] {
            let reply = world.validate(credential).await.ok(200);
            assert_eq!(reply["rateLimit"]["remaining"], 1000 - used);
        }
    }
    let reply = world.validate(&cold.secret).await;
    assert_eq!(reply.header("retry-after"), "1");
    reply.fails(503, "UNAVAILABLE");
    world.clock.advance(SECOND);
    world.validate(&warm.secret).await.fails(503, "UNAVAILABLE");
    world.validate(&warm_session.access).await.fails(503, "UNAVAILABLE");
}
