//! What people are told about their accounts, and the link by which they end everything.

use std::sync::Arc;

use auth::{Mailer, OutboxMail, Smtp};
use serde_json::json;
use testkit::{SmtpBehaviour, SmtpSink};

use crate::client::{Call, PROGRAM, parallel};
use crate::world::{DAY, MINUTE, PUBLIC_URL, Person, SECOND, World, person, token};

const ANN: &str = "ann@example.com";
const OTHER: &str = "ann@second.example";

/// Lets the service send what it has to tell, and returns those mails, the first one first.
async fn told(world: &World) -> Vec<OutboxMail> {
    let before = world.outbox.mails().len();
    world.clock.advance(5 * SECOND);
    world.auth.send_notices().await.unwrap();
    let mut mails = world.outbox.mails();
    mails.truncate(mails.len() - before);
    mails.reverse();
    mails
}

/// The one mail that there is to be, with this subject after the product's name.
async fn told_once(world: &World, subject: &str) -> OutboxMail {
    let mut mails = told(world).await;
    assert_eq!(mails.iter().map(|mail| mail.subject.as_str()).collect::<Vec<_>>(), [format!("Example: {subject}")]);
    mails.remove(0)
}

/// The path of the link in the mail.
fn undo_path(mail: &OutboxMail) -> String {
    let link = mail.text.split_whitespace().find(|word| word.contains("/undo/")).unwrap();
    assert!(mail.html.replace("&#x2f;", "/").contains(link), "both forms have it: {}", mail.html);
    link.strip_prefix(PUBLIC_URL).unwrap().to_owned()
}

fn press(world: &World, path: &str) -> Call {
    world.post(path).header("sec-fetch-site", "same-origin").body("application/x-www-form-urlencoded", "")
}

async fn sign_in_from(world: &World, address: &str, program: &str) -> Person {
    world.request_code(ANN).await.ok(200);
    let call = world.verify_code(ANN, &world.mailed_code(ANN)).from(address);
    person(&call.agent(program).await.ok(200))
}

async fn link(world: &World, who: &Person, email: &str) {
    let begin = json!({ "type": "email", "email": email });
    world.post("/account/methods/link").by(&who.access).json(&begin).await.ok(200);
    let code = world.mailed_code(email);
    let proof = json!({ "type": "email", "email": email, "code": code });
    world.post("/account/methods/link/verify").by(&who.access).json(&proof).await.ok(200);
}

