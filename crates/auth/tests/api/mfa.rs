//! The second factor, from setting it up to disabling it.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use crate::client::{Call, parallel};
use crate::world::{DAY, MINUTE, Person, SECOND, World, person};

const ANN: &str = "ann@example.com";

/// An authenticator app.
pub(crate) struct App {
    text: String,
    secret: Vec<u8>,
}

impl App {
    fn new(text: &str) -> Self {
        let mut secret = Vec::new();
        let (mut bits, mut count) = (0u32, 0);
        for byte in text.bytes() {
            let digit = if byte.is_ascii_uppercase() { byte - b'A' } else { byte - b'2' + 26 };
            (bits, count) = (bits << 5 | u32::from(digit), count + 5);
            if count >= 8 {
                count -= 8;
                secret.push((bits >> count).to_be_bytes()[3]);
            }
        }
        Self { text: text.to_owned(), secret }
    }

    /// What it shows `steps` after now.
    pub(crate) fn code(&self, world: &World, steps: i64) -> String {
        let step = world.now().as_seconds() / 30 + steps;
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.secret), &step.to_be_bytes());
        let at = usize::from(tag.as_ref()[19] & 15);
        let number = u32::from_be_bytes(tag.as_ref()[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
        format!("{:06}", number % 1_000_000)
    }

    /// A code that it shows neither now nor a step around it.
    pub(crate) fn wrong(&self, world: &World) -> String {
        let right = [-1, 0, 1].map(|steps| self.code(world, steps));
        (0..4).map(|number| format!("{number:06}")).find(|code| !right.contains(code)).unwrap()
    }
}

fn account(world: &World, person: &Person, action: &str, code: &str) -> Call {
    world.post(&format!("/account/mfa/{action}")).by(&person.access).json(&json!({ "code": code }))
}

pub(crate) fn verify(world: &World, mfa_token: &str, code: &str) -> Call {
    world.post("/auth/mfa/verify").json(&json!({ "mfaToken": mfa_token, "code": code }))
}

async fn setup(world: &World, person: &Person) -> App {
    let reply = world.post("/account/mfa/setup").by(&person.access).await.ok(200);
    let secret = reply["secret"].as_str().unwrap();
    assert_eq!(secret.len(), 32, "20 bytes");
    let url = reply["otpauthUrl"].as_str().unwrap();
    assert!(url.starts_with("otpauth://totp/Example:ann%40example.com?") && url.contains(secret), "{url}");
    assert!(reply["qrSvg"].as_str().unwrap().contains("<svg"), "{reply}");
    App::new(secret)
}

/// Ann with a second factor, her app and her backup codes. The step in which she enabled it is over.
pub(crate) async fn ann(world: &World) -> (Person, App, Vec<String>) {
    let ann = world.ann().await;
    let app = setup(world, &ann).await;
    let reply = account(world, &ann, "enable", &app.code(world, 0)).await.ok(200);
    assert_eq!(reply["success"], true);
    let codes: Vec<String> = serde_json::from_value(reply["backupCodes"].clone()).unwrap();
    assert_eq!(codes.len(), 10);
    world.clock.advance(MINUTE);
    (ann, app, codes)
}

/// The first factor is shown; the token for the second one.
pub(crate) async fn first_factor(world: &World) -> String {
    world.request_code(ANN).await.ok(200);
    let reply = world.verify_code(ANN, &world.mailed_code(ANN)).await.ok(200);
    let token = reply["mfaToken"].as_str().unwrap().to_owned();
    assert_eq!(reply, json!({ "success": false, "mfaRequired": true, "mfaToken": token, "expiresIn": 300 }));
    token
}

async fn sessions(world: &World) -> i64 {
    world.count("SELECT COUNT(*) FROM sessions").await
}

#[tokio::test]
async fn a_sign_in_takes_both_factors() {
    let world = World::new().await;
    let (ann_before, app, _) = ann(&world).await;
    let before = sessions(&world).await;
    let waiting = first_factor(&world).await;
    assert_eq!(sessions(&world).await, before, "no session before the second factor");
    world.refresh(&waiting).await.fails(401, "INVALID_TOKEN");
    assert!(!world.is_valid(&waiting).await);

    let code = app.code(&world, 0);
    let ann = person(&verify(&world, &waiting, &code).await.ok(200));
    assert_eq!(ann.id, ann_before.id);
    assert!(world.is_valid(&ann.access).await);
    assert_eq!(sessions(&world).await, before + 1);
    assert_eq!(verify(&world, &waiting, &app.code(&world, 1)).await.fails(400, "INVALID_CODE")["attemptsRemaining"], 0);

    let again = first_factor(&world).await;
    verify(&world, &again, &code).await.fails(400, "INVALID_CODE");
    verify(&world, &again, &app.code(&world, -1)).await.fails(400, "INVALID_CODE");
    verify(&world, &again, &app.code(&world, 1)).await.ok(200);
    for kind in ["mfa.enabled", "sign_in.mfa_required"] {
        assert!(world.count_events(&ann, kind).await > 0, "{kind}");
    }
}

