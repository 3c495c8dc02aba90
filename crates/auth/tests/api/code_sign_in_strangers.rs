//! What strangers can do to somebody's mailbox or phone: keep nobody out, and guess nothing.

use auth::Limits;
use serde_json::{Value, json};

use crate::client::parallel;
use crate::world::{DAY, MINUTE, SECOND, World, person};

const ANN: &str = "ann@example.com";

fn other_than(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000)
}

/// With the limits that an installation has unless it says otherwise, but for those by address: the stranger has many.
async fn by_default() -> World {
    World::with(|setup| {
        setup.config.limits = Limits { standard: domain::Limit::per_minute(1_000_000), ..Limits::default() };
    })
    .await
}

/// An address of the stranger's; no network of theirs is any two of these.
fn somewhere(number: usize) -> String {
    format!("{}.{}.7.1", 20 + number / 200, number % 200)
}

#[tokio::test]
async fn twenty_five_requests_and_three_guesses_keep_nobody_out() {
    let world = by_default().await;
    for number in 0..25 {
        world.request_code(ANN).from(&somewhere(number)).await.ok(200);
    }
    let mails = world.outbox.mails().len();
    assert!(mails <= 6, "no flood: {mails}");
    for number in 0..3 {
        let wrong = other_than(&world.mailed_code(ANN));
        world.verify_code(ANN, &wrong).from(&somewhere(100 + number)).await.fails(400, "INVALID_CODE");
    }
    // She asks, gets no mail of her own, and the code of the last one is good; so is its link.
    let flow = world.begin_flow(ANN, "198.51.100.9").await;
    assert_eq!(world.outbox.mails().len(), mails);
    let ann = person(&world.verify_in(&flow, ANN, &world.mailed_code(ANN)).from("198.51.100.9").await.ok(200));
    world.get("/auth/me").by(&ann.access).await.ok(200);
}

