//! Signing in with the mail's link, and the page that it opens.

use http::Method;
use serde_json::json;

use crate::client::{Call, Reply, parallel};
use crate::world::{MINUTE, SECOND, World, person};

const ANN: &str = "ann@example.com";
const BASE: &str = "https://auth.example.com/login/email/";

/// The token of the last mail's link.
async fn requested(world: &World) -> String {
    world.request_code(ANN).await.ok(200);
    let mail = world.outbox.mails().remove(0);
    let start = mail.text.find(BASE).unwrap() + BASE.len();
    let token = mail.text[start..].split_whitespace().next().unwrap().to_owned();
    assert_eq!(token.len(), 32);
    assert!(mail.html.contains(&token) && !mail.subject.contains(&token));
    token
}

async fn with_app(url: &str) -> World {
    let url = url.parse().unwrap();
    World::with(|setup| setup.config.app_url = Some(url)).await
}

fn link(world: &World, token: &str) -> Call {
    world.post("/auth/email/link").json(&json!({ "token": token }))
}

fn press(world: &World, token: &str) -> Call {
    world.post(&format!("/login/email/{token}")).body("application/x-www-form-urlencoded", "")
}

#[track_caller]
fn assert_page(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{}", reply.text);
    assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
    assert_protected(reply);
}

#[track_caller]
fn assert_protected(reply: &Reply) {
    let policy = reply.header("content-security-policy");
    for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "style-src 'sha256-"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{policy}");
    assert_eq!(reply.header("referrer-policy"), "no-referrer");
    assert_eq!(reply.header("x-frame-options"), "DENY");
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn the_links_token_signs_in_and_ends_the_code() {
    let world = World::new().await;
    let token = requested(&world).await;
    let code = world.mailed_code(ANN);
    let ann = person(&link(&world, &token).await.ok(200));
    world.get("/auth/me").by(&ann.access).await.ok(200);

    world.verify_code(ANN, &code).await.fails(400, "INVALID_CODE");
    link(&world, &token).await.fails(400, "INVALID_CODE");
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 1);
}

#[tokio::test]
async fn the_code_ends_the_link_and_so_does_a_newer_mail() {
    let world = World::new().await;
    let token = requested(&world).await;
    world.verify_code(ANN, &world.mailed_code(ANN)).await.ok(200);
    link(&world, &token).await.fails(400, "INVALID_CODE");

    let older = requested(&world).await;
    let newer = requested(&world).await;
    link(&world, &older).await.fails(400, "INVALID_CODE");
    link(&world, &newer).await.ok(200);
}

#[tokio::test]
async fn a_link_works_for_ten_minutes_and_ends_with_its_guessed_at_code() {
    let world = World::new().await;
    let token = requested(&world).await;
    world.clock.advance(10 * MINUTE);
    link(&world, &token).await.fails(400, "CODE_EXPIRED");
    assert_page(&press(&world, &token).await, 400);

    let token = requested(&world).await;
    world.clock.advance(10 * MINUTE - SECOND);
    link(&world, &token).await.ok(200);

    let token = requested(&world).await;
    let right = world.mailed_code(ANN);
    let wrong = if right == "000000" { "000001" } else { "000000" };
    for _ in 0..3 {
        world.verify_code(ANN, wrong).await.fails(400, "INVALID_CODE");
    }
    world.verify_code(ANN, &right).await.fails(400, "TOO_MANY_ATTEMPTS");
    link(&world, &token).await.ok(200);
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 2, "no guess at the code hurts the link");
}

#[tokio::test]
async fn other_tokens_open_nothing() {
    let world = World::new().await;
    let token = requested(&world).await;
    let mut flipped = token.clone().into_bytes();
    flipped[5] = if flipped[5] == b'a' { b'b' } else { b'a' };
    let flipped = String::from_utf8(flipped).unwrap();
    for wrong in ["", "x", &token[1..], &format!("{token}0"), &flipped, &"ä".repeat(16), "\0"] {
        link(&world, wrong).await.fails(400, "INVALID_CODE");
        world.post("/auth/exchange").json(&json!({ "code": wrong })).await.fails(400, "INVALID_CODE");
    }
    world.post("/auth/exchange").json(&json!({ "code": token })).await.fails(400, "INVALID_CODE");
    world.post("/auth/email/link").json(&json!({})).await.fails_at("token");
    world.post("/auth/exchange").json(&json!({ "code": 1 })).await.fails_at("code");
    for path in ["/login/email/x", "/login/email/%FF", "/login/email/%00"] {
        assert_page(&world.get(path).await, 404);
    }
    assert_page(&press(&world, "x").await, 404);
    assert_page(&press(&world, &flipped).await, 400);
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 0);
    link(&world, &token).await.ok(200);
}

