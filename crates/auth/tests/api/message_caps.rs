//! What strangers can spend of an installation's mails and SMS, and what is left for those who have signed in before.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use auth::{Limits, Outbox, Sms, SmsError, SmsSender};
use domain::{Limit, PhoneNumber};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use testkit::{TestClock, until};

use crate::client::{Reply, parallel};
use crate::sms::{request, sent_code, verify};
use crate::world::{DAY, Setup, World, person};

const ANN: &str = "+14155552671";

/// The limits that an installation has, but those by address and by mailbox or number.
fn caps(setup: &mut Setup) {
    let generous = Limit::per_minute(1_000_000);
    setup.config.limits = Limits { sign_in: generous, strict: generous, ..Limits::default() };
}

async fn with(change: impl FnOnce(&mut Limits)) -> World {
    World::with(|setup| {
        caps(setup);
        change(&mut setup.config.limits);
    })
    .await
}

/// Somebody who has signed in by this number.
async fn sign_in(world: &World, phone: &str) {
    request(world, phone).await.ok(200);
    person(&verify(world, phone, &sent_code(world)).await.ok(200));
}

fn sent(world: &World) -> usize {
    world.outbox.mails().len()
}

/// Waits for what is sent behind a reply, which must not tell by its time whether anything is.
async fn in_the_end(world: &World, count: usize) {
    until("messages", async || sent(world), |sent| *sent >= count).await;
    assert_eq!(sent(world), count);
}

fn is_sent_to(world: &World, whom: &str) -> bool {
    world.outbox.mails().iter().any(|mail| mail.to == whom)
}

async fn outcomes(world: &World, name: &str, outcome: &str) -> usize {
    world.gauge(&format!("{name}_total{{outcome=\"{outcome}\"}}")).await
}

#[tokio::test]
async fn numbers_that_are_no_mobile_phones_get_no_sms_and_count_nowhere() {
    let world = World::new().await;
    let ann = world.ann().await;
    let before = sent(&world);
    let numbers = [
        ("Globalstar", "+88184000001"),
        ("Iridium", "+881612345678"),
        ("Thuraya", "+8821621234567"),
        ("Inmarsat", "+870773111632"),
        ("an international network", "+8835100123456"),
        ("a universal number", "+878101234567890"),
        ("a personal number", "+447012345678"),
        ("toll-free", "+18005550123"),
        ("toll-free everywhere", "+80012345678"),
        ("premium", "+19002345678"),
        ("a landline", "+442079460958"),
        ("another landline", "+4930123456"),
    ];
    for (kind, number) in numbers {
        let reply = request(&world, number).await;
        assert_eq!(reply.status, 400, "{kind}: {}", reply.text);
        reply.fails_at("phone");
        let link = json!({ "type": "sms", "phone": number });
        world.post("/account/methods/link").by(&ann.access).json(&link).await.fails_at("phone");
    }
    assert_eq!(sent(&world), before);
    assert_eq!(world.count("SELECT COUNT(*) FROM message_days WHERE channel = 'sms'").await, 0);
    assert_eq!(world.count("SELECT COUNT(*) FROM link_codes").await, 0);
    let are_numbers = numbers.iter().filter(|(_, number)| number.parse::<PhoneNumber>().is_ok()).count();
    assert_eq!(outcomes(&world, "code_sms", "unreachable").await, 2 * are_numbers);
}

#[tokio::test]
async fn only_countries_that_are_named_get_sms() {
    let world = with(|limits| limits.sms_countries = "US,GB".parse().unwrap()).await;
    request(&world, ANN).await.ok(200);
    request(&world, "+447400123456").await.ok(200);
    for abroad in ["+14165552671", "+4915123456789", "+447624123456"] {
        request(&world, abroad).await.fails_at("phone");
    }
    assert_eq!(sent(&world), 2);
}

