//! Somebody reads a mail about what was not them, and ends it: the real program, a mail server and a browser.

use std::path::PathBuf;

use serde_json::json;
use testkit::{Browser, ReceivedMail, until};

use crate::installation::Installation;

const ON: &[(&str, &str)] = &[("SECURITY_MAILS", "true"), ("APP_URL", "https://app.example.com")];
const WINDOWS: [(u32, u32); 2] = [(390, 844), (1280, 800)];

/// The security mails so far.
fn told(installation: &Installation) -> Vec<ReceivedMail> {
    installation.mail.mails().into_iter().filter(|mail| mail.text.contains("in your 127.0.0.1 account")).collect()
}

async fn until_told(installation: &Installation, count: usize) -> ReceivedMail {
    until("a security mail", async || told(installation), |mails| mails.len() >= count).await[count - 1].clone()
}

/// With `PAGES_SEEN=FOLDER`, a picture for a person to look at, as a phone and as a desk would show it.
async fn look(browser: &mut Browser, name: &str) {
    for (width, height) in WINDOWS {
        let seen = browser.resize(width, height).await;
        assert!(!seen.overflows, "{name}: {width} pixels are enough");
        if let Some(folder) = std::env::var_os("PAGES_SEEN") {
            browser.screenshot(&PathBuf::from(folder).join(format!("{name}-{width}.png"))).await;
        }
    }
}

#[tokio::test]
async fn whoever_reads_the_mail_ends_everything_by_its_link() {
    let installation = Installation::new(ON).await;
    let (_auth, _backend) = installation.start().await;
    let owner = installation.sign_in("ann@example.com").await;
    let thief = installation.sign_in("ann@example.com").await;
    let made = installation.post("/tokens", Some(&thief), json!({ "name": "backup" })).await;
    let token = made.text("/token/token");
    assert_eq!(installation.validate(token).await.status, 200);

    let mail = until_told(&installation, 1).await;
    assert_eq!((mail.to[0].as_str(), mail.subject.as_str()), ("ann@example.com", "127.0.0.1: a token was created"));
    for said in ["Token: backup", "From: 127.0.0.1", "UTC"] {
        assert!(mail.text.contains(said), "{said} in {}", mail.text);
    }
    let link = mail.text.split_whitespace().find(|word| word.contains("/undo/")).unwrap();

    let mut browser = Browser::start(false);
    let folder = tempfile::tempdir().unwrap();
    let shown = folder.path().join("mail.html");
    std::fs::write(&shown, &mail.html).unwrap();
    browser.open(&format!("file://{}", shown.display())).await;
    look(&mut browser, "security-mail").await;
    let asked = browser.open(link).await;
    assert_eq!((asked.status, asked.title.starts_with("Was this not you?")), (200, true), "{}", asked.title);
    assert_eq!(asked.focus.tag, "body", "no key ends everything by accident");
    look(&mut browser, "undo").await;
    assert_eq!(installation.validate(token).await.status, 200, "looking ends nothing");

    assert_eq!(browser.press("Tab").await.focus.name, "End all sessions and tokens");
    let ended = browser.press("Enter").await;
    assert!(ended.text.contains("2 sessions and 1 token have ended"), "{}", ended.text);
    look(&mut browser, "undone").await;
    for credential in [token, &owner, &thief] {
        assert_eq!(installation.validate(credential).await.status, 401);
    }
    browser.open(link).await;
    browser.press("Tab").await;
    assert_eq!(browser.press("Enter").await.status, 400, "once");
}

/// Killed after the reply and before the mail.
#[tokio::test]
async fn what_is_to_be_told_outlives_a_kill_and_is_told_once() {
    let mut installation = Installation::new(ON).await;
    let (mut auth, _backend) = installation.start().await;
    let session = installation.sign_in("ann@example.com").await;
    for number in 0..3 {
        let made = installation.post("/tokens", Some(&session), json!({ "name": format!("t{number}") })).await;
        assert_eq!(made.status, 201);
    }
    auth.kill().await;
    assert_eq!(told(&installation), []);
    installation.forget_connections();
    let _auth = installation.auth.start().await;
    assert_eq!(until_told(&installation, 1).await.subject, "127.0.0.1: 3 tokens were created");
    let session = installation.sign_in("ann@example.com").await;
    installation.post("/tokens", Some(&session), json!({ "name": "later" })).await;
    assert_eq!(until_told(&installation, 2).await.subject, "127.0.0.1: a token was created", "and nothing twice");
}
