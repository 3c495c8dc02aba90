//! `/forward-auth`: what a proxy is told about a request.

use std::time::Duration;

use domain::Limit;
use http::Method;
use serde_json::json;
use web::TrustedProxies;

use crate::client::Call;
use crate::world::{ORIGIN, World};

fn ask(world: &World, query: &str, credential: &str) -> Call {
    world.get(&format!("/forward-auth{query}")).by(credential)
}

/// With a small limit on failed attempts, behind a proxy at 10.0.0.1.
async fn guarded() -> World {
    World::with(|setup| {
        setup.config.limits.standard = Limit::per_minute(5);
        setup.config.limits.token = Limit::per_minute(3);
        setup.config.trusted_proxies = TrustedProxies::new(vec!["10.0.0.1/32".parse().unwrap()]);
    })
    .await
}

#[tokio::test]
async fn a_good_credential_passes_whatever_the_method_and_says_whose_it_is() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = world.scoped(&ann, &["projects:read", "a:*"]).await;
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"];
    for (place, method) in methods.iter().enumerate() {
        let reply = world.call(method.parse().unwrap(), "/forward-auth").by(&token.secret).await;
        assert_eq!((reply.status, reply.text.as_str()), (200, ""), "{method}");
        assert_eq!(reply.header("x-auth-user-id"), ann.id);
        assert_eq!(reply.header("x-auth-token-id"), token.id);
        assert_eq!(reply.header("x-auth-kind"), "pat");
        assert_eq!(reply.header("x-auth-scopes"), "projects:read a:*");
        assert_eq!(reply.header("x-ratelimit-limit"), "1000");
        assert_eq!(reply.header("x-ratelimit-remaining"), (999 - place).to_string(), "each is counted");
        assert_eq!(reply.header("cache-control"), "no-store");
    }
    let session = ask(&world, "?scope=anything:at:all", &ann.access).await;
    assert_eq!((session.status, session.header("x-auth-kind")), (200, "session"));
    assert_eq!((session.header("x-auth-user-id"), session.header("x-auth-scopes")), (ann.id.as_str(), "*"));
}

