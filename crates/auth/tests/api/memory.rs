//! Memory is bounded in bytes, and given back.

use auth::Config;
use serde_json::json;

use crate::world::{MINUTE, Token, World};

async fn validate(world: &World, secret: &str) {
    let body = json!({ "token": secret, "withUser": true });
    world.post("/tokens/validate").by(&world.service_jwt().sign()).json(&body).await.ok(200);
}

#[tokio::test]
async fn a_load_of_new_people_leaves_nothing_behind() {
    let world = World::new().await;
    let (mut most, mut credentials) = (0, 0);
    for round in 0..4 {
        for number in 0..20 {
            let person = world.sign_in(&format!("u{round}-{number}@example.com")).await;
            validate(&world, &person.access).await;
            for _ in 0..3 {
                validate(&world, &world.token(&person).await.secret).await;
            }
            credentials += 4;
        }
        assert_eq!(world.gauge("uses_waiting").await, 80);
        world.auth.flush().await.unwrap();
        most = most.max(world.gauge("cache_entries").await);
        world.clock.advance(MINUTE);
        for _ in 0..64 {
            world.auth.sweep_copies();
        }
        world.auth.sweep().await.unwrap();
        for name in ["cache_entries", "cache_bytes", "uses_waiting"] {
            assert_eq!(world.gauge(name).await, 0, "{name} after {credentials} credentials");
        }
    }
    assert_eq!(most, 80 + 20, "credentials and people of one round");
}

#[tokio::test]
async fn what_is_swept_is_not_what_is_in_use() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = world.token(&ann).await;
    for _ in 0..6 {
        validate(&world, &token.secret).await;
        world.clock.advance(MINUTE / 3);
        for _ in 0..64 {
            world.auth.sweep_copies();
        }
    }
    assert_eq!(world.gauge("cache_entries").await, 2, "the token and its owner, and no more her session");
}

#[tokio::test]
async fn the_heaviest_credentials_take_no_more_than_there_is_for_them() {
    let world = World::with(|setup| setup.config.cache_memory = Config::MIN_CACHE_MEMORY).await;
    let ann = world.ann().await;
    let mut tokens: Vec<Token> = Vec::new();
    for number in 0..700 {
        let scopes: Vec<_> = (0..32).map(|scope| format!("s{number:03}-{scope:02}{}", "x".repeat(240))).collect();
        let token = world.token_with(&ann, json!({ "scopes": scopes })).await;
        assert!(world.is_valid(&token.secret).await);
        tokens.push(token);
    }
    let (entries, bytes) = (world.gauge("cache_entries").await, world.gauge("cache_bytes").await);
    assert!(bytes <= Config::MIN_CACHE_MEMORY / 2, "{bytes}");
    assert!(bytes > Config::MIN_CACHE_MEMORY / 4 && entries < 500, "{bytes} of {entries}");
    for token in tokens {
        assert!(world.is_valid(&token.secret).await, "in memory or not");
    }
}
