//! Signing in with a code sent by SMS.

use std::sync::Arc;

use auth::{HttpSms, SmsSender, Twilio};
use serde_json::json;
use testkit::{HTTPSMS_KEY, SmsBehaviour, SmsSink, TWILIO_SID, TWILIO_TOKEN};

use crate::client::Call;
use crate::world::{MINUTE, World, person};

const ANN: &str = "+14155552671";
const FROM: &str = "+14155550100";

pub(crate) fn request(world: &World, phone: &str) -> Call {
    world.post("/auth/sms/request").json(&json!({ "phone": phone }))
}

pub(crate) fn verify(world: &World, phone: &str, code: &str) -> Call {
    world.post("/auth/sms/verify").json(&json!({ "phone": phone, "code": code }))
}

/// The code at the beginning of an SMS.
fn code_in(text: &str) -> String {
    let code = &text[..6];
    assert!(code.bytes().all(|byte| byte.is_ascii_digit()), "{text}");
    code.to_owned()
}

pub(crate) fn sent_code(world: &World) -> String {
    code_in(&world.outbox.mails()[0].text)
}

fn gateways(sink: &SmsSink) -> [Arc<dyn SmsSender>; 2] {
    [
        Arc::new(HttpSms::new(sink.url(), HTTPSMS_KEY.into(), FROM.to_owned()).unwrap()),
        Arc::new(Twilio::new(sink.url(), TWILIO_SID.to_owned(), TWILIO_TOKEN.into(), FROM.to_owned()).unwrap()),
    ]
}

#[tokio::test]
async fn a_code_from_an_sms_signs_in() {
    let world = World::new().await;
    let mut sent = request(&world, ANN).await.ok(200);
    assert!(sent["flowId"].take().is_string());
    assert_eq!(
        sent,
        json!({ "success": true, "message": "If the number is right, a code is on its way", "expiresIn": 600,
                "flowId": null })
    );
    let sms = world.outbox.mails().remove(0);
    assert_eq!((sms.channel, sms.to.as_str(), sms.html.as_str()), ("sms", ANN, ""));
    assert!(sms.text.chars().count() <= 160, "it fits into one: {}", sms.text);

    let reply = verify(&world, ANN, &sent_code(&world)).await.ok(200);
    let ann = person(&reply);
    assert_eq!((&reply["user"]["phone"], &reply["user"]["email"]), (&ANN.into(), &().into()));
    let me = world.get("/auth/me").by(&ann.access).await.ok(200);
    assert_eq!((&me["user"]["phoneVerified"], &me["user"]["emailVerified"]), (&true.into(), &false.into()));
    let token = world.token(&ann).await;
    assert!(world.is_valid(&token.secret).await, "from nothing to a working token");
    assert_eq!(world.count_events(&ann, "sign_in.succeeded").await, 1);
}

#[tokio::test]
async fn spellings_of_one_number_are_one_account_and_one_counter() {
    let world = World::with(|setup| setup.config.limits.strict = "5/15m".parse().unwrap()).await;
    let mut ids = Vec::new();
    for (number, spelling) in ["+14155552671", " +1 415 555 2671 ", "+1 (415) 555-2671"].into_iter().enumerate() {
        let from = format!("203.0.113.{number}");
        request(&world, spelling).from(&from).await.ok(200);
        ids.push(person(&verify(&world, spelling, &sent_code(&world)).from(&from).await.ok(200)).id);
    }
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    for address in ["203.0.113.10", "203.0.113.11"] {
        request(&world, ANN).from(address).await.ok(200);
    }
    // The number has had enough: whoever asks gets a flow, in which the code that was sent last is good.
    let reply = request(&world, ANN).from("203.0.113.12").await.ok(200);
    assert_eq!(world.outbox.mails().len(), 5);
    let body = json!({ "phone": ANN, "code": sent_code(&world), "flowId": reply["flowId"] });
    person(&world.post("/auth/sms/verify").json(&body).from("203.0.113.12").await.ok(200));
    request(&world, "+447400123456").from("203.0.113.12").await.ok(200);
}