/// Before: 986 SMS in a second and a half, and then none for anybody until midnight.
#[tokio::test]
async fn two_hundred_addresses_pump_few_sms_and_keep_nobody_out() {
    let world = World::with(|setup| setup.config.limits = Limits::default()).await;
    sign_in(&world, ANN).await;
    // One range, as it is rented.
    for number in 0..201 {
        let from = format!("198.18.{number}.1");
        for call in 0..5 {
            let phone = format!("+491511234{:04}", number * 5 + call);
            request(&world, &phone).from(&from).await.ok(200);
        }
    }
    assert_eq!(outcomes(&world, "code_sms", "sent").await, 1 + 20, "a block of numbers");
    // And many ranges of one country, and then of others.
    let pump = async |prefix: &str, blocks: u32| {
        for block in 0..blocks {
            for number in 0..20 {
                let phone = format!("+{prefix}{:03}{number:04}", 200 + block);
                request(&world, &phone).from(&format!("198.19.{block}.{}", number / 5)).await.ok(200);
            }
        }
    };
    pump("49160", 40).await;
    assert_eq!(outcomes(&world, "code_sms", "sent").await, 1 + 500, "a country");
    pump("44771", 40).await;
    assert_eq!(outcomes(&world, "code_sms", "sent").await, 1 + 666, "two thirds of the day, with Ann's first");

    let (known, unknown) = (request(&world, ANN).await, request(&world, "+14155552672").await);
    assert_eq!(told(&known), told(&unknown), "nobody learns who has an account");
    until("an SMS", async || outcomes(&world, "code_sms", "sent").await, |sent| *sent == 1 + 667).await;
    assert!(is_sent_to(&world, ANN) && !is_sent_to(&world, "+14155552672"));
    person(&verify(&world, ANN, &sent_code(&world)).await.ok(200));
    for outcome in ["newcomers", "country", "block"] {
        assert!(outcomes(&world, "code_sms", outcome).await > 0, "{outcome}");
    }

    world.clock.advance(DAY);
    request(&world, "+14155552672").await.ok(200);
    assert!(is_sent_to(&world, "+14155552672"));
    world.auth.clean().await.unwrap();
    world.clock.advance(DAY);
    world.auth.clean().await.unwrap();
    assert_eq!(world.count("SELECT COUNT(DISTINCT day) FROM message_days").await, 1);
}

