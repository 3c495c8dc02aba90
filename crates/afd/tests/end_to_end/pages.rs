//! The pages, used in a real browser, by keyboard alone, with scripts and without.

use std::path::PathBuf;

use serde_json::json;
use testkit::{Browser, Focus, Sight};

use crate::installation::{Installation, six_digits};

/// A phone's window and a desktop's.
const WINDOWS: [(u32, u32); 2] = [(390, 844), (1280, 800)];

fn focus(tag: &str, name: &str) -> Focus {
    Focus { tag: tag.to_owned(), name: name.to_owned() }
}

/// Whoever looks at the page finds it in order in both windows; with `PAGES_SEEN=FOLDER` there is a picture of each.
async fn look(browser: &mut Browser, name: &str) -> Sight {
    let mut sight = None;
    for (width, height) in WINDOWS {
        let seen = browser.resize(width, height).await;
        assert!(seen.styled, "{name}: the policy lets the style pass");
        assert!(!seen.overflows, "{name}: {width} pixels are enough");
        assert_eq!((seen.unlabelled, seen.too_small), (0, 0), "{name}: {seen:?}");
        assert_eq!(
            (seen.language.as_str(), &seen.wanted[..], &seen.complaints[..]),
            ("en", &[][..], &[][..]),
            "{name}"
        );
        assert!(seen.focus.tag == "body" || seen.outlined, "{name}: one sees where one is");
        if let Some(folder) = std::env::var_os("PAGES_SEEN") {
            for scheme in ["dark", "light"] {
                browser.scheme(scheme).await;
                browser.screenshot(&PathBuf::from(&folder).join(format!("{name}-{width}-{scheme}.png"))).await;
            }
        }
        sight = Some(seen);
    }
    sight.unwrap()
}

#[tokio::test]
async fn somebody_lets_a_program_in_by_keyboard() {
    let installation = Installation::new(&[]).await;
    let (_auth, _backend) = installation.start().await;
    installation.sign_in("ann@example.com").await;
    for runs_scripts in [true, false] {
        let mut browser = Browser::start(runs_scripts);
        let started = installation.post("/auth/cli/start", None, json!({ "name": "my laptop" })).await;
        let poll = json!({ "verificationSessionId": started.text("/verificationSessionId"),
                           "pollSecret": started.text("/pollSecret") });

        browser.open(&format!("{}/login", installation.auth_url)).await;
        assert_eq!(look(&mut browser, "user-code").await.focus, focus("input", "Code"));
        browser.type_text("bcdf ghjk").await;
        let told = browser.press("Enter").await;
        assert_eq!((told.status, told.focus), (404, focus("input", "Code")));
        assert!(look(&mut browser, "user-code-unknown").await.text.contains("No program waits with this code"));

        browser.type_text(started.text("/userCode")).await;
        let asked = browser.press("Enter").await;
        assert_eq!((asked.status, asked.url.as_str()), (200, started.text("/verificationUrl")));
        assert!(asked.text.contains("my laptop") && asked.text.contains(started.text("/userCode")), "{}", asked.text);
        assert_eq!(look(&mut browser, "address").await.focus, focus("input", "Your e-mail address"));

        let mails = installation.mail.mails().len();
        browser.type_text("ann@example.com").await;
        let sent = browser.press("Enter").await;
        assert_eq!(sent.focus, focus("input", "The code sent to ann@example.com"));
        look(&mut browser, "code").await;
        browser.type_text(&six_digits(&installation.mail.mails()[mails].text)).await;
        browser.press("Enter").await;

        let offered = look(&mut browser, "decision").await;
        assert!(offered.text.contains("signed in as ann@example.com"), "{}", offered.text);
        assert_eq!(offered.focus.tag, "body", "no key does anything on arrival");
        browser.key("Enter").await;
        // One key at a time through all there is, and back.
        for (key, tag, name) in [
            ("Tab", "summary", "Allow less"),
            ("Tab", "select", "Its token works for"),
            ("Tab", "input", "Name of its token"),
            ("Enter", "input", "Name of its token"),
            ("Tab", "button", "Approve"),
            ("Tab", "button", "Deny"),
            ("Shift+Tab", "button", "Approve"),
        ] {
            let there = browser.key(key).await;
            assert_eq!(there.focus, focus(tag, name));
            assert!(there.outlined, "{name}");
        }
        // Nor has Enter in a field approved anything: the page is still there, and its form good.
        assert!(browser.press("Enter").await.text.contains("The program is let in"));
        look(&mut browser, "let-in").await;

        let fetched = installation.post("/auth/cli/poll", None, poll).await;
        let valid = installation.validate(fetched.text("/token")).await;
        assert_eq!((valid.text("/name"), valid.text("/email")), ("my laptop", "ann@example.com"));
        let gone = browser.open(started.text("/verificationUrl")).await;
        assert_eq!(gone.status, 409);
        look(&mut browser, "over").await;
    }
}

