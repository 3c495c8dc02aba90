//! What a personal access token may do at the auth service itself.

use http::Method;
use serde_json::json;

use crate::client::Call;
use crate::world::{MINUTE, Person, Token, World};

/// The routes that take a token, and the scope they want.
const ROUTES: [(Method, &str, &str); 7] = [
    (Method::GET, "/tokens", "tokens:read"),
    (Method::GET, "/tokens/limits", "tokens:read"),
    (Method::GET, "/auth/me", "profile:read"),
    (Method::GET, "/audit", "audit:read"),
    (Method::POST, "/tokens", "tokens:write"),
    (Method::POST, "/tokens/{id}/rotate", "tokens:write"),
    (Method::DELETE, "/tokens/{id}", "tokens:write"),
];

fn call(world: &World, method: &Method, path: &str, target: &Token, credential: &str) -> Call {
    let call = world.call(method.clone(), &path.replace("{id}", &target.id)).by(credential);
    match path {
        // What the token itself may mint.
        "/tokens" if *method == Method::POST => call.json(&json!({ "name": "x", "scopes": ["a"] })),
        _ => call,
    }
}

async fn target(world: &World, owner: &Person) -> Token {
    world.scoped(owner, &["a"]).await
}

#[tokio::test]
async fn a_token_passes_with_the_scope_and_with_what_covers_it() {
    let world = World::new().await;
    let ann = world.ann().await;
    for (method, path, scope) in ROUTES {
        let wildcard = format!("{}:*", scope.split(':').next().unwrap());
        for scopes in [&["a", scope][..], &["a", &wildcard], &["*"]] {
            let target = target(&world, &ann).await;
            let pat = world.scoped(&ann, scopes).await;
            let reply = call(&world, &method, path, &target, &pat.secret).await;
            assert!(reply.status < 300, "{method} {path} with {scopes:?}: {}", reply.text);
        }
    }
}

#[tokio::test]
async fn a_token_without_the_scope_is_forbidden_and_changes_nothing() {
    let world = World::new().await;
    let ann = world.ann().await;
    let target = target(&world, &ann).await;
    for (method, path, scope) in ROUTES {
        let others = ["a", "tokens:read", "tokens:write", "profile:read", "audit:read", "tokens", "tokens:read:x"];
        let others: Vec<&str> = others.into_iter().filter(|other| *other != scope).collect();
        let pat = world.scoped(&ann, &others).await;
        let before = (world.token_ids(&ann).await, world.events(&ann).await);

        let reply = call(&world, &method, path, &target, &pat.secret).await;
        assert!(reply.header("www-authenticate").contains(r#"error="insufficient_scope""#), "{reply:?}");
        let body = reply.fails(403, "FORBIDDEN");
        assert!(body["error"].as_str().unwrap().contains(scope), "{method} {path}: {body}");
        assert_eq!((world.token_ids(&ann).await, world.events(&ann).await), before, "{method} {path}");
        assert!(world.is_valid(&target.secret).await);
    }
}

#[tokio::test]
async fn no_token_and_no_service_reaches_what_is_for_sessions_only() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await;
    let jwt = world.service_jwt().user(&ann.id).sign();
    for credential in [&pat.secret, &jwt] {
        world.post("/auth/logout").by(credential).await.fails(403, "FORBIDDEN");
        let body = json!({ "name": "x" });
        world.post("/auth/pat/create").by(credential).json(&body).await.fails(403, "FORBIDDEN");
    }
    assert_eq!(world.token_ids(&ann).await, [pat.id]);
    assert_eq!(world.count_events(&ann, "session.ended").await, 0);
}

#[tokio::test]
async fn a_token_mints_nothing_wider_than_itself() {
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.scoped(&ann, &["tokens:write", "projects:*", "sites:read"]).await;
    let mint = |body| world.post("/tokens").by(&pat.secret).json(&body);
    for scopes in [
        json!(null),
        json!(["*"]),
        json!(["tokens:read"]),
        json!(["tokens:*"]),
        json!(["sites:*"]),
        json!(["projects"]),
        json!(["projects:read", "sites:write"]),
    ] {
        mint(json!({ "name": "x", "scopes": scopes })).await.fails(403, "FORBIDDEN");
    }
    mint(json!({ "name": "x" })).await.fails(403, "FORBIDDEN");
    assert_eq!(world.token_ids(&ann).await, [pat.id.as_str()]);

    for scopes in
        [json!(["projects:read", "sites:read"]), json!(["projects:*"]), json!(["projects:a:*", "tokens:write"])]
    {
        mint(json!({ "name": "x", "scopes": scopes })).await.ok(201);
    }
}

#[tokio::test]
async fn a_token_mints_nothing_longer_lived_than_itself() {
    let world = World::new().await;
    let ann = world.ann().await;
    let end = world.now().plus(60 * MINUTE);
    let pat = world.token_with(&ann, json!({ "expiresAt": end })).await;
    let mint = |body| world.post("/tokens").by(&pat.secret).json(&body);
    mint(json!({ "name": "x" })).await.fails(403, "FORBIDDEN");
    mint(json!({ "name": "x", "expiresAt": null })).await.fails(403, "FORBIDDEN");
    mint(json!({ "name": "x", "expiresAt": end.as_millis() + 1 })).await.fails(403, "FORBIDDEN");
    assert_eq!(world.token_ids(&ann).await, [pat.id.as_str()]);
    mint(json!({ "name": "x", "expiresAt": end })).await.ok(201);
}

#[tokio::test]
async fn a_token_gets_no_secret_of_one_that_may_do_more() {
    let world = World::new().await;
    let ann = world.ann().await;
    let end = world.now().plus(60 * MINUTE);
    let narrow = world.scoped(&ann, &["tokens:write"]).await;
    let short = world.token_with(&ann, json!({ "expiresAt": end })).await;
    let wide = world.token(&ann).await;
    for pat in [&narrow, &short] {
        world.post(&format!("/tokens/{}/rotate", wide.id)).by(&pat.secret).await.fails(403, "FORBIDDEN");
    }
    assert!(world.is_valid(&wide.secret).await);
    assert_eq!(world.count_events(&ann, "token.rotated").await, 0);
}