async fn method_id(world: &World, who: &Person, email: &str) -> String {
    let reply = world.get("/account/methods").by(&who.access).await.ok(200);
    let methods = reply["methods"].as_array().unwrap().clone();
    methods.iter().find(|method| method["identifier"] == email).unwrap()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_sign_in_with_a_new_device_is_told_when_from_where_and_with_what() {
    let world = World::new().await;
    let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    sign_in_from(&world, "203.0.113.7", firefox).await;
    assert!(told(&world).await.is_empty(), "nobody is told that they have come");
    // Another version, and another place in the same network.
    sign_in_from(&world, "203.0.113.99", &firefox.replace("140", "141")).await;
    assert!(told(&world).await.is_empty());

    let at = world.now().to_string();
    sign_in_from(&world, "198.51.100.20", firefox).await;
    let mail = told_once(&world, "a sign-in with a new device").await;
    assert_eq!(mail.to, ANN);
    let when = format!("When: {} UTC", at.split('.').next().unwrap().replace('T', " "));
    for said in ["A sign-in with a new device", "By: e-mail", &when, "From: 198.51.100.20", "With: Firefox on Linux"] {
        assert!(mail.text.contains(said), "{said:?} in {}", mail.text);
    }
    sign_in_from(&world, "203.0.113.7", "curl/8.5.0").await;
    assert!(told_once(&world, "a sign-in with a new device").await.text.contains("With: curl"));
    // Whoever chose the program's name puts no address of theirs into the mail.
    let mail = {
        sign_in_from(&world, "203.0.113.7", "<a href=\"https://evil.example\">evil.example</a>").await;
        told_once(&world, "a sign-in with a new device").await
    };
    assert!(!mail.text.contains("evil.example") && !mail.html.contains("evil"), "{}", mail.text);
}

#[tokio::test]
async fn every_change_of_an_account_is_told_to_every_address() {
    let world = World::new().await;
    let ann = world.ann().await;
    link(&world, &ann, OTHER).await;
    let mails = told(&world).await;
    let mut to: Vec<_> = mails.iter().map(|mail| mail.to.as_str()).collect();
    to.sort_unstable();
    assert_eq!(to, [ANN, OTHER]);
    for mail in &mails {
        assert_eq!(mail.subject, "Example: a way in was added");
        assert!(mail.text.contains(&format!("Way in: e-mail, {OTHER}")), "{}", mail.text);
        assert!(mail.text.contains("From: 198.51.100.1"), "{}", mail.text);
        assert!(mail.text.contains(&format!("With: {}", PROGRAM.split('/').next().unwrap())), "{}", mail.text);
    }

    let id = method_id(&world, &ann, OTHER).await;
    world.post(&format!("/account/methods/{id}/set-primary")).by(&ann.access).await.ok(200);
    let mails = told(&world).await;
    assert_eq!(mails.len(), 2);
    assert!(mails.iter().all(|mail| mail.subject == "Example: the primary way in was changed"));

    world.delete(&format!("/account/methods/{id}")).by(&ann.access).await.ok(200);
    let mails = told(&world).await;
    assert_eq!(mails.len(), 2, "also to the one that was removed");
    assert!(mails.iter().all(|mail| mail.subject == "Example: a way in was removed"));
    assert!(mails.iter().any(|mail| mail.to == OTHER));

    // From here on there is one address.
    let made = world.token_with(&ann, json!({})).await;
    let mail = told_once(&world, "a token was created").await;
    assert!(mail.text.contains("Token: a token"), "{}", mail.text);
    world.post(&format!("/tokens/{}/rotate", made.id)).by(&ann.access).await.ok(201);
    told_once(&world, "a token got a new secret").await;

    let renewed = person(&world.refresh(&ann.refresh).await.ok(200));
    world.clock.advance(MINUTE);
    world.refresh(&ann.refresh).await.fails(401, "REFRESH_REUSED");
    assert!(told_once(&world, "a session was ended for safety").await.text.contains("may have stolen"));
    world.get("/auth/me").by(&renewed.access).await.fails(401, "SESSION_REVOKED");

    let again = world.ann().await;
    world.delete("/account/profile").by(&again.access).await.ok(200);
    let mail = told_once(&world, "the account was deleted").await;
    assert!(mail.text.contains("cannot be undone") && !mail.text.contains("/undo/"), "{}", mail.text);
    assert_eq!(world.count("SELECT COUNT(*) FROM security_notices").await, 0);
}

#[tokio::test]
async fn the_second_factor_is_told_of() {
    let world = World::new().await;
    let (ann, app, _) = crate::mfa::ann(&world).await;
    told_once(&world, "the second factor was switched on").await;
    world.clock.advance(MINUTE);
    let code = json!({ "code": app.code(&world, 0) });
    world.post("/account/mfa/disable").by(&ann.access).json(&code).await.ok(200);
    told_once(&world, "the second factor was switched off").await;
}

/// Through whichever door: the API, the older CLI's, a service's, a program that was let in.
#[tokio::test]
async fn a_token_is_told_of_whoever_made_it_and_many_in_one_mail() {
    let world = World::new().await;
    let ann = world.ann().await;
    let minter = world.scoped(&ann, &["tokens:write"]).await;
    told_once(&world, "a token was created").await;
    for by in [&ann.access, &minter.secret, &world.service_jwt().user(&ann.id).sign()] {
        let body = json!({ "name": "x", "scopes": ["tokens:write"] });
        world.post("/tokens").by(by).json(&body).await.ok(201);
        told_once(&world, "a token was created").await;
    }
    world.post("/auth/pat/create").by(&ann.access).json(&json!({ "name": "cli" })).await.ok(201);
    told_once(&world, "a token was created").await;
    let started = world.post("/auth/cli/start").json(&json!({ "name": "laptop" })).await.ok(200);
    let id = &started["verificationSessionId"];
    world.post("/auth/cli/approve").by(&ann.access).json(&json!({ "verificationSessionId": id })).await.ok(200);
    let poll = json!({ "verificationSessionId": id, "pollSecret": started["pollSecret"] });
    world.post("/auth/cli/poll").json(&poll).await.ok(200);
    assert!(told_once(&world, "a token was created").await.text.contains("Token: laptop"));

    for _ in 0..50 {
        world.token(&ann).await;
    }
    let mail = told_once(&world, "50 tokens were created").await;
    assert!(mail.text.contains("And 45 more"), "{}", mail.text);
    // A token that renews itself is what its owner set up.
    let renewed = world.post(&format!("/tokens/{}/rotate", minter.id)).by(&minter.secret).await.ok(201);
    assert!(world.is_valid(&token(&renewed).secret).await);
    assert!(told(&world).await.is_empty());
}

#[tokio::test]
async fn an_installation_may_tell_nobody() {
    let world = World::with(|setup| setup.config.security_mails = false).await;
    let ann = world.ann().await;
    world.token(&ann).await;
    assert_eq!(world.count("SELECT COUNT(*) FROM security_notices").await, 1);
    assert!(told(&world).await.is_empty());
    world.clock.advance(MINUTE);
    assert!(told(&world).await.is_empty());
    assert_eq!(world.count("SELECT COUNT(*) FROM security_notices").await, 0, "and keeps nothing");
}

#[tokio::test]
async fn the_link_ends_every_session_and_token_at_every_instance_and_once() {
    let world = World::new().await;
    let beside = world.beside(|_| {}).await;
    let (ann, thief, bob) = (world.ann().await, world.ann().await, world.bob().await);
    let (made, bobs) = (world.token_with(&thief, json!({})).await, world.token(&bob).await);
    let narrowed = {
        let form = format!(
            "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token_type=urn:ietf:params:oauth:token-type:access_token&subject_token={}",
            made.secret
        );
        let reply = world.post("/oauth/token").body("application/x-www-form-urlencoded", form).await.ok(200);
        reply["access_token"].as_str().unwrap().to_owned()
    };
    for instance in [&world, &beside] {
        for credential in [&ann.access, &thief.access, &made.secret, &narrowed] {
            assert!(instance.is_valid(credential).await);
        }
    }
    let mails = told(&world).await;
    let path = undo_path(mails.iter().find(|mail| mail.to == ANN).unwrap());
    assert_eq!(path.len(), "/undo/".len() + 32, "32 characters of base62 are 190 bits");
    beside.look().await;

    // Scanners of mail follow it, and others' pages send forms.
    for _ in 0..3 {
        let page = world.get(&path).await;
        assert_eq!(page.status, 200);
        assert!(page.text.contains("<button>End all sessions and tokens</button>"), "{}", page.text);
    }
    let foreign = world.post(&path).header("sec-fetch-site", "cross-site").await;
    assert_eq!(foreign.status, 403);
    assert!(world.is_valid(&made.secret).await);
    assert!(!world.kept_bytes().windows(32).any(|bytes| bytes == &path.as_bytes()[6..]), "it is kept nowhere");

    let (looking, other) = (Arc::downgrade(&beside.auth), Arc::downgrade(&world.auth));
    let looks = tokio::spawn(async move {
        while let (Some(one), Some(two)) = (looking.upgrade(), other.upgrade()) {
            one.look().await.unwrap();
            two.look().await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    let pressed = parallel(4, |_| press(&world, &path).into_future()).await;
    let done: Vec<_> = pressed.iter().filter(|reply| reply.status == 200).collect();
    assert_eq!(done.len(), 1, "{pressed:?}");
    assert!(done[0].text.contains("2 sessions and 1 token have ended"), "{}", done[0].text);
    for instance in [&world, &beside] {
        for credential in [&ann.access, &thief.access, &made.secret, &narrowed] {
            assert!(!instance.is_valid(credential).await);
        }
        assert!(instance.is_valid(&bob.access).await && instance.is_valid(&bobs.secret).await);
        for who in [&ann, &thief] {
            instance.refresh(&who.refresh).await.fails(401, "SESSION_REVOKED");
        }
    }
    looks.abort();
    let again = press(&world, &path).await;
    assert_eq!(again.status, 400);
    assert!(again.text.contains("has been used, or is too old"), "{}", again.text);
    assert_eq!(world.count_events(&ann, "user.secured").await, 1);
    let mails = told(&world).await;
    assert!(mails.iter().any(|mail| mail.subject == "Example: all sessions and tokens were ended"), "{}", mails.len());

    // Whoever comes back is told of, though the device was known.
    world.ann().await;
    told_once(&world, "a sign-in with a new device").await;
}

#[tokio::test]
async fn the_link_works_for_three_days_and_only_as_it_is() {
    let world = World::new().await;
    let ann = world.ann().await;
    world.token(&ann).await;
    let path = undo_path(&told_once(&world, "a token was created").await);
    let last = path.chars().last().unwrap();
    let flipped = format!("{}{}", &path[..path.len() - 1], if last == 'a' { 'b' } else { 'a' });
    for (path, status) in [
        (flipped, 400),
        (path[..path.len() - 1].to_owned(), 404),
        (format!("{path}x"), 404),
        ("/undo/%00".to_owned(), 404),
    ] {
        assert_eq!(press(&world, &path).await.status, status, "{path}");
    }
    world.later(3 * DAY).await;
    assert_eq!(press(&world, &path).await.status, 400);
    assert_eq!(world.count("SELECT COUNT(*) FROM personal_access_tokens").await, 1);

    world.token(&world.ann().await).await;
    let mails = told(&world).await;
    world.later(3 * DAY - MINUTE).await;
    assert_eq!(press(&world, &undo_path(&mails[0])).await.status, 200);
    assert_eq!(world.count("SELECT COUNT(*) FROM personal_access_tokens").await, 0);
    world.clock.advance(2 * DAY);
    world.auth.clean().await.unwrap();
    assert_eq!(world.count("SELECT COUNT(*) FROM undo_links").await, 0);
}

#[tokio::test]
async fn a_mail_server_that_is_away_is_tried_again_for_a_day() {
    let sink = SmtpSink::start().await;
    let mailer: Arc<dyn Mailer> = Arc::new(Smtp::new(&sink.url().into(), "Example <no-reply@example.com>").unwrap());
    let world = World::with(|setup| setup.mailer = Some(mailer)).await;
    world.request_code(ANN).await.ok(200);
    let code = sink.mails()[0].text.split_whitespace().find(|word| word.parse::<u32>().is_ok()).unwrap().to_owned();
    let ann = person(&world.verify_code(ANN, &code).await.ok(200));
    world.token(&ann).await;
    sink.behave(SmtpBehaviour::Refuse);
    world.clock.advance(5 * SECOND);
    world.auth.send_notices().await.unwrap();
    world.auth.send_notices().await.unwrap();
    assert_eq!(world.gauge("security_mails_total{outcome=\"failed\"}").await, 1, "not at once again");
    assert_eq!(world.gauge("security_notices_waiting").await, 1);

    sink.behave(SmtpBehaviour::Accept);
    world.clock.advance(MINUTE);
    world.auth.send_notices().await.unwrap();
    assert_eq!(sink.mails().len(), 2);
    assert_eq!(sink.mails()[1].subject, "Example: a token was created");
    assert_eq!(world.gauge("security_mails_total{outcome=\"sent\"}").await, 1);

    sink.behave(SmtpBehaviour::Refuse);
    world.token(&ann).await;
    for _ in 0..26 {
        world.clock.advance(60 * MINUTE);
        world.auth.send_notices().await.unwrap();
    }
    assert_eq!(world.gauge("security_notices_waiting").await, 0);
    assert_eq!(world.gauge("security_mails_total{outcome=\"given_up\"}").await, 1);
    assert_eq!(sink.mails().len(), 2);
}

/// A killed process: what it had to tell is told by the next.
#[tokio::test]
async fn what_is_to_be_told_survives_a_kill() {
    let world = World::new().await;
    let ann = world.ann().await;
    world.token(&ann).await;
    let world = world.killed(|_| {}).await;
    told_once(&world, "a token was created").await;
    assert!(told(&world).await.is_empty());
}

#[tokio::test]
async fn unlinking_ends_the_sessions_that_began_with_the_way_in() {
    let world = World::new().await;
    let beside = world.beside(|_| {}).await;
    let ann = world.ann().await;
    link(&world, &ann, OTHER).await;
    let (thief, phone) = (world.sign_in(OTHER).await, world.ann().await);
    for instance in [&world, &beside] {
        assert!(instance.is_valid(&thief.access).await);
    }
    let id = method_id(&world, &ann, OTHER).await;
    let looking = Arc::downgrade(&beside.auth);
    let looks = tokio::spawn(async move {
        while let Some(auth) = looking.upgrade() {
            auth.look().await.unwrap();
            drop(auth);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    world.delete(&format!("/account/methods/{id}")).by(&ann.access).await.ok(200);
    for instance in [&world, &beside] {
        assert!(!instance.is_valid(&thief.access).await, "when the reply is out");
        instance.get("/auth/me").by(&thief.access).await.fails(401, "SESSION_REVOKED");
        instance.refresh(&thief.refresh).await.fails(401, "SESSION_REVOKED");
        assert!(instance.is_valid(&ann.access).await && instance.is_valid(&phone.access).await);
    }
    looks.abort();
}