#[tokio::test]
async fn a_backup_code_works_once() {
    let world = World::new().await;
    let (_, _, codes) = ann(&world).await;
    let waiting = first_factor(&world).await;
    verify(&world, &waiting, &codes[0].to_uppercase().replace('-', "")).await.ok(200);
    let waiting = first_factor(&world).await;
    verify(&world, &waiting, &codes[0]).await.fails(400, "INVALID_CODE");
    verify(&world, &waiting, "aaaaa-aaaaa").await.fails(400, "INVALID_CODE");
    verify(&world, &waiting, &codes[1]).await.ok(200);
    assert_eq!(world.count("SELECT COUNT(*) FROM backup_codes").await, 8);
}

#[tokio::test]
async fn guesses_are_counted() {
    let world = World::new().await;
    let (ann, app, codes) = ann(&world).await;
    let waiting = first_factor(&world).await;
    verify(&world, &waiting, "12345").await.fails_at("code");
    for remaining in (0..5).rev() {
        let reply = verify(&world, &waiting, &app.wrong(&world)).await.fails(400, "INVALID_CODE");
        assert_eq!(reply["attemptsRemaining"], remaining);
    }
    verify(&world, &waiting, &app.code(&world, 0)).await.fails(400, "TOO_MANY_ATTEMPTS");
    verify(&world, &waiting, &codes[0]).await.fails(400, "TOO_MANY_ATTEMPTS");
    verify(&world, &"x".repeat(32), &app.code(&world, 0)).await.fails(400, "INVALID_CODE");
    verify(&world, "?", &app.code(&world, 0)).await.fails(400, "INVALID_CODE");
    let fresh = first_factor(&world).await;
    verify(&world, &fresh, &app.code(&world, 0)).await.ok(200);
    assert_eq!(world.count_events(&ann, "mfa.failed").await, 5);
}

#[tokio::test]
async fn whoever_has_the_mailbox_guesses_thirty_times_and_shuts_nobody_out() {
    // Of what an operator may set, nothing grants a guess more.
    let world = World::new().await;
    let (owner, app, codes) = ann(&world).await;
    let mut looked_at = 0;
    for number in 0..30 {
        let (waiting, wrong) = (first_factor(&world).await, app.wrong(&world));
        for guess in 0..6 {
            let reply = verify(&world, &waiting, &wrong).from(&format!("192.0.2.{}", number * 6 + guess)).await;
            let told = reply.json["error"].as_str().unwrap();
            looked_at += usize::from(reply.json["code"] == "INVALID_CODE" && !told.contains("twelve digits"));
            assert_eq!(reply.status, 400, "{told}");
        }
        world.clock.advance(DAY);
    }
    assert_eq!(looked_at, 30, "in thirty days, and in a year");

    // She has her app and her backup codes, and is shut out neither of sign-ins nor of the settings.
    let waiting = first_factor(&world).await;
    let told = verify(&world, &waiting, &app.code(&world, 0)).await.fails(400, "INVALID_CODE");
    assert!(told["error"].as_str().unwrap().contains("two codes"), "{told}");
    assert_eq!(told["attemptsRemaining"], 4);
    let swapped = format!("{}{}", app.code(&world, 0), app.code(&world, -1));
    verify(&world, &waiting, &swapped).await.fails(400, "INVALID_CODE");
    let two = format!("{} {}", app.code(&world, -1), app.code(&world, 0));
    let ann = person(&verify(&world, &waiting, &two).await.ok(200));
    assert_eq!(ann.id, owner.id);
    let waiting = first_factor(&world).await;
    verify(&world, &waiting, &two).await.fails(400, "INVALID_CODE");
    verify(&world, &waiting, &codes[0]).await.ok(200);
    account(&world, &ann, "disable", &app.code(&world, 1)).await.fails(400, "INVALID_CODE");
    world.clock.advance(MINUTE);
    let two = format!("{}{}", app.code(&world, 0), app.code(&world, 1));
    account(&world, &ann, "disable", &two).await.ok(200);
}

#[tokio::test]
async fn somebody_who_mistypes_and_gets_in_is_no_stranger() {
    let world = World::new().await;
    let (_, app, _) = ann(&world).await;
    for _ in 0..20 {
        let waiting = first_factor(&world).await;
        for _ in 0..4 {
            verify(&world, &waiting, &app.wrong(&world)).await.fails(400, "INVALID_CODE");
        }
        verify(&world, &waiting, &app.code(&world, 0)).await.ok(200);
        world.clock.advance(MINUTE);
    }
    assert_eq!(world.count("SELECT CAST(SUM(wrong) AS BIGINT) FROM totp_guesses").await, 0);
}

#[tokio::test]
async fn one_sessions_guesses_are_limited_and_are_no_other_sessions() {
    let world = World::new().await;
    let (thief, app, codes) = ann(&world).await;
    let waiting = first_factor(&world).await;
    let own = person(&verify(&world, &waiting, &app.code(&world, 0)).await.ok(200));
    // One was shown to enable it.
    for _ in 0..4 {
        account(&world, &thief, "disable", &app.wrong(&world)).await.fails(400, "INVALID_CODE");
    }
    account(&world, &thief, "disable", &codes[0]).await.fails(429, "RATE_LIMIT_EXCEEDED");
    account(&world, &own, "disable", &codes[0]).await.ok(200);
}