/// What a reply says, but for what every reply has of its own.
fn told(reply: &Reply) -> (u16, Value) {
    let mut body = reply.json.clone();
    if let Some(body) = body.as_object_mut() {
        body.retain(|field, _| !["requestId", "flowId"].contains(&field.as_str()));
    }
    (reply.status, body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_more_sms_than_the_days_cap_are_sent_whoever_asks() {
    let cap = |setup: &mut Setup| {
        caps(setup);
        setup.config.limits.sms_per_day = 9;
        setup.config.limits.sms_countries = "US".parse().unwrap();
    };
    let world = World::with(cap).await;
    sign_in(&world, ANN).await;
    let replies = parallel(30, |number| request(&world, &format!("+141555526{number:02}")).into_future()).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!(sent(&world), 6, "two thirds");
    assert_eq!(world.count("SELECT COUNT(*) FROM one_time_codes").await, 6);

    let replies = parallel(10, |_| request(&world, ANN).into_future()).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 3);
    in_the_end(&world, 9).await;
    // A restart gives none back; the next day does.
    let world = world.restart(cap).await;
    let (known, unknown) = (request(&world, ANN).await, request(&world, "+14155552600").await);
    assert_eq!(told(&known), told(&unknown));
    let body = known.fails(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(body["resetAt"], "2025-11-09T00:00:00.000Z");
    assert_eq!(sent(&world), 0, "of this process");
    world.clock.advance(DAY);
    request(&world, ANN).await.ok(200);
}

#[tokio::test]
async fn a_block_of_numbers_has_its_quarter_of_the_day_even_of_those_who_signed_in() {
    let world = with(|limits| {
        limits.sms_per_day = 40;
        limits.sms_per_block = 2;
    })
    .await;
    for phone in ["+4915112340001", "+4915112340002"] {
        sign_in(&world, phone).await;
    }
    for _ in 0..8 {
        request(&world, "+4915112340001").await.ok(200);
    }
    let (known, unknown) = (request(&world, "+4915112340002").await, request(&world, "+4915112340003").await);
    assert_eq!(told(&known), told(&unknown));
    known.fails(429, "RATE_LIMIT_EXCEEDED");
    in_the_end(&world, 10).await;
    request(&world, ANN).await.ok(200);
    assert_eq!(sent(&world), 11);
}

#[tokio::test]
async fn mails_have_a_day_too_and_a_third_of_it_is_for_those_who_signed_in() {
    let world = with(|limits| limits.mails_per_day = 9).await;
    let ann = world.ann().await;
    for number in 0..8 {
        world.request_code(&format!("new{number}@example.com")).await.ok(200);
    }
    assert_eq!(sent(&world), 6);
    assert_eq!(world.count("SELECT COUNT(*) FROM one_time_codes").await, 6);
    let (known, unknown) = (world.request_code("ann@example.com").await, world.request_code("new9@example.com").await);
    assert_eq!(told(&known), told(&unknown));
    let sentence = known.ok(200)["message"].as_str().unwrap().to_owned();
    assert!(sentence.contains("before tomorrow"), "{sentence}");
    in_the_end(&world, 7).await;

    let link = json!({ "type": "email", "email": "new10@example.com" });
    world.post("/account/methods/link").by(&ann.access).json(&link).await.ok(200);
    for _ in 0..2 {
        world.request_code("ann@example.com").await.ok(200);
    }
    for email in ["ann@example.com", "new9@example.com"] {
        world.request_code(email).await.fails(429, "RATE_LIMIT_EXCEEDED");
    }
    in_the_end(&world, 9).await;
    assert!(!is_sent_to(&world, "new10@example.com"), "links are mails as well");
    for (outcome, count) in [("sent", 9), ("cap", 2), ("newcomers", 5)] {
        assert_eq!(outcomes(&world, "code_mails", outcome).await, count, "{outcome}");
    }
    world.clock.advance(DAY);
    world.request_code("new9@example.com").await.ok(200);
    assert!(is_sent_to(&world, "new9@example.com"));
}

/// Nearly all of a number stands in the first digits of it.
#[tokio::test]
async fn what_is_counted_of_a_number_cannot_be_read() {
    let world = World::new().await;
    request(&world, ANN).await.ok(200);
    assert_eq!(world.count("SELECT COUNT(*) FROM message_days WHERE share LIKE '%1415555%'").await, 0);
    assert_eq!(world.count("SELECT COUNT(*) FROM message_days WHERE share LIKE 'block:%'").await, 1);
}

/// A gateway that never answers, after a while.
struct Stuck {
    outbox: Outbox,
    is_stuck: Arc<AtomicBool>,
}

impl SmsSender for Stuck {
    fn send(&self, sms: Sms) -> BoxFuture<'_, Result<(), SmsError>> {
        if self.is_stuck.load(Ordering::SeqCst) { pending().boxed() } else { SmsSender::send(&self.outbox, sms) }
    }
}

/// How long a gateway takes would tell who is none.
#[tokio::test]
async fn where_newcomers_get_none_nobody_waits_for_the_gateway() {
    let is_stuck = Arc::new(AtomicBool::new(false));
    let outbox = Outbox::new(Arc::new(TestClock::default()), |_| {});
    let gateway = Stuck { outbox: outbox.clone(), is_stuck: Arc::clone(&is_stuck) };
    let world = World::with(|setup| {
        caps(setup);
        setup.config.limits.sms_per_day = 3;
        setup.config.limits.sms_countries = "US".parse().unwrap();
        setup.sms = Some(Arc::new(gateway));
    })
    .await;
    request(&world, ANN).await.ok(200);
    let code = outbox.mails()[0].text[..6].to_owned();
    verify(&world, ANN, &code).await.ok(200);
    request(&world, "+14155552672").await.ok(200);
    is_stuck.store(true, Ordering::SeqCst);
    for phone in ["+14155552673", ANN] {
        request(&world, phone).await.ok(200);
    }
    assert_eq!(world.count("SELECT sent FROM message_days WHERE channel = 'sms' AND share = 'all'").await, 3);
}
