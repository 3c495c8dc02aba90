//! A header that decides something and holds a byte that is no text, nothing, or is there twice: never as if it were not
//! there.

use auth::Limits;
use serde_json::json;
use web::TrustedProxies;

use crate::client::{Call, Reply};
use crate::world::{ORIGIN, World, nobody};

const PROXY: &str = "10.0.0.1";
const HOME: &str = "192.0.2.7";
const ELSEWHERE: &str = "203.0.113.9";
/// What is no text, or nothing.
const BYTES: [&[u8]; 6] = [b"\x80", b"\xff", b"", b"\xc3\xa4", b"\xe2\x84\xaa", b"\t"];

async fn behind_a_proxy(limits: Option<Limits>) -> World {
    World::with(|setup| {
        setup.config.trusted_proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        if let Some(limits) = limits {
            setup.config.limits = limits;
        }
    })
    .await
}

/// With these lines of a header, in their order.
fn lines(call: Call, name: &str, lines: &[&[u8]]) -> Call {
    lines.iter().fold(call, |call, line| call.bytes(name, line))
}

/// A value with something around it: alone, behind, before, on a line before it and on one after.
fn spoiled(good: &[u8], bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    vec![
        vec![bytes.to_vec()],
        vec![[good, bytes].concat()],
        vec![[bytes, good].concat()],
        vec![bytes.to_vec(), good.to_vec()],
        vec![good.to_vec(), bytes.to_vec()],
    ]
}

fn all_spoiled(good: &str) -> Vec<Vec<Vec<u8>>> {
    let spoiled = BYTES.iter().flat_map(|bytes| spoiled(good.as_bytes(), bytes));
    // White space around a value is not part of it.
    spoiled.filter(|lines| lines.len() > 1 || lines[0].trim_ascii() != good.as_bytes()).collect()
}