/// Browsers pass over a disabled button when Enter is pressed on a tick, and press the next one.
#[tokio::test]
async fn enter_on_a_tick_approves_nothing() {
    let installation = Installation::new(&[]).await;
    let (_auth, _backend) = installation.start().await;
    installation.sign_in("ann@example.com").await;
    for runs_scripts in [true, false] {
        let mut browser = Browser::start(runs_scripts);
        let asked = json!({ "name": "my laptop", "scopes": ["profile:read", "tokens:write"] });
        let started = installation.post("/auth/cli/start", None, asked).await;
        let poll = json!({ "verificationSessionId": started.text("/verificationSessionId"),
                           "pollSecret": started.text("/pollSecret") });
        browser.open(started.text("/verificationUrl")).await;
        let mails = installation.mail.mails().len();
        browser.type_text("ann@example.com").await;
        browser.press("Enter").await;
        browser.type_text(&six_digits(&installation.mail.mails()[mails].text)).await;
        browser.press("Enter").await;
        for scope in ["profile:read", "tokens:write"] {
            assert_eq!(browser.key("Tab").await.focus, focus("input", scope));
            let still = browser.key("Enter").await;
            assert_eq!(still.focus, focus("input", scope));
            assert!(still.text.contains("signed in as ann@example.com"), "{}", still.text);
        }
        let waiting = installation.post("/auth/cli/poll", None, poll).await;
        assert_eq!(waiting.text("/status"), "pending");
        for _ in 0..3 {
            browser.key("Tab").await;
        }
        assert!(browser.press("Enter").await.text.contains("The program is let in"), "its form is still good");
    }
}

#[tokio::test]
async fn somebody_signs_in_with_the_mails_link_by_keyboard() {
    let installation = Installation::new(&[]).await;
    let (_auth, _backend) = installation.start().await;
    for runs_scripts in [true, false] {
        let mut browser = Browser::start(runs_scripts);
        let text = installation.mailed("ann@example.com").await;
        let link = text.split_whitespace().find(|word| word.contains("/login/email/")).unwrap();
        assert_eq!(browser.open(link).await.status, 200);
        // It was asked for by a program, not by this browser.
        let told = look(&mut browser, "link-elsewhere").await;
        assert!(told.text.contains("This is not the browser that asked to sign in."), "{}", told.text);
        assert!(told.text.contains("ann@example.com"), "{}", told.text);
        assert_eq!(told.focus.tag, "body");
        assert_eq!(browser.press("Tab").await.focus, focus("button", "Go on in this browser"));
        browser.press("Enter").await;
        assert_eq!(look(&mut browser, "link-here").await.focus.tag, "body");
        assert_eq!(browser.press("Tab").await.focus, focus("button", "Sign in here"));
        browser.press("Enter").await;
        let shown = look(&mut browser, "exchange-code").await;
        let code = shown.text.split_whitespace().find(|word| word.len() == 32).unwrap();
        let session = installation.post("/auth/exchange", None, json!({ "code": code })).await;
        let created = installation.post("/tokens", Some(session.text("/accessToken")), json!({ "name": "x" })).await;
        assert_eq!(installation.validate(created.text("/token/token")).await.text("/email"), "ann@example.com");

        let again = browser.open(link).await;
        assert_eq!(again.status, 200, "the page tells no scanner whether it was used");
        for key in ["Tab", "Enter", "Tab"] {
            browser.press(key).await;
        }
        let spent = browser.press("Enter").await;
        assert_eq!(spent.status, 400);
        assert!(look(&mut browser, "link-spent").await.text.contains("request a new one"));
    }
}

