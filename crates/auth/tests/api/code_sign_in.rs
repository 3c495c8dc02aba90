//! Signing in with a code sent by e-mail.

use std::sync::Arc;

use auth::{Mail, MailError, Mailer, Smtp};
use serde_json::{Value, json};
use testkit::{SmtpBehaviour, SmtpSink};

use crate::world::{MINUTE, SECOND, World, decode_jwt, person};

#[tokio::test]
async fn a_code_from_the_mail_signs_in() {
    let world = World::new().await;
    let mut sent = world.request_code("ann@example.com").await.ok(200);
    let flow = sent["flowId"].take().as_str().unwrap().to_owned();
    assert!(flow.len() >= 22, "128 bits and more");
    assert_eq!(
        sent,
        json!({ "success": true, "message": "If the address is right, a code is on its way", "expiresIn": 600,
                "flowId": null })
    );

    let mails = world.outbox.mails();
    let code = world.mailed_code("ann@example.com");
    assert_eq!((mails.len(), mails[0].to.as_str(), mails[0].channel), (1, "ann@example.com", "email"));
    assert!(mails[0].text.contains(&code) && mails[0].html.contains(&code));
    assert_eq!(mails[0].subject, format!("{code} is your code for Example"));
    for body in [&mails[0].text, &mails[0].html] {
        assert!(body.contains("198.51.100.1") && body.contains("UTC"), "who asked, from where and when: {body}");
    }

    let reply = world.verify_in(&flow, "ann@example.com", &code).await.ok(200);
    let ann = person(&reply);
    assert_eq!(
        reply["user"],
        json!({ "id": ann.id, "email": "ann@example.com", "phone": null, "displayName": null, "avatarUrl": null,
                "walletAddress": null })
    );
    assert_eq!(reply.as_object().unwrap().len(), 4, "{reply}");
    world.get("/auth/me").by(&ann.access).await.ok(200);
}

#[tokio::test]
async fn the_jwts_say_what_the_contract_says() {
    let world = World::new().await;
    let ann = world.ann().await;
    let now = world.now().as_seconds();

    let (header, mut access) = decode_jwt(&ann.access);
    assert_eq!(header["alg"], "EdDSA");
    assert!(header["kid"].is_string());
    let session = access["sessionId"].clone();
    assert!(access["jti"].take().is_string());
    let claims = |kind: &str, exp: i64| -> Value {
        json!({ "type": kind, "userId": ann.id, "email": "ann@example.com", "sessionId": session,
                "iss": "alternatefutures-auth", "aud": "alternatefutures-app", "iat": now, "exp": exp, "jti": null })
    };
    assert_eq!(access, claims("access", now + 15 * 60));

    let (header, mut refresh) = decode_jwt(&ann.refresh);
    assert_eq!(header["alg"], "HS256");
    assert!(refresh["jti"].take().is_string());
    assert_eq!(refresh, claims("refresh", now + 7 * 24 * 60 * 60));
}

#[tokio::test]
async fn the_second_sign_in_finds_the_account() {
    let world = World::new().await;
    let first = world.ann().await;
    let second = world.ann().await;
    assert_eq!(first.id, second.id);
    assert_ne!(decode_jwt(&first.access).1["sessionId"], decode_jwt(&second.access).1["sessionId"]);
    for access in [&first.access, &second.access] {
        world.get("/auth/me").by(access).await.ok(200);
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 1);
}

#[tokio::test]
async fn spellings_of_one_mailbox_are_one_account() {
    let world = World::new().await;
    let ann = world.ann().await;
    for spelling in ["Ann@Example.COM", "  ann@example.com ", "ANN@EXAMPLE.com"] {
        world.request_code(spelling).await.ok(200);
        let again = person(&world.verify_code(spelling, &world.mailed_code("ann@example.com")).await.ok(200));
        assert_eq!(again.id, ann.id, "{spelling}");
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 1);
}

#[tokio::test]
async fn a_code_may_be_typed_in_groups() {
    let world = World::new().await;
    world.request_code("ann@example.com").await.ok(200);
    let code = world.mailed_code("ann@example.com");
    let typed = format!(" {}-{} {}", &code[..2], &code[2..4], &code[4..]);
    world.verify_code("ann@example.com", &typed).await.ok(200);
}

#[tokio::test]
async fn a_code_works_for_ten_minutes() {
    let world = World::new().await;
    world.request_code("ann@example.com").await.ok(200);
    let code = world.mailed_code("ann@example.com");
    world.clock.advance(10 * MINUTE);
    world.verify_code("ann@example.com", &code).await.fails(400, "CODE_EXPIRED");
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 0);

    world.request_code("ann@example.com").await.ok(200);
    let code = world.mailed_code("ann@example.com");
    world.clock.advance(10 * MINUTE - SECOND);
    world.verify_code("ann@example.com", &code).await.ok(200);
}

#[tokio::test]
async fn an_installation_without_mail_says_so() {
    let world = World::with(|setup| setup.mailer = None).await;
    world.request_code("ann@example.com").await.fails(503, "EMAIL_NOT_CONFIGURED");
    assert_eq!(world.count("SELECT COUNT(*) FROM one_time_codes").await, 0);
}

#[tokio::test]
async fn a_mail_that_is_not_accepted_is_the_providers_error() {
    let sink = SmtpSink::start().await;
    sink.behave(SmtpBehaviour::Refuse);
    let smtp: Arc<dyn Mailer> = Arc::new(Smtp::new(&sink.url().into(), "Example <no-reply@example.com>").unwrap());
    let world = World::with(|setup| setup.mailer = Some(smtp)).await;

    let body = world.request_code("ann@example.com").await.fails(502, "PROVIDER_ERROR");
    assert!(!body.to_string().contains("nobody here takes mail"), "what the provider said is for the log: {body}");
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 0);

    sink.behave(SmtpBehaviour::Accept);
    world.request_code("ann@example.com").await.ok(200);
    assert_eq!(sink.mails().len(), 1);
}

/// A mailer with a bug.
struct Panicking;

impl Mailer for Panicking {
    fn send(&self, _: Mail) -> futures_util::future::BoxFuture<'_, Result<(), MailError>> {
        panic!("a secret detail")
    }
}

#[tokio::test]
async fn a_panic_is_an_internal_error_that_tells_nothing() {
    let world = World::with(|setup| setup.mailer = Some(Arc::new(Panicking))).await;
    let body = world.request_code("ann@example.com").await.fails(500, "INTERNAL_ERROR");
    assert!(!body.to_string().contains("secret detail"), "{body}");
    world.get("/health").await.ok(200);
}