#[tokio::test]
async fn opening_the_page_spends_nothing() {
    let world = with_app("https://app.example.com/welcome?from=mail").await;
    let token = requested(&world).await;
    for method in [Method::GET, Method::HEAD, Method::GET] {
        let page = world.call(method, &format!("/login/email/{token}")).await;
        assert_page(&page, 200);
        let policy = page.header("content-security-policy");
        assert!(policy.contains("form-action 'self' https://app.example.com;"), "{policy}");
        assert!(!page.text.contains(&token), "{}", page.text);
        assert!(!page.text.contains("<script"), "{}", page.text);
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 0);
    assert_eq!(world.count("SELECT COUNT(*) FROM one_time_codes WHERE consumed_at IS NULL").await, 1);
    // A link that has been used looks the same, and one that nobody was sent says nothing.
    let fresh = world.get(&format!("/login/email/{token}")).await;
    link(&world, &token).await.ok(200);
    let used = world.get(&format!("/login/email/{token}")).await;
    assert_eq!((fresh.status, fresh.text), (used.status, used.text));
    assert_page(&world.get(&format!("/login/email/{}", "x".repeat(32))).await, 400);
    world.clock.advance(10 * MINUTE);
    assert_page(&world.get(&format!("/login/email/{token}")).await, 400);
}

const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                     Version/18.1 Mobile/15E148 Safari/604.1";

#[tokio::test]
async fn the_page_says_whose_account_it_is_and_who_asked() {
    let world = World::new().await;
    world.request_code(ANN).from("203.0.113.77").await.ok(200);
    let mail = world.outbox.mails().remove(0);
    let token = mail.text[mail.text.find(BASE).unwrap() + BASE.len()..][..32].to_owned();
    let shown = world.get(&format!("/login/email/{token}")).from("203.0.113.9").await;
    assert_page(&shown, 200);
    for text in [ANN, "test&#x2f;1.0", "your network", "UTC", "autofocus"] {
        assert!(shown.text.contains(text), "{text}: {}", shown.text);
    }
    assert!(!shown.text.contains("role=\"alert\"") && !shown.text.contains("203.0.113.77"), "{}", shown.text);
}

/// Somebody was sent a link, or asked on one device and opens the mail on another: told first, then asked twice.
#[tokio::test]
async fn in_another_browser_it_is_said_first_and_pressed_twice() {
    let world = with_app("https://app.example.com/welcome").await;
    let path = |token: &str| format!("/login/email/{token}");
    let form = "application/x-www-form-urlencoded";
    // Another program in the same network, and the same one elsewhere.
    for (address, elsewhere) in [("203.0.113.9", true), ("198.51.100.77", false)] {
        let token = requested(&world).await;
        let here = |call: Call| call.from(address);
        let shown = here(world.get(&path(&token))).await;
        assert_page(&shown, 200);
        assert_eq!(shown.text.contains("not the browser that asked"), elsewhere, "{}", shown.text);
        assert_eq!(shown.text.contains("autofocus"), !elsewhere, "Enter signs nobody in unawares");
        if !elsewhere {
            assert_eq!(here(press(&world, &token)).await.status, 303);
            continue;
        }
        assert!(shown.text.contains(ANN) && shown.text.contains("198.51.100.0&#x2f;24"), "{}", shown.text);
        // What is no second press says it again; the first asks.
        for (body, text) in [("", "not the browser"), ("step=x", "not the browser"), ("step=ask", "in this browser")] {
            let asked = here(world.post(&path(&token)).body(form, body)).await;
            assert_page(&asked, 200);
            assert!(asked.text.contains(text) && asked.text.contains(ANN), "{body}: {}", asked.text);
        }
        assert_eq!(world.count("SELECT COUNT(*) FROM exchange_codes").await, 0);
        let foreign = here(world.post(&path(&token)).body(form, "step=here")).header("sec-fetch-site", "cross-site");
        assert_page(&foreign.await, 403);
        let pressed = here(world.post(&path(&token)).body(form, "step=here")).await;
        assert_eq!(pressed.status, 303, "{}", pressed.text);
        assert_eq!(world.count("SELECT COUNT(*) FROM exchange_codes").await, 1);
    }
}

#[tokio::test]
async fn what_the_asker_says_of_itself_is_only_text() {
    let world = World::new().await;
    let token = requested(&world).await;
    for (agent, shown) in [
        (PHONE, "Safari on an iPhone"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)"),
        ("\u{202e}elgooG\u{200b}\u{430}", "“elgooG”"),
    ] {
        world.by_hand(&format!("UPDATE mail_links SET user_agent = '{agent}'")).await;
        let page = world.get(&format!("/login/email/{token}")).await;
        assert_page(&page, 200);
        assert!(page.text.contains(shown) && page.text.contains("not the browser"), "{shown}: {}", page.text);
        assert!(!page.text.contains("<script"), "{}", page.text);
    }
}