/// Whenever she comes, and however long the stranger goes on.
#[tokio::test]
async fn a_stranger_who_never_stops_keeps_nobody_out() {
    let world = by_default().await;
    let mut asked = 0;
    for minute in 0..60u32 {
        // Two requests a minute are more than the mailbox's quota.
        for _ in 0..2 {
            asked += 1;
            let flow = world.begin_flow(ANN, &somewhere(asked)).await;
            for _ in 0..3 {
                let guess = world.verify_in(&flow, ANN, "000000").from(&somewhere(1_000 + asked)).await;
                assert_ne!(guess.status, 200);
            }
            world.verify_code(ANN, "000000").from(&somewhere(2_000 + asked)).await;
        }
        if minute % 7 == 3 {
            let from = format!("198.51.100.{minute}");
            let flow = world.begin_flow(ANN, &from).await;
            let mail = world.outbox.mails().remove(0);
            let code = mail.subject.split(' ').next().unwrap().to_owned();
            person(&world.verify_in(&flow, ANN, &code).from(&from).await.ok(200));
        }
        world.clock.advance(MINUTE);
    }
    // Five in fifteen minutes, one in five minutes when none else would do, one each time she has used hers, and one when
    // a code was guessed to death.
    let mails = world.outbox.mails().len();
    assert!(mails <= 5 * 5 + 12 + 9 + 1, "{mails}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_nine_hundred_guesses_from_many_networks_twenty_are_compared() {
    let world = World::new().await;
    let (mut looked_at, mut compared) = (0, 0);
    for _ in 0..3 {
        world.request_code(ANN).await.ok(200);
        let replies = parallel(300, |number| {
            let from = format!("2001:db8:0:{:x}::1", number % 240);
            world.verify_code(ANN, &format!("{number:06}")).from(&from).into_future()
        })
        .await;
        looked_at += replies.iter().filter(|reply| reply.json["code"] == "INVALID_CODE").count();
        compared = world.count("SELECT CAST(COALESCE(SUM(counted), 0) AS BIGINT) FROM sign_in_flows").await;
        world.clock.advance(SECOND);
    }
    assert_eq!((looked_at, compared), (9, 9), "who names no flow has three at each code");

    // With a flow for every three, and from everywhere.
    let mut long = false;
    for number in 0..300 {
        let from = format!("2001:db8:0:{:x}::1", number % 240);
        let flow = world.begin_flow(ANN, &from).await;
        for guess in 0..3 {
            let reply = world.verify_in(&flow, ANN, &format!("{:06}", number * 3 + guess)).from(&from).await;
            reply.fails(400, "INVALID_CODE");
        }
        long |= world.outbox.mails()[0].subject.contains('-');
    }
    assert!(long, "the mails' codes are of ten characters now");
    let compared = world.count("SELECT CAST(SUM(counted) AS BIGINT) FROM sign_in_flows").await;
    assert!(compared <= 80, "{compared}");

    let flow = world.begin_flow(ANN, "198.51.100.9").await;
    let code = world.mailed_long_code(ANN);
    person(&world.verify_in(&flow, ANN, &code.to_lowercase()).await.ok(200));
}

/// One mailbox, for a year, by somebody who knows the rules and has as many addresses as it takes.
#[tokio::test]
async fn a_year_of_guesses_is_eighty() {
    let world = World::new().await;
    for _ in 0..365 {
        let flows = [world.begin_flow(ANN, "192.0.2.1").await, world.begin_flow(ANN, "192.0.2.2").await];
        for flow in flows {
            for _ in 0..3 {
                world.verify_in(&flow, ANN, "000000").await.fails(400, "INVALID_CODE");
            }
        }
        world.clock.advance(DAY);
    }
    let compared = world.count("SELECT CAST(SUM(counted) AS BIGINT) FROM sign_in_flows").await;
    assert!((60..=80).contains(&compared), "{compared}");
    assert!(world.outbox.mails()[0].subject.contains('-'), "{}", world.outbox.mails()[0].subject);
}

#[tokio::test]
async fn a_flow_is_of_its_asker_and_its_mailbox() {
    let world = World::new().await;
    let anns = world.begin_flow(ANN, "192.0.2.1").await;
    let code = world.mailed_code(ANN);
    let bobs = world.begin_flow("bob@example.com", "192.0.2.2").await;
    for flow in [&bobs, &"x".repeat(32), "", "?"] {
        world.verify_in(flow, ANN, &code).await.fails(400, "TOO_MANY_ATTEMPTS");
    }
    let body = json!({ "email": ANN, "code": code, "flowId": 7 });
    world.post("/auth/email/verify").json(&body).await.fails_at("flowId");
    // Older clients say nothing, or nothing in so many words.
    let body = json!({ "email": ANN, "code": other_than(&code), "flowId": null });
    assert_eq!(world.post("/auth/email/verify").json(&body).await.fails(400, "INVALID_CODE")["attemptsRemaining"], 2);
    person(&world.verify_in(&anns, ANN, &code).await.ok(200));
    world.verify_in(&anns, ANN, &code).await.fails(400, "TOO_MANY_ATTEMPTS");
    assert_eq!(world.count("SELECT COUNT(*) FROM users").await, 1);
    let kept = world.kept_bytes();
    for flow in [&anns, &bobs] {
        assert!(!kept.windows(flow.len()).any(|bytes| bytes == flow.as_bytes()), "only digests are kept");
    }
}

#[tokio::test]
async fn whether_a_code_is_pending_is_told_to_nobody() {
    let world = World::new().await;
    world.ann().await;
    let told = async |email: &str| {
        let mut told: Vec<Value> = Vec::new();
        for _ in 0..4 {
            let mut reply = world.verify_code(email, "000000").await.json;
            reply["requestId"] = Value::Null;
            told.push(reply);
        }
        told
    };
    world.request_code("pending@example.com").await.ok(200);
    let (known, unknown, pending) = (told(ANN).await, told("no@example.com").await, told("pending@example.com").await);
    assert_eq!(known, unknown);
    assert_eq!(known, pending);
    let remaining: Vec<_> = known.iter().map(|reply| reply["attemptsRemaining"].as_u64()).collect();
    assert_eq!(remaining, [Some(2), Some(1), Some(0), None]);
    world.request_code("old@example.com").await.ok(200);
    world.clock.advance(11 * MINUTE);
    assert_eq!(told("old@example.com").await, told("other@example.com").await, "nor whether there was one");
}

#[tokio::test]
async fn guesses_everywhere_make_all_codes_longer_until_it_is_calm() {
    let world = World::new().await;
    for number in 0..70 {
        let email = format!("person{number}@example.com");
        world.request_code(&email).await.ok(200);
        for _ in 0..3 {
            world.verify_code(&email, "000000").await.fails(400, "INVALID_CODE");
        }
    }
    world.auth.weigh_guesses().await.unwrap();
    assert_eq!(world.gauge("guessing_breaker_open").await, 1);
    let flow = world.begin_flow(ANN, "192.0.2.1").await;
    let code = world.mailed_long_code(ANN);
    person(&world.verify_in(&flow, ANN, &code).await.ok(200));

    // Another instance knows as well.
    let other = world.beside(|_| {}).await;
    other.auth.weigh_guesses().await.unwrap();
    assert_eq!(other.gauge("guessing_breaker_open").await, 1);

    world.clock.advance(11 * MINUTE);
    world.auth.weigh_guesses().await.unwrap();
    assert_eq!(world.gauge("guessing_breaker_open").await, 0);
    world.request_code(ANN).await.ok(200);
    assert_eq!(world.mailed_code(ANN).len(), 6);
}

#[tokio::test]
async fn an_sms_is_guessed_at_as_little_as_a_mail() {
    let world = World::with(|setup| setup.config.limits.sms_per_block = 1_000).await;
    let phone = "+14155552671";
    let request = || world.post("/auth/sms/request").json(&json!({ "phone": phone }));
    for _ in 0..7 {
        let flow = request().await.ok(200)["flowId"].clone();
        for _ in 0..3 {
            let body = json!({ "phone": phone, "code": "000000", "flowId": flow });
            world.post("/auth/sms/verify").json(&body).await.fails(400, "INVALID_CODE");
        }
    }
    let compared = async || world.count("SELECT CAST(SUM(counted) AS BIGINT) FROM sign_in_flows").await;
    assert_eq!(compared().await, 21);
    for _ in 0..40 {
        let flow = request().await.ok(200)["flowId"].clone();
        for _ in 0..3 {
            let body = json!({ "phone": phone, "code": "000000", "flowId": flow });
            world.post("/auth/sms/verify").json(&body).await.fails(400, "INVALID_CODE");
        }
    }
    assert!(compared().await <= 80);
    let flow = request().await.ok(200)["flowId"].clone();
    let sms = world.outbox.mails().remove(0);
    assert!(sms.text.chars().count() <= 160, "{}", sms.text);
    let code = sms.text.split(' ').next().unwrap();
    assert_eq!(code.len(), 11, "{code}");
    let body = json!({ "phone": phone, "code": code, "flowId": flow });
    person(&world.post("/auth/sms/verify").json(&body).await.ok(200));
}