#[tokio::test]
async fn a_sign_in_does_not_wait_for_ever() {
    let world = World::new().await;
    let (_, app, _) = ann(&world).await;
    let waiting = first_factor(&world).await;
    world.clock.advance(5 * MINUTE - SECOND);
    verify(&world, &waiting, &app.wrong(&world)).await.fails(400, "INVALID_CODE");
    world.clock.advance(SECOND);
    verify(&world, &waiting, &app.code(&world, 0)).await.fails(400, "CODE_EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_parallel_proofs_one_gets_a_session() {
    for round in 0..5 {
        let world = World::new().await;
        let (_, app, codes) = ann(&world).await;
        let before = sessions(&world).await;
        let mut waiting = vec![first_factor(&world).await];
        // Many proofs of one sign-in, or one proof of many.
        if round > 0 {
            for _ in 1..20 {
                waiting.push(first_factor(&world).await);
            }
        }
        let code = if round % 2 == 0 { app.code(&world, 0) } else { codes[0].clone() };
        let replies = parallel(20, |number| {
            let call = verify(&world, &waiting[number % waiting.len()], &code);
            async move { call.await }
        })
        .await;
        assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1, "{replies:?}");
        assert!(replies.iter().all(|reply| matches!(reply.status, 200 | 400)), "{replies:?}");
        assert_eq!(sessions(&world).await, before + 1);
    }
}

#[tokio::test]
async fn enabling_takes_a_right_code_and_happens_once() {
    let world = World::new().await;
    let ann = world.ann().await;
    account(&world, &ann, "enable", "123456").await.fails(409, "CONFLICT");
    account(&world, &ann, "disable", "123456").await.fails(409, "CONFLICT");
    let first = setup(&world, &ann).await;
    let app = setup(&world, &ann).await;
    assert_ne!(first.secret, app.secret);
    account(&world, &ann, "enable", &app.wrong(&world)).await.fails(400, "INVALID_CODE");
    account(&world, &ann, "enable", "aaaaa-aaaaa").await.fails_at("code");
    let signed_in: Value = world.get("/auth/me").by(&world.ann().await.access).await.ok(200);
    assert_eq!(signed_in["user"]["id"], ann.id, "still one factor");
    account(&world, &ann, "enable", &app.code(&world, 0)).await.ok(200);
    account(&world, &ann, "enable", &app.code(&world, 1)).await.fails(409, "CONFLICT");
    world.post("/account/mfa/setup").by(&ann.access).await.fails(409, "CONFLICT");
    let waiting = first_factor(&world).await;
    verify(&world, &waiting, &app.code(&world, 0)).await.fails(400, "INVALID_CODE");
}

#[tokio::test]
async fn disabling_takes_a_code_of_either_kind() {
    let world = World::new().await;
    let (person, app, _) = ann(&world).await;
    account(&world, &person, "disable", &app.wrong(&world)).await.fails(400, "INVALID_CODE");
    let waiting = first_factor(&world).await;
    let reply = account(&world, &person, "disable", &app.code(&world, 0)).await.ok(200);
    assert_eq!(reply["success"], true);
    verify(&world, &waiting, &app.code(&world, 1)).await.fails(400, "INVALID_CODE");
    assert_eq!(world.count("SELECT COUNT(*) FROM backup_codes").await, 0);
    assert_eq!(world.count_events(&person, "mfa.disabled").await, 1);
    assert_eq!(world.count_events(&person, "mfa.failed").await, 1, "a waiting sign-in that is gone is nobody's");

    let (person, _, codes) = ann(&world).await;
    account(&world, &person, "disable", &codes[9]).await.ok(200);
    world.ann().await;
}

#[tokio::test]
async fn no_token_reaches_the_second_factor() {
    let world = World::new().await;
    let (person, app, _) = ann(&world).await;
    let token = Person { access: world.token(&person).await.secret, ..person };
    world.post("/account/mfa/setup").by(&token.access).await.fails(403, "FORBIDDEN");
    for action in ["enable", "disable"] {
        account(&world, &token, action, &app.code(&world, 0)).await.fails(403, "FORBIDDEN");
    }
    world.post("/account/mfa/setup").await.fails(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn no_secret_is_in_the_database() {
    let world = World::new().await;
    let (_, app, codes) = ann(&world).await;
    let waiting = first_factor(&world).await;
    let kept = world.kept_bytes();
    let is_kept = |bytes: &[u8]| kept.windows(bytes.len()).any(|window| window == bytes);
    assert!(is_kept(ANN.as_bytes()), "the search finds what is there");
    assert!(!is_kept(&app.secret) && !is_kept(app.text.as_bytes()) && !is_kept(waiting.as_bytes()));
    for code in codes {
        assert!(!is_kept(code.as_bytes()) && !is_kept(code.replace('-', "").as_bytes()));
    }
}
