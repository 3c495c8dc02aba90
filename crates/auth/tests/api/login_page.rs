//! `/login`: somebody decides on the page, step by step, as a browser without JavaScript does.

use serde_json::json;

use crate::client::{Call, Reply, parallel};
use crate::mfa;
use crate::pairing::{Asking, poll, poll_later, start};
use crate::world::{MINUTE, SECOND, World};

const FORM: &str = "application/x-www-form-urlencoded";
const ANN: &str = "ann@example.com";
const SCRIPT: &str = include_str!("../../templates/pages/wallet.js");

pub(crate) fn send(world: &World, path: &str, form: &str) -> Call {
    world.post(path).body(FORM, form.to_owned())
}

/// A page, in its armour.
#[track_caller]
pub(crate) fn page(reply: Reply, status: u16) -> String {
    assert_eq!(reply.status, status, "{}", reply.text);
    assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("referrer-policy"), "no-referrer");
    assert_eq!(reply.header("x-frame-options"), "DENY");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    let policy = reply.header("content-security-policy");
    for part in ["default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(reply.header("set-cookie").is_empty());
    // The one script is our own, whole and named by its hash; where it is not, none may run.
    let scripts: Vec<_> = reply.text.split("<script>").skip(1).collect();
    let ours = scripts.iter().all(|script| script.split("</script>").next() == Some(SCRIPT));
    assert!(scripts.len() <= 1 && ours && !reply.text.contains("<script "), "{}", reply.text);
    assert_eq!(policy.contains("script-src 'sha256-"), scripts.len() == 1, "{policy}");
    reply.text
}

/// The secret in the page's form.
pub(crate) fn form_secret(page: &str) -> String {
    hidden(page, "form")
}

/// The value of a hidden field.
#[track_caller]
pub(crate) fn hidden(page: &str, name: &str) -> String {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("{name}: {page}"));
    rest.split_once('"').unwrap().0.to_owned()
}

/// Signs in to the page of this program, with a new account if there is none; returns the page that asks for the decision.
pub(crate) async fn sign_in(world: &World, asking: &Asking, email: &str) -> String {
    let asked = page(send(world, &format!("/login/{}/email", asking.id), &format!("email={email}")).await, 200);
    assert!(asked.contains(email) && !asked.contains(&world.mailed_code(email)));
    let form = format!("email={email}&flow={}&code={}", hidden(&asked, "flow"), world.mailed_code(email));
    let shown = page(send(world, &format!("/login/{}/code", asking.id), &form).await, 200);
    if shown.contains("name=\"newcomer\"") { new_account(world, asking, &shown).await } else { shown }
}

/// Says yes to the page that asks whether to make an account.
pub(crate) async fn new_account(world: &World, asking: &Asking, shown: &str) -> String {
    let form = format!("newcomer={}&who=x", hidden(shown, "newcomer"));
    page(send(world, &format!("/login/{}/new-account", asking.id), &form).await, 200)
}

pub(crate) async fn decide(world: &World, asking: &Asking, form: &str) -> Reply {
    send(world, &format!("/login/{}/decide", asking.id), form).await
}

#[tokio::test]
async fn somebody_lets_a_program_in() {
    let world = World::new().await;
    let asking = start(&world, json!({ "name": "laptop" })).await;
    page(world.get("/login").await, 200);
    let typed = asking.user_code.to_lowercase().replace('-', "+");
    let found = send(&world, "/login", &format!("user_code={typed}")).await;
    assert_eq!((found.status, found.header("location")), (303, format!("/login/{}", asking.id).as_str()));

    let shown = page(world.get(&format!("/login/{}", asking.id)).await, 200);
    for text in [&asking.user_code, "“laptop”", "your network", "“test&#x2f;1.0”", "UTC", "everything"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let offered = sign_in(&world, &asking, ANN).await;
    assert!(offered.contains(&asking.user_code), "{offered}");
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 0, "no session begins on the page");
    poll(&world, &asking).await.ok(202);

    let form = format!("form={}&decision=approve&name=my+laptop&lifetime=30", form_secret(&offered));
    assert!(page(decide(&world, &asking, &form).await, 200).contains("let in"));
    let reply = poll_later(&world, &asking).await.ok(200);
    let valid = world.validate(reply["token"].as_str().unwrap()).await.ok(200);
    assert_eq!((&valid["name"], &valid["email"]), (&json!("my laptop"), &json!(ANN)));
    assert_eq!(valid["expiresAt"], json!(world.now().minus(SECOND).plus(30 * 24 * 60 * MINUTE)));
    let ann = world.ann().await;
    assert_eq!(world.count_events(&ann, "pairing.approved").await, 1);

    page(world.get(&format!("/login/{}", asking.id)).await, 409);
    page(decide(&world, &asking, &form).await, 409);
    assert_eq!(world.token_ids(&ann).await.len(), 1);
}