#[tokio::test]
async fn an_address_that_asks_for_many_numbers_is_stopped() {
    let world = World::with(|setup| setup.config.limits.sign_in = "5/15m".parse().unwrap()).await;
    for number in 0..5 {
        request(&world, &format!("+1415555267{number}")).await.ok(200);
    }
    request(&world, "+14155552679").await.fails(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(world.outbox.mails().len(), 5);
}

#[tokio::test]
async fn bad_input_sends_nothing_and_costs_nothing() {
    let world = World::new().await;
    for phone in ["", "4155552671", "+1", "ann@example.com", "+19002345678", "+14155552671;ext=1", "+1415\u{0}5552671"]
    {
        request(&world, phone).await.fails_at("phone");
        verify(&world, phone, "123456").await.fails_at("phone");
    }
    world.post("/auth/sms/request").json(&json!({})).await.fails_at("phone");
    world.post("/auth/sms/request").json(&json!({ "phone": 1 })).await.fails_at("phone");
    verify(&world, ANN, "12345").await.fails_at("code");
    verify(&world, ANN, "123456").await.fails(400, "INVALID_CODE");
    assert_eq!(world.outbox.mails().len(), 0);
    for table in ["one_time_codes", "users", "message_days"] {
        assert_eq!(world.count(&format!("SELECT COUNT(*) FROM {table}")).await, 0, "{table}");
    }
}

#[tokio::test]
async fn a_code_works_once_for_ten_minutes_and_three_guesses() {
    let world = World::new().await;
    request(&world, ANN).await.ok(200);
    let code = sent_code(&world);
    world.clock.advance(10 * MINUTE);
    verify(&world, ANN, &code).await.fails(400, "CODE_EXPIRED");

    request(&world, ANN).await.ok(200);
    let code = sent_code(&world);
    verify(&world, "+447400123456", &code).await.fails(400, "INVALID_CODE");
    let wrong = if code == "000000" { "000001" } else { "000000" };
    for remaining in [2, 1, 0] {
        let body = verify(&world, ANN, wrong).await.fails(400, "INVALID_CODE");
        assert_eq!(body["attemptsRemaining"], remaining);
    }
    verify(&world, ANN, &code).await.fails(400, "TOO_MANY_ATTEMPTS");
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 0);

    request(&world, ANN).await.ok(200);
    let code = sent_code(&world);
    verify(&world, ANN, &code).await.ok(200);
    verify(&world, ANN, &code).await.fails(400, "INVALID_CODE");
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 1);
}

#[tokio::test]
async fn an_installation_without_sms_says_so() {
    let world = World::with(|setup| setup.sms = None).await;
    request(&world, ANN).await.fails(503, "SMS_NOT_CONFIGURED");
    assert_eq!(world.count("SELECT COUNT(*) FROM one_time_codes").await, 0);
}

#[tokio::test]
async fn both_gateways_take_the_code() {
    let sink = SmsSink::start().await;
    for (gateway, name) in gateways(&sink).into_iter().zip(["httpsms", "twilio"]) {
        let world = World::with(|setup| setup.sms = Some(gateway)).await;
        request(&world, ANN).await.ok(200);
        let sms = sink.received().pop().unwrap();
        assert_eq!((sms.gateway, sms.from.as_str(), sms.to.as_str()), (name, FROM, ANN));
        verify(&world, ANN, &code_in(&sms.text)).await.ok(200);
    }
}

#[tokio::test]
async fn a_gateway_that_fails_is_the_providers_error_and_nobody_learns_what_it_said() {
    let sink = SmsSink::start().await;
    for gateway in gateways(&sink) {
        let world = World::with(|setup| setup.sms = Some(gateway)).await;
        for behaviour in [
            SmsBehaviour::Unauthorized,
            SmsBehaviour::Broken,
            SmsBehaviour::Html,
            SmsBehaviour::EmptyObject,
            SmsBehaviour::Endless,
            SmsBehaviour::Redirect,
        ] {
            sink.behave(behaviour);
            let body = request(&world, ANN).await.fails(502, "PROVIDER_ERROR");
            for leaked in ["cannot send", "who are you", "Welcome"] {
                assert!(!body.to_string().contains(leaked), "{body}");
            }
        }
        assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 0);
        sink.behave(SmsBehaviour::Accept);
        request(&world, ANN).await.ok(200);
    }
    assert_eq!(sink.received().len(), 2);
}

#[tokio::test]
async fn wrong_keys_and_gateways_out_of_reach_are_the_providers_error() {
    let sink = SmsSink::start().await;
    let nowhere = format!("http://127.0.0.1:{}", testkit::free_port());
    let gateways: [Arc<dyn SmsSender>; 4] = [
        Arc::new(HttpSms::new(sink.url(), "wrong".into(), FROM.to_owned()).unwrap()),
        Arc::new(Twilio::new(sink.url(), TWILIO_SID.to_owned(), "wrong".into(), FROM.to_owned()).unwrap()),
        Arc::new(HttpSms::new(&nowhere, HTTPSMS_KEY.into(), FROM.to_owned()).unwrap()),
        Arc::new(Twilio::new(&nowhere, TWILIO_SID.to_owned(), TWILIO_TOKEN.into(), FROM.to_owned()).unwrap()),
    ];
    for gateway in gateways {
        let world = World::with(|setup| setup.sms = Some(gateway)).await;
        request(&world, ANN).await.fails(502, "PROVIDER_ERROR");
    }
    assert_eq!(sink.received(), []);
}
