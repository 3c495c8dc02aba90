//! What is logged: a line for each request that reads alone, and never a secret.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use testkit::{SmtpBehaviour, SmtpSink};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::world::{World, token};

/// All that is logged, at every level, by this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn capture() -> (Self, impl Drop) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(LevelFilter::TRACE)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
    }

    /// The request lines of this id.
    fn requests(&self, id: &str) -> Vec<Value> {
        let lines = self.text();
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["message"] == "request" && line["request_id"] == id).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_secret_is_logged_at_any_level() {
    let (log, _capturing) = Log::capture();
    let world = World::new().await;
    let ann = world.ann().await;
    let code = world.mailed_code("ann@example.com");
    world.verify_code("ann@example.com", &code).await.fails(400, "INVALID_CODE");
    let first = world.token(&ann).await;
    let rotated = token(&world.post(&format!("/tokens/{}/rotate", first.id)).by(&ann.access).await.ok(201));
    for secret in [&first.secret, &rotated.secret, &ann.access, &ann.refresh] {
        world.validate(secret).await;
        world.get("/auth/me").by(secret).await;
        world.get(&format!("/audit?cursor={secret}")).by(&ann.access).await.fails_at("cursor");
        world.post("/auth/refresh").body("application/json", format!("{{\"refreshToken\":\"{secret}")).await;
    }
    let renewed = world.refresh(&ann.refresh).await.ok(200);
    let jwt = world.service_jwt().user(&ann.id).sign();
    world.get("/auth/me").by(&jwt).await.ok(200);
    world.auth.flush().await.unwrap();
    world.auth.seal().await.unwrap();
    world.auth.clean().await.unwrap();
    world.store.close().await;
    world.validate(&rotated.secret).await;
    world.refresh(&ann.refresh).await.fails(503, "UNAVAILABLE");

    let text = log.text();
    assert!(text.lines().count() > 25, "{text}");
    for secret in [
        &code,
        &first.secret,
        &rotated.secret,
        &ann.access,
        &ann.refresh,
        renewed["accessToken"].as_str().unwrap(),
        renewed["refreshToken"].as_str().unwrap(),
        &jwt,
    ] {
        let end = &secret[secret.len().saturating_sub(12)..];
        let line = text.lines().find(|line| line.contains(end));
        assert_eq!(line, None, "{secret}");
    }
}

#[tokio::test]
async fn a_mail_that_is_not_accepted_is_logged_without_the_mail() {
    let (log, _capturing) = Log::capture();
    let sink = SmtpSink::start().await;
    sink.behave(SmtpBehaviour::Refuse);
    let smtp = auth::Smtp::new(&sink.url().into(), "Example <no-reply@example.com>").unwrap();
    let world = World::with(|setup| setup.mailer = Some(Arc::new(smtp))).await;
    world.request_code("ann@example.com").await.fails(502, "PROVIDER_ERROR");
    let text = log.text();
    assert!(text.contains("a mail with a code could not be sent") && text.contains("550"), "{text}");
    assert!(!text.contains("works once, for 10 minutes"), "{text}");
}

#[tokio::test]
async fn a_request_line_reads_alone() {
    let (log, _capturing) = Log::capture();
    let world = World::new().await;
    let ann = world.ann().await;
    let pat = world.token(&ann).await;
    let jwt = world.service_jwt().user(&ann.id).sign();
    let forged = testkit::service_jwt("another secret of at least 32 bytes", world.now()).sign();
    for (number, (credential, caller, status)) in
        [(&ann.access, "session", 200), (&pat.secret, "pat", 200), (&jwt, "service", 200), (&forged, "anonymous", 401)]
            .into_iter()
            .enumerate()
    {
        let id = format!("req-{number}");
        let call = world.get("/tokens?secret=query").by(credential).header("x-request-id", &id).from("203.0.113.7");
        assert_eq!(call.await.status, status);
        let [line] = &log.requests(&id)[..] else { panic!("one line") };
        let wanted = json!({
            "level": "INFO", "service": "alternatefutures-auth", "method": "GET", "route": "/tokens",
            "status": status, "caller": caller, "ip": "203.0.113.7",
        });
        for (field, value) in wanted.as_object().unwrap() {
            assert_eq!(&line[field], value, "{field}: {line}");
        }
        assert!(line["duration_us"].is_u64(), "{line}");
        assert!(!line.to_string().contains("secret=query"), "{line}");
    }
    world.get("/no%0Asuch/path").header("x-request-id", "lost").await.fails(404, "NOT_FOUND");
    assert_eq!(log.requests("lost")[0]["route"], "unknown");
}

/// Somebody who forgot to name their proxy is told once, and not by every request.
#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_named_once() {
    let (log, _capturing) = Log::capture();
    let world = World::new().await;
    for _ in 0..20 {
        for peer in ["10.0.0.7", "10.0.0.8"] {
            world.get("/health").from(peer).header("x-forwarded-for", "203.0.113.9").await.ok(200);
        }
    }
    let text = log.text();
    let told: Vec<_> = text.lines().filter(|line| line.contains("TRUSTED_PROXIES")).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("10.0.0.7") && told[1].contains("10.0.0.8") && told[0].contains("WARN"), "{told:?}");
    assert_eq!(world.gauge("ignored_forwarded_for_total").await, 40);
}

#[tokio::test]
async fn an_operator_is_told_once_when_a_day_is_nearly_used_up_and_once_when_it_is() {
    let (log, _capturing) = Log::capture();
    let world = World::with(|setup| {
        setup.config.limits.sms_per_day = 10;
        setup.config.limits.sms_countries = "US".parse().unwrap();
    })
    .await;
    let request = |phone: &str| world.post("/auth/sms/request").json(&json!({ "phone": phone }));
    request("+14155552671").await.ok(200);
    let code = world.outbox.mails()[0].text[..6].to_owned();
    world.post("/auth/sms/verify").json(&json!({ "phone": "+14155552671", "code": code })).await.ok(200);
    for number in 0..20 {
        request(&format!("+141555526{number:02}")).await.ok(200);
    }
    for _ in 0..10 {
        request("+14155552671").await;
    }
    let text = log.text();
    let told = |part: &str| text.lines().filter(|line| line.contains("WARN") && line.contains(part)).count();
    assert_eq!(told("two thirds of SMS_DAILY_CAP"), 1, "newcomers");
    assert_eq!(told("four fifths of today's SMS"), 1, "{text}");
    assert_eq!(told("SMS_DAILY_CAP is reached"), 1);
}