#[tokio::test]
async fn somebody_refuses_a_program() {
    let world = World::new().await;
    let ann = world.ann().await;
    let asking = start(&world, json!({})).await;
    let offered = sign_in(&world, &asking, ANN).await;
    let form = format!("form={}&decision=deny", form_secret(&offered));
    assert!(page(decide(&world, &asking, &form).await, 200).contains("refused"));
    poll(&world, &asking).await.fails(400, "INVALID_STATE");
    assert_eq!(world.count_events(&ann, "pairing.denied").await, 1);
}

#[tokio::test]
async fn a_form_decides_once_about_its_pairing_and_in_time() {
    let world = World::new().await;
    let (asking, other) = (start(&world, json!({})).await, start(&world, json!({})).await);
    let secret = form_secret(&sign_in(&world, &asking, ANN).await);
    let form = |secret: &str| format!("form={secret}&decision=approve&name=x&lifetime=forever");

    page(decide(&world, &other, &form(&secret)).await, 400);
    for forged in ["", "x", &"x".repeat(32), &other.secret, &asking.secret] {
        page(decide(&world, &asking, &form(forged)).await, 400);
    }
    page(decide(&world, &asking, "decision=approve&name=x&lifetime=forever").await, 400);
    poll(&world, &asking).await.ok(202);
    poll(&world, &other).await.ok(202);

    world.clock.advance(5 * MINUTE);
    page(decide(&world, &asking, &form(&secret)).await, 400);
    poll(&world, &asking).await.ok(202);
    let secret = form_secret(&sign_in(&world, &asking, ANN).await);
    page(decide(&world, &asking, &form(&secret)).await, 200);
    poll_later(&world, &asking).await.ok(200);
    assert_eq!(world.count("SELECT COUNT(*) FROM pairing_forms WHERE expires_at > 0").await, 1, "the late one only");
    let kept = world.kept_bytes();
    assert!(!kept.windows(32).any(|window| window == secret.as_bytes()));
}

#[tokio::test]
async fn bad_terms_do_not_spend_the_form() {
    let world = World::new().await;
    let asking = start(&world, json!({})).await;
    let secret = form_secret(&sign_in(&world, &asking, ANN).await);
    for terms in ["decision=approve&name=%3Cb%3E&lifetime=30", "decision=approve&name=x&lifetime=31", "decision=maybe"]
    {
        let again = page(decide(&world, &asking, &format!("form={secret}&{terms}")).await, 400);
        assert_eq!(form_secret(&again), secret);
        assert!(!again.contains("<b>"), "{again}");
    }
    page(decide(&world, &asking, &format!("form={secret}&decision=approve&name=x&lifetime=365")).await, 200);
    poll(&world, &asking).await.ok(200);
}

#[tokio::test]
async fn wrong_codes_lead_nowhere() {
    let world = World::new().await;
    let asking = start(&world, json!({})).await;
    let code = format!("/login/{}/code", asking.id);
    page(send(&world, &code, &format!("email={ANN}&code=000000")).await, 400);
    page(send(&world, &format!("/login/{}/email", asking.id), &format!("email={ANN}")).await, 200);
    let right = world.mailed_code(ANN);
    let wrong = if right == "000000" { "000001" } else { "000000" };
    page(send(&world, &code, &format!("email={ANN}&code=x")).await, 400);
    for _ in 0..3 {
        let again = page(send(&world, &code, &format!("email={ANN}&code={wrong}")).await, 400);
        assert!(!again.contains("name=\"form\""), "{again}");
    }
    page(send(&world, &code, &format!("email={ANN}&code={right}")).await, 400);
    page(send(&world, &format!("/login/{}/email", asking.id), "email=nonsense").await, 400);
    assert_eq!(world.count("SELECT COUNT(*) FROM pairing_forms").await, 0);
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 0);
    assert_eq!(world.outbox.mails().len(), 1);
}