fn with(call: Call, name: &str, all: &[Vec<u8>]) -> Call {
    lines(call, name, &all.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// The token's networks hold the proxy: whoever is taken for it would pass.
#[tokio::test]
async fn an_unknown_address_is_on_no_allow_list() {
    let world = behind_a_proxy(None).await;
    let ann = world.ann().await;
    let token = world.token_with(&ann, json!({ "allowedIps": ["10.0.0.0/8", "192.0.2.0/24"] })).await;
    let ask = |path: &str| world.get(path).by(&token.secret).from(PROXY);
    ask("/tokens").header("x-forwarded-for", HOME).await.ok(200);
    for bytes in BYTES {
        // Behind: what the proxy wrote last. Before: what stands left of the proxy next to it.
        let last = [HOME.as_bytes(), b", ", bytes].concat();
        let middle = [bytes, b", 10.0.0.2"].concat();
        let forged = [HOME.as_bytes(), bytes].concat();
        for values in [
            vec![bytes.to_vec()],
            vec![last],
            vec![middle],
            vec![HOME.as_bytes().to_vec(), bytes.to_vec()],
            vec![bytes.to_vec(), b"10.0.0.2".to_vec()],
        ] {
            with(ask("/tokens"), "x-forwarded-for", &values).await.fails(401, "IP_NOT_ALLOWED");
            let guarded = with(ask("/forward-auth"), "x-forwarded-for", &values).await;
            assert_eq!(guarded.header("x-auth-reason"), "ip_not_allowed", "{values:?}");
            guarded.fails(403, "FORBIDDEN");
        }
        if bytes.trim_ascii() != b"" {
            with(ask("/tokens"), "x-forwarded-for", &[forged]).await.fails(401, "IP_NOT_ALLOWED");
        }
    }
    // Nor does any other header say from where somebody comes.
    for name in ["forwarded", "x-real-ip", "x-client-ip", "cf-connecting-ip", "true-client-ip", "x_forwarded_for"] {
        for value in [HOME.as_bytes(), b"for=192.0.2.7", b"\xff"] {
            let call = world.get("/tokens").by(&token.secret).from(ELSEWHERE);
            lines(call, name, &[value]).await.fails(401, "IP_NOT_ALLOWED");
        }
    }
    let hop_by_hop = world.get("/tokens").by(&token.secret).from(PROXY).header("connection", "x-forwarded-for");
    hop_by_hop.header("x-forwarded-for", ELSEWHERE).await.fails(401, "IP_NOT_ALLOWED");
}

#[tokio::test]
async fn unknown_addresses_have_a_window_of_their_own() {
    let limits = Limits { sign_in: "3/15m".parse().unwrap(), ..Limits::default() };
    let world = behind_a_proxy(Some(limits)).await;
    let attempt = |bytes: &[u8]| {
        let call = world.verify_code(&nobody(), "123456").from(PROXY);
        lines(call, "x-forwarded-for", &[bytes])
    };
    for bytes in [&b"\xff"[..], b"\x80", b"unknown"] {
        attempt(bytes).await.fails(400, "INVALID_CODE");
    }
    attempt(b"\xfe").await.fails(429, "RATE_LIMIT_EXCEEDED");
    // Neither the proxy's nor anybody else's.
    world.verify_code(&nobody(), "123456").from(PROXY).await.fails(400, "INVALID_CODE");
    attempt(HOME.as_bytes()).await.fails(400, "INVALID_CODE");
}

#[tokio::test]
async fn a_spoiled_authorization_is_nobodys() {
    let world = World::with(|setup| setup.config.validate_allow_anonymous = true).await;
    let token = world.token(&world.ann().await).await;
    let good = format!("Bearer {}", token.secret);
    let vouched = format!("Bearer {}", world.service_jwt().sign());
    for values in all_spoiled(&good) {
        for path in ["/tokens", "/auth/me", "/forward-auth"] {
            let reply = with(world.get(path), "authorization", &values).await;
            assert_eq!(reply.status, 401, "{path} {values:?}: {}", reply.text);
            assert!(!reply.header("www-authenticate").is_empty());
        }
    }
    for values in all_spoiled(&vouched) {
        // Anonymous is who sends no such header.
        let call = world.post("/tokens/validate").json(&json!({ "token": token.secret }));
        let reply = with(call, "authorization", &values).await;
        assert_eq!(reply.status, 401, "{values:?}: {}", reply.text);
    }
    assert_eq!(world.token_ids(&world.ann().await).await.len(), 1);
}

#[tokio::test]
async fn a_spoiled_content_type_is_none_that_is_read() {
    let world = World::new().await;
    let ann = world.ann().await;
    let body = json!({ "name": "x" }).to_string();
    for values in all_spoiled("application/json") {
        let call = world.post("/tokens").by(&ann.access).raw(body.clone());
        with(call, "content-type", &values).await.fails(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    assert_eq!(world.token_ids(&ann).await, [""; 0]);
    for values in all_spoiled("application/x-www-form-urlencoded") {
        let call = world.post("/oauth/introspect").by(&world.service_jwt().sign()).raw("token=x");
        let reply = with(call, "content-type", &values).await;
        assert_eq!((reply.status, &reply.json["error"]), (400, &"invalid_request".into()), "{values:?}");
    }
}

#[tokio::test]
async fn a_form_from_who_knows_where_is_not_ours() {
    let world = World::new().await;
    world.request_code("ann@example.com").await.ok(200);
    let mail = world.outbox.mails().remove(0);
    let start = mail.text.find("/login/email/").unwrap();
    let path = mail.text[start..].split_whitespace().next().unwrap().to_owned();
    let press = || world.post(&path).body("application/x-www-form-urlencoded", "");
    for values in all_spoiled("same-origin") {
        assert_eq!(with(press(), "sec-fetch-site", &values).await.status, 403, "{values:?}");
        let find = world.post("/login").body("application/x-www-form-urlencoded", "user_code=BCDF-GHJK");
        assert_eq!(with(find, "sec-fetch-site", &values).await.status, 403, "{values:?}");
    }
    for twice in [["same-origin", "cross-site"], ["cross-site", "same-origin"]] {
        let twice = twice.map(str::as_bytes);
        assert_eq!(lines(press(), "sec-fetch-site", &twice).await.status, 403);
    }
    assert_eq!(lines(press(), "sec-fetch-site", &[b"same-origin"]).await.status, 200, "the link is still good");
}

#[tokio::test]
async fn other_spoiled_headers_are_nothing_that_counts() {
    let world = World::new().await;
    for values in all_spoiled("my-id").into_iter().filter(|values| values.len() == 1) {
        let reply = with(world.get("/health"), "x-request-id", &values).await;
        assert_eq!((reply.status, reply.header("x-request-id").len()), (200, 21), "{values:?}");
    }
    let allowed = |reply: &Reply| !reply.header("access-control-allow-origin").is_empty();
    assert!(allowed(&world.get("/health").header("origin", ORIGIN).await));
    for values in all_spoiled(ORIGIN).into_iter().filter(|values| values.len() == 1) {
        assert!(!allowed(&with(world.get("/health"), "origin", &values).await), "{values:?}");
    }
    let etag = world.get("/.well-known/jwks.json").await.header("etag").to_owned();
    assert_eq!(world.get("/.well-known/jwks.json").header("if-none-match", &etag).await.status, 304);
    for values in all_spoiled(&etag).into_iter().filter(|values| values.len() == 1) {
        assert_eq!(with(world.get("/.well-known/jwks.json"), "if-none-match", &values).await.status, 200, "{values:?}");
    }
}

/// Somebody who signs in is in the log with what can be read of their program.
#[tokio::test]
async fn a_program_is_not_hidden_by_a_byte() {
    let world = World::new().await;
    world.request_code("ann@example.com").await.ok(200);
    let code = world.mailed_code("ann@example.com");
    let call = world.verify_code("ann@example.com", &code).without("user-agent").bytes("user-agent", b"curl/8 \xff");
    let ann = crate::world::person(&call.await.ok(200));
    let events = world.events(&ann).await;
    assert_eq!(events[0]["userAgent"], "curl/8 \u{fffd}");
}