#[tokio::test]
async fn the_page_asks_for_the_second_factor_by_keyboard() {
    let installation = Installation::new(&[]).await;
    let (_auth, _backend) = installation.start().await;
    let session = installation.sign_in("ann@example.com").await;
    let setup = installation.post("/account/mfa/setup", Some(&session), json!({})).await;
    let code = testkit::authenticator_code(setup.text("/otpauthUrl")).await;
    let enabled = installation.post("/account/mfa/enable", Some(&session), json!({ "code": code })).await;
    let backup_code = enabled.text("/backupCodes/0");

    let mut browser = Browser::start(false);
    let started = installation.post("/auth/cli/start", None, json!({ "name": "my laptop" })).await;
    browser.open(started.text("/verificationUrl")).await;
    let mails = installation.mail.mails().len();
    browser.type_text("ann@example.com").await;
    browser.press("Enter").await;
    browser.type_text(&six_digits(&installation.mail.mails()[mails].text)).await;
    browser.press("Enter").await;
    let asked = look(&mut browser, "second-factor").await;
    assert_eq!(asked.focus, focus("input", "Code of your authenticator app, or a backup code"));
    browser.type_text("aaaaa-aaaaa").await;
    assert_eq!(browser.press("Enter").await.focus, asked.focus, "asked again");
    browser.type_text(backup_code).await;
    assert!(browser.press("Enter").await.text.contains("signed in as ann@example.com"));
    for _ in 0..5 {
        browser.press("Tab").await;
    }
    assert!(browser.press("Enter").await.text.contains("The program is refused"));
    look(&mut browser, "refused").await;
}

/// Whoever has a wallet goes on with it, is asked before there is an account, and allows less than was asked for.
#[tokio::test]
async fn somebody_with_a_wallet_lets_a_program_in() {
    let installation = Installation::new(&[]).await;
    let (_auth, _backend) = installation.start().await;
    let mut browser = Browser::start(true);
    browser.wallet(&format!("0x{}", "07".repeat(32))).await;
    for round in 0..2 {
        let request = json!({ "name": "my laptop", "scopes": ["projects:read", "projects:write"] });
        let started = installation.post("/auth/cli/start", None, request).await;
        browser.open(started.text("/verificationUrl")).await;
        look(&mut browser, "ways-in").await;
        // Past the address's button.
        browser.key("Tab").await;
        assert_eq!(browser.key("Tab").await.focus, focus("button", "Go on with an Ethereum wallet"));
        browser.press("Enter").await;
        let asked = look(&mut browser, "wallet").await;
        assert!(asked.text.contains("wants you to sign in with your Ethereum account"), "{}", asked.text);
        assert_eq!(browser.key("Tab").await.focus.tag, "pre", "a long text can be scrolled by keyboard");
        assert_eq!(browser.key("Tab").await.focus, focus("button", "Sign with the wallet"));
        let mut offered = browser.press("Enter").await;
        if round == 0 {
            assert!(look(&mut browser, "newcomer").await.text.contains("there is no account yet"), "{}", offered.text);
            assert_eq!(offered.focus.tag, "body");
            assert_eq!(browser.key("Tab").await.focus, focus("a", "Sign in another way"));
            assert_eq!(browser.key("Tab").await.focus, focus("button", "Make a new account"));
            offered = browser.press("Enter").await;
        }
        assert!(offered.text.contains("You are signed in as 0x"), "{}", offered.text);
        look(&mut browser, "decision-scopes").await;
        for name in ["projects:read", "projects:write"] {
            assert_eq!(browser.key("Tab").await.focus, focus("input", name));
        }
        browser.key("Space").await;
        for _ in 0..3 {
            browser.key("Tab").await;
        }
        assert!(browser.press("Enter").await.text.contains("The program is let in"));
        let poll = json!({ "verificationSessionId": started.text("/verificationSessionId"),
                           "pollSecret": started.text("/pollSecret") });
        let fetched = installation.post("/auth/cli/poll", None, poll).await;
        let valid = installation.validate(fetched.text("/token")).await;
        assert_eq!(valid.body["scopes"], json!(["projects:read"]));
    }
}