#[tokio::test]
async fn who_is_disabled_is_told() {
    let world = World::new().await;
    world.ann().await;
    let asking = start(&world, json!({})).await;
    world.by_hand("UPDATE users SET disabled_at = 1").await;
    let asked = page(send(&world, &format!("/login/{}/email", asking.id), &format!("email={ANN}")).await, 200);
    let form = format!("email={ANN}&flow={}&code={}", hidden(&asked, "flow"), world.mailed_code(ANN));
    let told = page(send(&world, &format!("/login/{}/code", asking.id), &form).await, 403);
    assert!(told.contains("disabled"));
    assert_eq!(world.count("SELECT COUNT(*) FROM pairing_forms").await, 0);
    poll(&world, &asking).await.ok(202);
}

/// The secret in the page's form that asks for the second factor.
fn mfa_token(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"mfa_token\" value=\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

fn second(world: &World, asking: &Asking, token: &str, code: &str) -> Call {
    let form = format!("mfa_token={token}&code={code}");
    send(world, &format!("/login/{}/second-factor", asking.id), &form)
}

#[tokio::test]
async fn the_page_asks_for_the_second_factor() {
    let world = World::new().await;
    let (ann, app, backup_codes) = mfa::ann(&world).await;
    let asking = start(&world, json!({})).await;
    let sessions = world.count("SELECT COUNT(*) FROM sessions").await;
    let asked = sign_in(&world, &asking, ANN).await;
    assert!(!asked.contains("name=\"form\"") && asked.contains("authenticator"), "{asked}");
    let token = mfa_token(&asked);

    let again = page(second(&world, &asking, &token, &app.wrong(&world)).await, 400);
    assert_eq!(mfa_token(&again), token, "the sign-in still waits");
    page(second(&world, &asking, &token, "12").await, 400);
    assert_eq!(world.count("SELECT COUNT(*) FROM pairing_forms").await, 0);
    let code = app.code(&world, 0);
    let offered = page(second(&world, &asking, &token, &code).await, 200);
    assert!(offered.contains(ANN), "{offered}");
    page(second(&world, &asking, &token, &app.code(&world, 1)).await, 400);

    let form = format!("form={}&decision=approve&name=x&lifetime=30", form_secret(&offered));
    page(decide(&world, &asking, &form).await, 200);
    let reply = poll(&world, &asking).await.ok(200);
    assert!(world.is_valid(reply["token"].as_str().unwrap()).await);
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, sessions, "no session begins on the page");
    for (kind, count) in [("sign_in.mfa_required", 1), ("mfa.failed", 1), ("pairing.approved", 1)] {
        assert_eq!(world.count_events(&ann, kind).await, count, "{kind}");
    }

    // Each code once, here and elsewhere; a backup code does as well.
    let other = start(&world, json!({})).await;
    let token = mfa_token(&sign_in(&world, &other, ANN).await);
    page(second(&world, &other, &token, &code).await, 400);
    page(second(&world, &other, &token, &backup_codes[0]).await, 200);
    let waiting = mfa::first_factor(&world).await;
    mfa::verify(&world, &waiting, &backup_codes[0]).await.fails(400, "INVALID_CODE");
}