#[tokio::test]
async fn the_button_takes_the_browser_to_the_app_with_a_code_for_one_session() {
    let world = with_app("https://app.example.com/welcome?from=mail").await;
    let token = requested(&world).await;
    let reply = press(&world, &token).await;
    assert_eq!(reply.status, 303, "{}", reply.text);
    assert_protected(&reply);
    let code = reply.header("location").strip_prefix("https://app.example.com/welcome?from=mail&code=").unwrap();
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 0, "nobody is signed in yet");

    let exchange = || world.post("/auth/exchange").json(&json!({ "code": code }));
    let ann = person(&exchange().await.ok(200));
    world.get("/auth/me").by(&ann.access).await.ok(200);
    exchange().await.fails(400, "INVALID_CODE");
    assert_page(&press(&world, &token).await, 400);
    world.verify_code(ANN, &world.mailed_code(ANN)).await.fails(400, "INVALID_CODE");
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 1);

    let token = requested(&world).await;
    let reply = press(&world, &token).await;
    let code = reply.header("location").rsplit_once("code=").unwrap().1;
    world.clock.advance(MINUTE);
    world.post("/auth/exchange").json(&json!({ "code": code })).await.fails(400, "CODE_EXPIRED");

    let kept = world.kept_bytes();
    for secret in [&token, code] {
        assert!(!kept.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "only digests are kept");
    }
}

#[tokio::test]
async fn without_an_app_the_page_shows_the_code() {
    let world = World::new().await;
    let token = requested(&world).await;
    let reply = press(&world, &token).await;
    assert_page(&reply, 200);
    let code = reply.text.split_once("<p class=\"code\">").unwrap().1.split_once("</p>").unwrap().0;
    world.post("/auth/exchange").json(&json!({ "code": code })).await.ok(200);
}

#[tokio::test]
async fn another_sites_form_presses_no_button() {
    let world = with_app("https://app.example.com").await;
    let token = requested(&world).await;
    for site in ["cross-site", "same-site", "none"] {
        let reply = press(&world, &token).header("sec-fetch-site", site).await;
        assert_page(&reply, 403);
    }
    assert_eq!(press(&world, &token).header("sec-fetch-site", "same-origin").await.status, 303);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_uses_of_link_page_and_code_one_succeeds() {
    let world = with_app("https://app.example.com").await;
    for round in 0..20 {
        let token = requested(&world).await;
        let code = world.mailed_code(ANN);
        let before = world.count("SELECT COUNT(*) FROM sessions").await;
        let traded = world.count("SELECT COUNT(*) FROM exchange_codes").await;
        let replies = parallel(9, |number| match number % 3 {
            0 => link(&world, &token).into_future(),
            1 => press(&world, &token).into_future(),
            _ if number == 2 => world.verify_code(ANN, &code).into_future(),
            _ => link(&world, &token).into_future(),
        })
        .await;
        let right = replies.iter().filter(|reply| matches!(reply.status, 200 | 303)).count();
        assert_eq!(right, 1, "round {round}");
        let sessions = world.count("SELECT COUNT(*) FROM sessions").await - before;
        let traded = world.count("SELECT COUNT(*) FROM exchange_codes").await - traded;
        assert_eq!(sessions + traded, 1, "round {round}");
    }
}

#[tokio::test]
async fn guessing_links_is_limited_and_pages_say_so_in_html() {
    let world = World::with(|setup| setup.config.limits.sign_in = "10/15m".parse().unwrap()).await;
    for _ in 0..5 {
        link(&world, &"x".repeat(32)).await.fails(400, "INVALID_CODE");
        assert_page(&press(&world, &"x".repeat(32)).await, 400);
    }
    link(&world, &"x".repeat(32)).await.fails(429, "RATE_LIMIT_EXCEEDED");
    let page = press(&world, &"x".repeat(32)).await;
    assert_page(&page, 429);
    assert!(page.header("retry-after").parse::<u64>().unwrap() > 0);
}

#[tokio::test]
async fn a_second_factor_is_awaited_after_link_and_exchange_too() {
    let world = World::new().await;
    let ann = world.ann().await;
    world
        .by_hand(&format!(
            "INSERT INTO totp_factors (user_id, sealed_secret, seal_key, created_at, enabled_at) \
             VALUES ('{}', 'x', 'x', 1, 1)",
            ann.id
        ))
        .await;
    let token = requested(&world).await;
    let reply = link(&world, &token).await.ok(200);
    assert_eq!((&reply["success"], &reply["mfaRequired"]), (&false.into(), &true.into()));

    let token = requested(&world).await;
    let page = press(&world, &token).await;
    let code = page.text.split_once("<p class=\"code\">").unwrap().1.split_once("</p>").unwrap().0;
    let reply = world.post("/auth/exchange").json(&json!({ "code": code })).await.ok(200);
    assert_eq!(reply["mfaRequired"], true);
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 1, "only the one from before");
}
