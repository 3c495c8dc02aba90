//! What every HTTP service owes its clients: ids, forms of errors, content types, CORS.

use std::collections::HashSet;

use http::Method;
use serde_json::json;

use crate::world::{ORIGIN, World};

#[tokio::test]
async fn health_says_that_the_process_lives() {
    let world = World::new().await;
    let alive = json!({
        "status": "ok", "service": "alternatefutures-auth", "version": env!("CARGO_PKG_VERSION"),
        "timestamp": world.now(),
    });
    assert_eq!(world.get("/health").await.ok(200), alive);
    assert_eq!(world.get("/ready").await.ok(200), json!({ "status": "ok", "checks": { "database": "ok" } }));

    world.store.close().await;
    assert_eq!(world.get("/health").await.ok(200), alive);
    let down = json!({ "status": "unavailable", "checks": { "database": "unavailable" } });
    assert_eq!(world.get("/ready").await.ok(503), down);
}

#[tokio::test]
async fn without_a_database_answers_are_503_and_say_nothing_of_it() {
    let world = World::new().await;
    let ann = world.ann().await;
    let jwt = world.service_jwt().user(&ann.id).sign();
    world.store.close().await;
    for reply in [
        world.get("/auth/me").by(&jwt).await,
        world.get("/tokens").by(&ann.access).await,
        world.post("/tokens").by(&jwt).json(&json!({ "name": "x" })).await,
        world.request_code("ann@example.com").await,
        world.verify_code("ann@example.com", "123456").await,
        world.refresh(&ann.refresh).await,
    ] {
        assert_eq!(reply.header("retry-after"), "1");
        let body = reply.fails(503, "UNAVAILABLE").to_string().to_lowercase();
        assert!(!body.contains("sql") && !body.contains("pool") && !body.contains("auth.db"), "{body}");
    }
    assert_eq!(world.outbox.mails().len(), 1, "no code is sent that was not kept");
}

#[tokio::test]
async fn unknown_paths_are_not_found() {
    let world = World::new().await;
    let ann = world.ann().await;
    for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        for path in ["/nothing", "/tokens/", "/tokens/a/b/c", "//", "/TOKENS", "/auth", "/%00", "/tokens%2Flimits/x/y"]
        {
            world.call(method.clone(), path).by(&ann.access).await.fails(404, "NOT_FOUND");
        }
    }
}

#[tokio::test]
async fn a_known_path_names_the_methods_it_takes() {
    let world = World::new().await;
    for (method, path, allowed) in [
        (Method::GET, "/auth/email/request", &["POST"][..]),
        (Method::DELETE, "/tokens", &["GET", "HEAD", "POST"]),
        (Method::POST, "/health", &["GET", "HEAD"]),
        (Method::GET, "/tokens/x", &["DELETE"]),
        (Method::PUT, "/tokens/validate", &["POST", "DELETE"]),
        (Method::PATCH, "/", &["GET", "HEAD"]),
    ] {
        let reply = world.call(method.clone(), path).await;
        let allow: HashSet<_> = reply.header("allow").split(',').map(str::trim).collect();
        assert!(allowed.iter().any(|method| allow.contains(method)), "{method} {path}: {allow:?}");
        assert!(allow.iter().all(|method| allowed.contains(method)), "{method} {path}: {allow:?}");
        reply.fails(405, "METHOD_NOT_ALLOWED");
    }
}