#[tokio::test]
async fn a_waiting_sign_in_is_of_its_page_and_its_guesses_are_counted() {
    let world = World::new().await;
    let (_, app, _) = mfa::ann(&world).await;
    let (asking, other) = (start(&world, json!({})).await, start(&world, json!({})).await);
    let token = mfa_token(&sign_in(&world, &asking, ANN).await);
    let elsewhere = mfa::first_factor(&world).await;
    let code = app.code(&world, 0);
    // Not of another program's page, nor for a session, nor the reverse.
    page(second(&world, &other, &token, &code).await, 400);
    page(second(&world, &asking, &elsewhere, &code).await, 400);
    mfa::verify(&world, &token, &code).await.fails(400, "INVALID_CODE");
    for forged in ["", "x", &"x".repeat(32)] {
        page(second(&world, &asking, forged, &code).await, 400);
    }
    let foreign = second(&world, &asking, &token, &code).header("sec-fetch-site", "cross-site");
    page(foreign.await, 403);

    for _ in 0..5 {
        page(second(&world, &asking, &token, &app.wrong(&world)).await, 400);
    }
    let told = page(second(&world, &asking, &token, &code).await, 400);
    assert!(told.contains("Too many") && told.contains("name=\"email\""), "from the beginning: {told}");

    let token = mfa_token(&sign_in(&world, &asking, ANN).await);
    world.clock.advance(5 * MINUTE);
    page(second(&world, &asking, &token, &app.code(&world, 0)).await, 400);
    assert_eq!(world.count("SELECT COUNT(*) FROM pairing_forms").await, 0);
    poll(&world, &asking).await.ok(202);
    let kept = world.kept_bytes();
    assert!(!kept.windows(32).any(|window| window == token.as_bytes()));
}

#[tokio::test]
async fn guesses_on_the_page_count_with_those_elsewhere() {
    let world = World::new().await;
    let (_, app, _) = mfa::ann(&world).await;
    let wrong = app.wrong(&world);
    let asking = start(&world, json!({})).await;
    for _ in 0..3 {
        let token = mfa_token(&sign_in(&world, &asking, ANN).await);
        let waiting = mfa::first_factor(&world).await;
        for _ in 0..5 {
            page(second(&world, &asking, &token, &wrong).await, 400);
            mfa::verify(&world, &waiting, &wrong).await.fails(400, "INVALID_CODE");
        }
        page(second(&world, &asking, &token, &wrong).await, 400);
        mfa::verify(&world, &waiting, &wrong).await.fails(400, "TOO_MANY_ATTEMPTS");
    }
    // Thirty in all: from now on it takes two codes, here as there.
    let token = mfa_token(&sign_in(&world, &asking, ANN).await);
    let told = page(second(&world, &asking, &token, &app.code(&world, 0)).await, 400);
    assert!(told.contains("all twelve digits") && told.contains(&token), "{told}");
    let two = format!("{}{}", app.code(&world, -1), app.code(&world, 0));
    form_secret(&page(second(&world, &asking, &token, &two).await, 200));
}

