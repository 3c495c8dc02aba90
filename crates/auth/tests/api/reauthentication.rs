//! Proving again, within a session, who one is: by each way, for that session alone.

use serde_json::{Value, json};
use testkit::sign_with_wallet;

use crate::client::{Call, parallel};
use crate::mfa;
use crate::wallets;
use crate::world::{DAY, MINUTE, Person, SECOND, World};

const ANN: &str = "ann@example.com";

pub(crate) fn request(world: &World, person: &Person, body: &Value) -> Call {
    world.post("/account/reauthenticate").by(&person.access).json(body)
}

pub(crate) fn verify(world: &World, person: &Person, body: &Value) -> Call {
    world.post("/account/reauthenticate/verify").by(&person.access).json(body)
}

/// The code of the last mail to Ann.
pub(crate) fn mailed_code(world: &World) -> String {
    world.mailed_code(ANN)
}

fn by_mail(code: &str) -> Value {
    json!({ "method": "email", "code": code })
}

/// Whether the session may change what the account rests on.
async fn is_recent(world: &World, person: &Person) -> bool {
    let reply = world.post("/account/methods/nobodys/set-primary").by(&person.access).await;
    if reply.status == 404 {
        return true;
    }
    reply.fails(401, "REAUTHENTICATION_REQUIRED");
    false
}

/// Ann, whose proof is too old.
async fn aged() -> (World, Person) {
    let world = World::new().await;
    let ann = world.ann().await;
    world.later(10 * MINUTE).await;
    assert!(!is_recent(&world, &ann).await);
    (world, ann)
}

#[tokio::test]
async fn a_mailed_code_renews_the_session_in_place() {
    let (world, ann) = aged().await;
    let sent = request(&world, &ann, &json!({ "method": "email" })).await.ok(200);
    let flow = sent["flowId"].as_str().unwrap();
    assert_eq!((sent["expiresIn"].clone(), flow.len()), (json!(600), 32));
    let mail = world.outbox.mails().remove(0);
    let code = mailed_code(&world);
    assert_eq!((mail.to.as_str(), mail.subject), (ANN, format!("{code} confirms at Example that it is you")));
    assert!(mail.text.contains("It was asked for from 198.51.100.1."), "{}", mail.text);
    assert!(mail.html.contains(&code) && mail.html.contains("prefers-color-scheme: dark"));

    let right = json!({ "method": "email", "code": code, "flowId": flow });
    let renewed = verify(&world, &ann, &right.clone()).await.ok(200);
    let until = world.now().plus(10 * MINUTE).to_string();
    assert_eq!(renewed, json!({ "success": true, "reauthenticatedUntil": until }));
    assert!(is_recent(&world, &ann).await, "the same access token");
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, 1);
    assert_eq!(verify(&world, &ann, &right).await.fails(400, "INVALID_CODE")["attemptsRemaining"], 0);
    let events = world.events(&ann).await;
    let event = events.iter().find(|event| event["type"] == "session.reauthenticated").unwrap();
    assert_eq!(event["metadata"], json!({ "method": "email" }));
    world.later(10 * MINUTE).await;
    let renewed =
        Person { access: world.refresh(&ann.refresh).await.ok(200)["accessToken"].as_str().unwrap().to_owned(), ..ann };
    assert!(!is_recent(&world, &renewed).await);
}

#[tokio::test]
async fn a_code_is_worthless_for_everything_else() {
    let (world, ann) = aged().await;
    // Made here, it signs nobody in and links nothing, nor renews another session, Ann's own or Bob's.
    request(&world, &ann, &json!({ "method": "email" })).await.ok(200);
    let code = mailed_code(&world);
    world.verify_code(ANN, &code).await.fails(400, "INVALID_CODE");
    let other = world.ann().await;
    let bob = world.bob().await;
    let link = json!({ "type": "email", "email": ANN, "code": code });
    world.post("/account/methods/link/verify").by(&bob.access).json(&link).await.fails(400, "INVALID_CODE");
    for somebody in [&other, &bob] {
        verify(&world, somebody, &by_mail(&code)).await.fails(400, "INVALID_CODE");
    }
    assert!(!is_recent(&world, &ann).await);

    // Made to sign in or to link, it renews nothing.
    world.request_code(ANN).await.ok(200);
    let to_sign_in = mailed_code(&world);
    let link = json!({ "type": "email", "email": "second@example.com" });
    world.post("/account/methods/link").by(&other.access).json(&link).await.ok(200);
    let to_link = world.mailed_code("second@example.com");
    for wrong in [to_sign_in, to_link] {
        verify(&world, &ann, &by_mail(&wrong)).await.fails(400, "INVALID_CODE");
    }
    assert!(!is_recent(&world, &ann).await);
    assert_eq!(world.count("SELECT COUNT(*) FROM auth_methods").await, 2);
    verify(&world, &ann, &by_mail(&code)).await.ok(200);
}