#[tokio::test]
async fn a_body_over_64_kib_is_refused() {
    let world = World::new().await;
    let body = |bytes: usize| format!(r#"{{"email":"{}"}}"#, "x".repeat(bytes - 12));
    let post = |bytes| world.post("/auth/email/request").body("application/json", body(bytes));
    post(64 * 1024).await.fails_at("email");
    post(64 * 1024 + 1).await.fails(413, "PAYLOAD_TOO_LARGE");
    post(10 * 1024 * 1024).await.fails(413, "PAYLOAD_TOO_LARGE");
    let ann = world.ann().await;
    let logout = world.post("/auth/logout").by(&ann.access);
    logout.body("application/json", body(100_000)).await.fails(413, "PAYLOAD_TOO_LARGE");
    world.get("/auth/me").by(&ann.access).await.ok(200);
}

#[tokio::test]
async fn only_json_is_read() {
    let world = World::new().await;
    let json = r#"{"email":"ann@example.com"}"#;
    for content_type in ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json", "ä+json"]
    {
        let post = world.post("/auth/email/request").body(content_type, json);
        post.await.fails(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    assert_eq!(world.outbox.mails().len(), 0);
    for content_type in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"] {
        world.post("/auth/email/request").body(content_type, json).await.ok(200);
    }
    // Without a body and its type there is nothing to be read.
    world.post("/auth/email/request").await.fails(415, "UNSUPPORTED_MEDIA_TYPE");
}

#[tokio::test]
async fn broken_json_and_wrong_fields_are_told_apart() {
    let world = World::new().await;
    let post = |body: &'static [u8]| world.post("/auth/email/verify").body("application/json", body);
    for broken in [
        &b""[..],
        b"{",
        b"{\"email\":}",
        b"not json",
        b"{\"email\":\"a@example.com\",\"code\":\"123456\"} {}",
        b"{\"email\":\"a@example.com\",}",
        b"\xff\xfe",
        b"{\"email\":\"\xff\"}",
        b"{\"email\":\"\\ud800\"}",
    ] {
        post(broken).await.fails(400, "INVALID_JSON");
    }
    let deep = format!(r#"{{"unknown":{}"#, "[".repeat(60_000));
    world.post("/auth/email/verify").body("application/json", deep).await.fails(400, "INVALID_JSON");

    post(b"{}").await.fails_at("email");
    post(b"{\"email\":\"a@example.com\"}").await.fails_at("code");
    post(b"{\"email\":7,\"code\":\"123456\"}").await.fails_at("email");
    post(b"{\"email\":\"a@example.com\",\"code\":[]}").await.fails_at("code");
    for other in [&b"null"[..], b"7", b"\"text\"", b"[]", b" [\"a@example.com\",\"123456\"]"] {
        post(other).await.fails(400, "VALIDATION_ERROR");
    }
    // What is not known is not minded.
    post(b"{\"email\":\"a@example.com\",\"code\":\"123456\",\"more\":{}}").await.fails(400, "INVALID_CODE");
}

#[tokio::test]
async fn a_sane_request_id_is_taken_over_and_any_other_replaced() {
    let world = World::new().await;
    let id_for = async |given: &str| {
        let reply = world.get("/nothing").header("x-request-id", given).await;
        let id = reply.header("x-request-id").to_owned();
        reply.fails(404, "NOT_FOUND");
        id
    };
    for sane in ["a", "01J-abc_d.e", &"x".repeat(64)] {
        assert_eq!(id_for(sane).await, sane);
    }
    let mut made = HashSet::new();
    for insane in ["", " ", "a b", "a/b", "ä", "<script>", "a\tb", &"x".repeat(65)] {
        let id = id_for(insane).await;
        assert!(id.len() >= 16 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        assert!(made.insert(id), "every request has its own");
    }
    world.get("/health").await.ok(200);
}

#[tokio::test]
async fn pages_of_the_configured_origins_may_call() {
    let world = World::new().await;
    let preflight = |origin: &str| {
        world
            .call(Method::OPTIONS, "/tokens")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type")
    };
    let reply = preflight(ORIGIN).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("access-control-allow-origin"), ORIGIN);
    for header in ["authorization", "content-type", "x-request-id"] {
        assert!(reply.header("access-control-allow-headers").contains(header), "{reply:?}");
    }
    for method in ["GET", "POST", "PATCH", "DELETE"] {
        assert!(reply.header("access-control-allow-methods").contains(method), "{reply:?}");
    }
    assert_eq!(reply.header("access-control-allow-credentials"), "", "no cookie is ever read");

    let reply = world.get("/auth/me").header("origin", ORIGIN).await;
    assert_eq!(reply.header("access-control-allow-origin"), ORIGIN, "a page may read why it was refused");
    for header in ["x-request-id", "x-ratelimit-remaining", "ratelimit", "retry-after"] {
        assert!(reply.header("access-control-expose-headers").contains(header), "{reply:?}");
    }
    for foreign in ["https://evil.example", "https://app.example.com.evil.example", "http://app.example.com", "null"] {
        assert_eq!(preflight(foreign).await.header("access-control-allow-origin"), "", "{foreign}");
        let reply = world.get("/health").header("origin", foreign).await;
        assert_eq!(reply.header("access-control-allow-origin"), "", "{foreign}");
    }
}

#[tokio::test]
async fn the_outbox_is_shown_only_where_there_is_one() {
    let world = World::new().await;
    world.request_code("ann@example.com").await.ok(200);
    world.get("/dev/outbox").await.fails(404, "NOT_FOUND");

    let world = World::with(|setup| setup.shows_outbox = true).await;
    world.request_code("ann@example.com").await.ok(200);
    world.request_code("bob@example.com").await.ok(200);
    let shown = world.get("/dev/outbox").await.ok(200);
    let mails = world.outbox.mails();
    assert_eq!(shown["messages"].as_array().unwrap().len(), 2);
    assert_eq!(
        shown["messages"][0],
        json!({ "channel": "email", "to": "bob@example.com", "subject": mails[0].subject, "text": mails[0].text,
                "html": mails[0].html, "at": world.now() })
    );
}