#[tokio::test]
async fn without_a_good_credential_nothing_passes_not_even_what_looks_like_a_preflight() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = world.token(&ann).await;
    let nobody = world.get("/forward-auth").await;
    assert_eq!(nobody.header("www-authenticate"), r#"Bearer realm="alternatefutures""#);
    nobody.fails(401, "UNAUTHORIZED");
    let head = world.call(Method::HEAD, "/forward-auth").await;
    assert_eq!((head.status, head.text.as_str()), (401, ""));
    let preflight = world.call(Method::OPTIONS, "/forward-auth").header("origin", ORIGIN);
    preflight.header("access-control-request-method", "POST").await.fails(401, "UNAUTHORIZED");
    for path in ["/forward-auth/", "/forward-auth/x", "/forward-auth/?nginx=1"] {
        world.get(path).by(&token.secret).await.fails(404, "NOT_FOUND");
    }

    for wrong in ["x", "af_live_x", &world.service_jwt().sign(), &ann.refresh, &token.secret[1..]] {
        let reply = ask(&world, "", wrong).await;
        assert!(reply.header("www-authenticate").contains(r#"error="invalid_token""#), "{reply:?}");
        assert!(reply.headers.keys().all(|name| !name.as_str().starts_with("x-auth-")), "{reply:?}");
        reply.fails(401, "INVALID_TOKEN");
    }
    let both = ask(&world, "", &token.secret).header("authorization", "Bearer x");
    both.await.fails(401, "UNAUTHORIZED");
    world.get("/forward-auth").header("authorization", &token.secret).await.fails(401, "UNAUTHORIZED");

    world.delete(&format!("/tokens/{}", token.id)).by(&ann.access).await.ok(200);
    ask(&world, "", &token.secret).await.fails(401, "INVALID_TOKEN");
}

#[tokio::test]
async fn all_named_scopes_are_needed() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = world.scoped(&ann, &["projects:*", "a:b"]).await;
    for query in
        ["?scope=a:b", "?scope=projects:read+a:b", "?scope=projects:read&scope=a:b", "?scope=a%3Ab&uri=/x?scope=c"]
    {
        assert_eq!(ask(&world, query, &token.secret).await.status, 200, "{query}");
    }
    for (query, missing) in [("?scope=c", "c"), ("?scope=a:b+c", "c"), ("?scope=c&scope=a:b&scope=*", "c *")] {
        let reply = ask(&world, query, &token.secret).await;
        let challenge = format!(r#"Bearer realm="alternatefutures", error="insufficient_scope", scope="{missing}""#);
        assert_eq!(reply.header("www-authenticate"), challenge);
        assert_eq!(reply.header("x-auth-reason"), "insufficient_scope");
        assert!(reply.headers.get("x-auth-user-id").is_none());
        reply.fails(403, "FORBIDDEN");
    }
}

#[tokio::test]
async fn a_question_that_is_not_understood_is_answered_with_no() {
    let world = World::new().await;
    let token = world.token(&world.ann().await).await;
    for query in ["?scope=", "?scope=A", "?scope=a%0d%0ax:y", "?scpe=a", "?nginx=0", "?audience=", "?paths=some", "?x"]
    {
        ask(&world, query, &token.secret).await.fails(400, "VALIDATION_ERROR");
    }
}

#[tokio::test]
async fn a_path_that_servers_read_in_different_ways_passes_nowhere_whatever_scope_is_asked_for() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = world.token(&ann).await;
    let forwarded = |query: &str, target: &str| ask(&world, query, &token.secret).header("x-forwarded-uri", target);
    for target in
        ["/projects/write;x", "//projects/write", "/projects%2fwrite", "/projects/write%00", "x:projects", "*"]
    {
        for query in ["", "?scope=projects:read", "?uri=", "?uri"] {
            let refused = forwarded(query, target).await;
            assert_eq!(refused.header("x-auth-reason"), "ambiguous_path", "{target}");
            assert!(
                refused.headers.get("x-auth-user-id").is_none() && refused.headers.get("www-authenticate").is_none()
            );
            assert_eq!(refused.json["details"][0]["path"], "path", "{refused:?}");
            refused.fails(400, "VALIDATION_ERROR");
        }
        // nginx turns a 400 into a 500.
        let nginx = forwarded("?nginx=1", target).await;
        assert_eq!((nginx.status, nginx.header("x-auth-reason")), (403, "ambiguous_path"), "{target}");
        assert_eq!(forwarded("?paths=any", target).await.status, 200, "{target}: whoever asks for it");
    }
    // A second line is as good as the first, and Envoy's way as the others'.
    forwarded("", "/projects").header("x-forwarded-uri", "/projects;x").await.fails(400, "VALIDATION_ERROR");
    ask(&world, "?uri=/projects%2fwrite?x=1", &token.secret).await.fails(400, "VALIDATION_ERROR");
    ask(&world, "?scope=a&uri=//projects", &token.secret).await.fails(400, "VALIDATION_ERROR");
    // Nobody is told more than that, and it costs the owner nothing.
    let nobody = world.get("/forward-auth").header("x-forwarded-uri", "//x").await;
    nobody.fails(400, "VALIDATION_ERROR");
    let plain = forwarded("", "/projects/caf%C3%A9?next=//x;y/..%2f").await;
    assert_eq!((plain.status, plain.header("x-ratelimit-remaining")), (200, "993"), "six passed before: {plain:?}");
    assert_eq!(ask(&world, "?uri=/projects?x=//", &token.secret).await.status, 200);
}

#[tokio::test]
async fn over_its_limit_a_token_waits_and_nginx_hears_of_it_in_its_own_way() {
    let world = guarded().await;
    let token = world.token(&world.ann().await).await;
    for _ in 0..3 {
        assert_eq!(ask(&world, "?nginx=1", &token.secret).await.status, 200);
    }
    let limited = ask(&world, "", &token.secret).await;
    assert_eq!(limited.header("x-ratelimit-remaining"), "0");
    limited.fails(429, "RATE_LIMIT_EXCEEDED");
    let nginx = ask(&world, "?nginx=1", &token.secret).await;
    assert_eq!((nginx.status, nginx.header("x-auth-reason")), (403, "rate_limited"));
    assert_eq!(nginx.header("retry-after").parse::<u64>().unwrap(), nginx.json["retryAfter"].as_u64().unwrap());
    assert_eq!(nginx.json["code"], "RATE_LIMIT_EXCEEDED");
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(ask(&world, "", &token.secret).await.status, 200);
}

#[tokio::test]
async fn failed_attempts_are_limited_by_the_end_users_address() {
    let world = guarded().await;
    let token = world.token(&world.ann().await).await;
    let wrong = |user: &str| ask(&world, "", "af_live_x").from("10.0.0.1").header("x-forwarded-for", user);
    for method in [Method::GET, Method::POST, Method::GET, Method::PUT, Method::GET] {
        let call = world.call(method, "/forward-auth").by("wrong").from("10.0.0.1");
        call.header("x-forwarded-for", "6.6.6.6, 203.0.113.9").await.fails(401, "INVALID_TOKEN");
    }
    wrong("6.6.6.6, 203.0.113.9").await.fails(429, "RATE_LIMIT_EXCEEDED");
    let nginx = ask(&world, "?nginx=1", "x").from("203.0.113.9").await;
    assert_eq!((nginx.status, nginx.header("x-auth-reason")), (403, "rate_limited"));
    // Nobody else is held up: other addresses, somebody good at the same one, and visitors who show nothing.
    wrong("203.0.113.10").await.fails(401, "INVALID_TOKEN");
    assert_eq!(ask(&world, "", &token.secret).from("203.0.113.9").await.status, 200);
    world.get("/forward-auth").from("203.0.113.9").await.fails(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_token_is_held_to_its_networks_by_the_end_users_address() {
    let world = guarded().await;
    let ann = world.ann().await;
    let token = world.token_with(&ann, json!({ "allowedIps": ["192.0.2.0/24"] })).await;
    let via_proxy = |user: &str| ask(&world, "", &token.secret).from("10.0.0.1").header("x-forwarded-for", user);
    assert_eq!(via_proxy("192.0.2.7").await.status, 200);
    for call in [
        via_proxy("203.0.113.9"),
        via_proxy("192.0.2.7, 203.0.113.9"),
        ask(&world, "", &token.secret).from("203.0.113.10").header("x-forwarded-for", "192.0.2.7"),
    ] {
        let reply = call.await;
        assert_eq!(reply.header("x-auth-reason"), "ip_not_allowed");
        reply.fails(403, "FORBIDDEN");
    }
    assert_eq!(via_proxy("192.0.2.7").await.header("x-ratelimit-remaining"), "1", "refusals cost nothing");
}