#[tokio::test]
async fn a_code_goes_to_ones_own_ways_in_and_to_nobody_else() {
    let (world, ann) = aged().await;
    let sent = world.outbox.mails().len();
    let bob = world.bob().await;
    for (body, status, code) in [
        (json!({ "method": "email", "email": "bob@example.com" }), 404, "NOT_FOUND"),
        (json!({ "method": "email", "email": "thief@example.com" }), 404, "NOT_FOUND"),
        (json!({ "method": "email", "email": "nobody" }), 400, "VALIDATION_ERROR"),
        (json!({ "method": "sms" }), 404, "NOT_FOUND"),
        (json!({ "method": "wallet", "address": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed" }), 404, "NOT_FOUND"),
        (json!({ "method": "totp" }), 409, "CONFLICT"),
        (json!({ "method": "pigeon" }), 400, "VALIDATION_ERROR"),
    ] {
        request(&world, &ann, &body).await.fails(status, code);
    }
    verify(&world, &ann, &json!({ "method": "totp", "code": "000000" })).await.fails(409, "CONFLICT");
    assert_eq!(world.outbox.mails().len(), sent + 1, "Bob's sign-in");
    request(&world, &ann, &json!({ "method": "email", "email": " ANN@example.com" })).await.ok(200);
    verify(&world, &ann, &by_mail(&mailed_code(&world))).await.ok(200);
    // No token and no service gets there.
    let token = world.token(&bob).await;
    let service = world.service_jwt().user(&bob.id).sign();
    for bearer in [&token.secret, &service] {
        let somebody = Person { access: bearer.clone(), ..bob.clone() };
        request(&world, &somebody, &json!({ "method": "email" })).await.fails(403, "FORBIDDEN");
        verify(&world, &somebody, &by_mail("000000")).await.fails(403, "FORBIDDEN");
    }
    world.post("/account/reauthenticate").json(&json!({ "method": "email" })).await.fails(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn an_sms_does_as_well() {
    let world = World::new().await;
    let phone = "+14155552671";
    world.post("/auth/sms/request").json(&json!({ "phone": phone })).await.ok(200);
    let code = || world.outbox.mails()[0].text[..6].to_owned();
    let signed_in = world.post("/auth/sms/verify").json(&json!({ "phone": phone, "code": code() })).await.ok(200);
    let ann = crate::world::person(&signed_in);
    world.later(10 * MINUTE).await;
    request(&world, &ann, &json!({ "method": "email" })).await.fails(404, "NOT_FOUND");
    request(&world, &ann, &json!({ "method": "sms" })).await.ok(200);
    verify(&world, &ann, &json!({ "method": "email", "code": code() })).await.fails(400, "INVALID_CODE");
    verify(&world, &ann, &json!({ "method": "sms", "code": code() })).await.ok(200);
    assert!(is_recent(&world, &ann).await);
}

#[tokio::test]
async fn a_wallet_signs_for_one_session() {
    let world = World::new().await;
    let key = [7; 32];
    let address = sign_with_wallet("ethers", key, "").await.address;
    let sign = async |message: &str| {
        let signature = sign_with_wallet("ethers", key, message).await.signature;
        json!({ "method": "wallet", "type": "wallet", "address": address, "message": message, "signature": signature })
    };
    let sign_in = async || {
        let signed = sign(&wallets::challenge(&world, &address).await).await;
        crate::world::person(&world.post("/auth/wallet/verify").json(&signed).await.ok(200))
    };
    let ann = sign_in().await;
    world.later(10 * MINUTE).await;
    let other = sign_in().await;
    let asked = request(&world, &ann, &json!({ "method": "wallet", "address": address })).await.ok(200);
    assert_eq!(asked["expiresIn"], 900);
    let message = asked["message"].as_str().unwrap();
    assert!(message.contains("Confirm a change of your account with this wallet."), "{message}");
    let signed = sign(message).await;
    world.post("/auth/wallet/verify").json(&signed).await.fails(400, "INVALID_SIGNATURE");
    let link = world.post("/account/methods/link/verify").by(&other.access).json(&signed).await;
    link.fails(400, "INVALID_SIGNATURE");
    verify(&world, &other, &signed).await.fails(400, "INVALID_SIGNATURE");
    assert!(!is_recent(&world, &ann).await);
    verify(&world, &ann, &signed).await.ok(200);
    assert!(is_recent(&world, &ann).await);
    verify(&world, &ann, &signed).await.fails(400, "INVALID_SIGNATURE");
    // Nor does what was signed to sign in.
    let to_sign_in = sign(&wallets::challenge(&world, &address).await).await;
    verify(&world, &ann, &to_sign_in).await.fails(400, "INVALID_SIGNATURE");
}

/// A stolen session is worth twenty guesses at codes, ever, whatever its thief does; and its owner is kept out of nothing.
#[tokio::test]
async fn a_stolen_session_is_worth_twenty_guesses() {
    let (world, stolen) = aged().await;
    let wrong = |code: &str| if code == "000000" { "000001" } else { "000000" };
    let mut compared = 0;
    for flow in 0..4 {
        world.later(SECOND).await;
        request(&world, &stolen, &json!({ "method": "email" })).await.ok(200);
        let guess = wrong(&mailed_code(&world)).to_owned();
        for left in (0..5).rev() {
            let reply = verify(&world, &stolen, &by_mail(&guess)).await.fails(400, "INVALID_CODE");
            compared += 1;
            assert_eq!(reply["attemptsRemaining"], left, "flow {flow}");
        }
        verify(&world, &stolen, &by_mail(&mailed_code(&world))).await.fails(400, "TOO_MANY_ATTEMPTS");
    }
    assert_eq!(compared, 20);
    for _ in 0..3 {
        world.later(SECOND).await;
        request(&world, &stolen, &json!({ "method": "email" })).await.ok(200);
        verify(&world, &stolen, &by_mail(&mailed_code(&world))).await.fails(400, "TOO_MANY_ATTEMPTS");
    }
    assert_eq!(world.count_events(&stolen, "session.reauthentication_failed").await, 20);
    // A day does not help, nor do new tokens.
    world.later(DAY).await;
    let renewed = world.refresh(&stolen.refresh).await.ok(200);
    let stolen = Person { access: renewed["accessToken"].as_str().unwrap().to_owned(), ..stolen };
    request(&world, &stolen, &json!({ "method": "email" })).await.ok(200);
    verify(&world, &stolen, &by_mail(&mailed_code(&world))).await.fails(400, "TOO_MANY_ATTEMPTS");
    // The owner signs in, which is a proof, and has guesses of their own.
    let owner = world.ann().await;
    assert!(is_recent(&world, &owner).await);
    world.later(10 * MINUTE).await;
    request(&world, &owner, &json!({ "method": "email" })).await.ok(200);
    verify(&world, &owner, &by_mail(&mailed_code(&world))).await.ok(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn guesses_at_once_are_no_more() {
    let world = World::new().await;
    let (ann, app, _) = mfa::ann(&world).await;
    world.later(10 * MINUTE).await;
    let wrong = app.wrong(&world);
    let replies = parallel(60, |_| {
        let call = verify(&world, &ann, &json!({ "method": "totp", "code": wrong }));
        async move { call.await }
    })
    .await;
    let of = |code: &str| replies.iter().filter(|reply| reply.json["code"] == code).count();
    assert_eq!((of("INVALID_CODE"), of("TOO_MANY_ATTEMPTS")), (20, 40));
    let right = json!({ "method": "totp", "code": app.code(&world, 0) });
    verify(&world, &ann, &right).await.fails(400, "TOO_MANY_ATTEMPTS");
    let waiting = mfa::first_factor(&world).await;
    mfa::verify(&world, &waiting, &app.code(&world, 0)).await.ok(200);
}

/// Mails as well: they go to the owner's mailbox.
#[tokio::test]
async fn a_session_has_twenty_codes_sent_a_day() {
    let (world, stolen) = aged().await;
    for _ in 0..20 {
        request(&world, &stolen, &json!({ "method": "email" })).await.ok(200);
    }
    let sent = world.outbox.mails().len();
    request(&world, &stolen, &json!({ "method": "email" })).await.fails(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(world.outbox.mails().len(), sent);
    // Neither the owner's sign-in nor their next session is any the worse for it.
    let owner = world.ann().await;
    request(&world, &owner, &json!({ "method": "email" })).await.ok(200);
}

#[tokio::test]
async fn flows_do_not_notice_each_other() {
    let (world, ann) = aged().await;
    let first = request(&world, &ann, &json!({ "method": "email" })).await.ok(200);
    let code = mailed_code(&world);
    let second = request(&world, &ann, &json!({ "method": "email" })).await.ok(200);
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let typed = |flow: &Value, code: &str| json!({ "method": "email", "code": code, "flowId": flow["flowId"] });
    for _ in 0..5 {
        verify(&world, &ann, &typed(&second, wrong)).await.fails(400, "INVALID_CODE");
    }
    verify(&world, &ann, &typed(&second, wrong)).await.fails(400, "TOO_MANY_ATTEMPTS");
    verify(&world, &ann, &json!({ "method": "email", "code": code, "flowId": "?" })).await.fails(400, "INVALID_CODE");
    verify(&world, &ann, &typed(&first, &code)).await.ok(200);
}

#[tokio::test]
async fn a_code_is_good_for_ten_minutes() {
    let (world, ann) = aged().await;
    request(&world, &ann, &json!({ "method": "email" })).await.ok(200);
    let code = mailed_code(&world);
    world.later(10 * MINUTE).await;
    let renewed = world.refresh(&ann.refresh).await.ok(200);
    let ann = Person { access: renewed["accessToken"].as_str().unwrap().to_owned(), ..ann };
    verify(&world, &ann, &by_mail(&code)).await.fails(400, "CODE_EXPIRED");
    world.post("/auth/logout").by(&ann.access).await.ok(200);
    verify(&world, &ann, &by_mail(&code)).await.fails(401, "SESSION_REVOKED");
}

#[tokio::test]
async fn a_backup_code_is_a_proof_once() {
    let world = World::new().await;
    let (ann, _, codes) = mfa::ann(&world).await;
    world.later(10 * MINUTE).await;
    assert_eq!(request(&world, &ann, &json!({ "method": "totp" })).await.ok(200)["success"], true);
    request(&world, &ann, &json!({ "method": "email" })).await.fails(409, "CONFLICT");
    verify(&world, &ann, &by_mail("000000")).await.fails(409, "CONFLICT");
    let shown = || verify(&world, &ann, &json!({ "method": "totp", "code": codes[0] }));
    shown().await.ok(200);
    assert!(is_recent(&world, &ann).await);
    shown().await.fails(400, "INVALID_CODE");
    verify(&world, &ann, &json!({ "method": "totp", "code": "?" })).await.fails_at("code");
}

#[tokio::test]
async fn no_code_and_no_flow_is_kept_readable() {
    let (world, ann) = aged().await;
    let sent = request(&world, &ann, &json!({ "method": "email" })).await.ok(200);
    let kept = world.kept_bytes();
    let is_kept = |text: &str| kept.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(is_kept(ANN), "the search finds what is there");
    assert!(!is_kept(sent["flowId"].as_str().unwrap()));
    let code = mailed_code(&world);
    assert!(!is_kept(&format!("\"{code}\"")) && !is_kept(&format!("'{code}'")));
}