/// The id of the flow in the page's form.
#[tokio::test]
async fn guesses_on_the_page_are_its_own_and_it_says_how_many_are_left() {
    let world = World::new().await;
    let asking = start(&world, json!({})).await;
    let path = |step: &str| format!("/login/{}/{step}", asking.id);
    let asked = page(send(&world, &path("email"), &format!("email={ANN}")).await, 200);
    let code = world.mailed_code(ANN);
    let wrong = format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000);
    // A stranger's guesses, with and without a flow, are none of the page's.
    let stranger = world.begin_flow("eve@example.com", "203.0.113.7").await;
    for _ in 0..4 {
        assert_eq!(world.verify_code(ANN, &wrong).await.status, 400);
        world.verify_in(&stranger, ANN, &wrong).await.fails(400, "TOO_MANY_ATTEMPTS");
    }
    let flow = hidden(&asked, "flow");
    let typed = |code: &str| send(&world, &path("code"), &format!("email={ANN}&flow={flow}&code={code}"));
    assert!(page(typed(&wrong).await, 400).contains("2 tries left"));
    assert!(page(typed(&wrong).await, 400).contains("1 try left"));
    let refused = page(typed("12345").await, 400);
    assert!(refused.contains("Enter the code that was sent") && refused.contains(&flow), "{refused}");
    let over = page(typed(&wrong).await, 400);
    assert!(over.contains("request a new one") && !over.contains("name=\"flow\""), "{over}");
    page(typed(&code).await, 400);
    assert_eq!(world.count("SELECT COUNT(*) FROM pairing_forms").await, 0);
    form_secret(&sign_in(&world, &asking, ANN).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_parallel_second_proofs_one_gets_a_form() {
    for _ in 0..5 {
        let world = World::new().await;
        let (_, app, _) = mfa::ann(&world).await;
        let asking = start(&world, json!({})).await;
        let token = mfa_token(&sign_in(&world, &asking, ANN).await);
        let code = app.code(&world, 0);
        let replies = parallel(20, |_| {
            let call = second(&world, &asking, &token, &code);
            async move { call.await.status }
        })
        .await;
        assert_eq!(replies.iter().filter(|status| **status == 200).count(), 1, "{replies:?}");
        assert_eq!(world.count("SELECT COUNT(*) FROM pairing_forms").await, 1);
    }
}

#[tokio::test]
async fn forms_from_other_sites_are_refused() {
    let world = World::new().await;
    let asking = start(&world, json!({})).await;
    let secret = form_secret(&sign_in(&world, &asking, ANN).await);
    let mails = world.outbox.mails().len();
    for site in ["cross-site", "same-site", "nonsense"] {
        let foreign = |path: &str, form: &str| send(&world, path, form).header("sec-fetch-site", site);
        let at = |step: &str| format!("/login/{}/{step}", asking.id);
        page(foreign(&at("second-factor"), "mfa_token=x&code=123456").await, 403);
        page(foreign("/login", &format!("user_code={}", asking.user_code)).await, 403);
        page(foreign(&at("email"), &format!("email={ANN}")).await, 403);
        page(foreign(&at("code"), &format!("email={ANN}&code=123456")).await, 403);
        let approve = format!("form={secret}&decision=approve&name=x&lifetime=30");
        page(foreign(&at("decide"), &approve).await, 403);
    }
    assert_eq!(world.outbox.mails().len(), mails);
    poll(&world, &asking).await.ok(202);
    let own = send(&world, &format!("/login/{}/decide", asking.id), &format!("form={secret}&decision=deny"));
    page(own.header("sec-fetch-site", "same-origin").await, 200);
}

#[tokio::test]
async fn what_a_program_says_of_itself_is_only_text() {
    let world = World::new().await;
    let asking = start(&world, json!({})).await;
    world.by_hand("UPDATE pairings SET user_agent = '<script>alert(1)</script>\"'").await;
    let shown = page(world.get(&format!("/login/{}", asking.id)).await, 200);
    assert!(shown.contains("“&lt;script&gt;alert(1)&lt;&#x2f;script&gt;&quot;”"), "{shown}");
    // Nothing turns the text around or hides in it, and it is no longer than a line.
    let agent = "Google\u{202e}\u{2066}\u{200b}\u{feff}\u{e0041}\u{430} ".repeat(40);
    world.by_hand(&format!("UPDATE pairings SET user_agent = '{agent}'")).await;
    let shown = page(world.get(&format!("/login/{}", asking.id)).await, 200);
    let claimed = shown.split("<dt>Runs as</dt><dd>“").nth(1).unwrap().split("”</dd>").next().unwrap();
    assert!(claimed.len() <= 60 && claimed.ends_with("...") && claimed.is_ascii(), "{claimed:?}");
}

#[tokio::test]
async fn pages_of_nothing_say_so_and_guessing_is_limited() {
    let world = World::with(|setup| {
        setup.config.limits.sign_in = domain::Limit { count: 5, window: 15 * MINUTE };
    })
    .await;
    for path in ["/login/nothing", "/login/%00", "/login/%FF", "/login/a%2Fb"] {
        page(world.get(path).await, 404);
    }
    for form in ["user_code=BCDF-GHJK", "user_code=", "user_code=AEIO-UAEI", "", "user_code=a&user_code=b"] {
        let reply = send(&world, "/login", form).await;
        assert!([400, 404].contains(&reply.status), "{}", reply.text);
        let status = reply.status;
        page(reply, status);
    }
    let limited = send(&world, "/login", "user_code=BCDF-GHJK").await;
    assert!(!limited.header("retry-after").is_empty());
    page(limited, 429);

    let late = start(&world, json!({})).await;
    world.clock.advance(10 * MINUTE);
    page(world.get(&format!("/login/{}", late.id)).await, 400);
    let found = send(&world, "/login", &format!("user_code={}", late.user_code)).from("203.0.113.5").await;
    page(found, 404);
}
