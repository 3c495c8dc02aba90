//! The way back from a second factor that is lost, by its owner or by the service itself.

use serde_json::{Value, json};

use crate::mfa;
use crate::reauthentication::{request, verify};
use crate::world::{MINUTE, Person, Setup, World, person};

/// Everything that the service's own secrets were is gone.
fn other_secrets(setup: &mut Setup) {
    setup.config.secrets.service_jwt = vec!["another secret of both services, in tests".into()];
}

fn other_refresh_secret(setup: &mut Setup) {
    setup.config.secrets.refresh_jwt = "another secret of refresh tokens, in tests".into();
}

async fn status(world: &World, person: &Person) -> Value {
    world.get("/account/mfa").by(&person.access).await.ok(200)
}

#[tokio::test]
async fn one_sees_how_ones_second_factor_is() {
    let world = World::new().await;
    let bob = world.bob().await;
    let none = json!({ "enabled": false, "enabledAt": null, "backupCodesLeft": 0 });
    assert_eq!(status(&world, &bob).await, none);
    world.post("/account/mfa/setup").by(&bob.access).await.ok(200);
    assert_eq!(status(&world, &bob).await, none, "one that waits to be enabled is none yet");

    let since = world.now().to_string();
    let (ann, _, codes) = mfa::ann(&world).await;
    assert_eq!(status(&world, &ann).await, json!({ "enabled": true, "enabledAt": since, "backupCodesLeft": 10 }));
    let waiting = mfa::first_factor(&world).await;
    mfa::verify(&world, &waiting, &codes[0]).await.ok(200);
    assert_eq!(status(&world, &ann).await["backupCodesLeft"], 9);
    let token = Person { access: world.token(&ann).await.secret, ..ann };
    world.get("/account/mfa").by(&token.access).await.fails(403, "FORBIDDEN");
    world.get("/account/mfa").await.fails(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn new_backup_codes_end_the_old_ones_at_once() {
    let world = World::new().await;
    let (ann, app, old) = mfa::ann(&world).await;
    let renew = |code: &str| world.post("/account/mfa/backup-codes").by(&ann.access).json(&json!({ "code": code }));
    renew("?").await.fails_at("code");
    renew(&app.wrong(&world)).await.fails(400, "INVALID_CODE");
    assert_eq!(status(&world, &ann).await["backupCodesLeft"], 10);
    let reply = renew(&app.code(&world, 0)).await.ok(200);
    let new: Vec<String> = serde_json::from_value(reply["backupCodes"].clone()).unwrap();
    assert_eq!((reply["success"].clone(), new.len()), (json!(true), 10));
    assert!(new.iter().all(|code| !old.contains(code)));
    renew(&app.code(&world, 0)).await.fails(400, "INVALID_CODE");
    let waiting = mfa::first_factor(&world).await;
    mfa::verify(&world, &waiting, &old[0]).await.fails(400, "INVALID_CODE");
    mfa::verify(&world, &waiting, &new[0]).await.ok(200);
    assert_eq!(world.count_events(&ann, "mfa.backup_codes_replaced").await, 1);
    // One of them does as well for that.
    renew(&new[1]).await.ok(200);
    assert_eq!(status(&world, &ann).await["backupCodesLeft"], 10);

    let bob = world.bob().await;
    let none = world.post("/account/mfa/backup-codes").by(&bob.access).json(&json!({ "code": "000000" })).await;
    none.fails(409, "CONFLICT");
}

/// `JWT_SECRET` was replaced, and nobody has the old one: nobody passes, nothing is a failure of ours, and the answer says
/// what helps.
#[tokio::test]
async fn a_second_factor_that_cannot_be_opened_lets_nobody_in_and_says_so() {
    let world = World::new().await;
    let (ann, app, codes) = mfa::ann(&world).await;
    let world = world.restart(other_secrets).await;
    let sessions = world.count("SELECT COUNT(*) FROM sessions").await;
    let waiting = mfa::first_factor(&world).await;
    for code in [app.code(&world, 0), codes[0].clone()] {
        let reply = mfa::verify(&world, &waiting, &code).await;
        assert_eq!(reply.header("retry-after"), "", "no retry helps");
        let sentence = reply.fails(503, "UNAVAILABLE")["error"].clone();
        assert!(sentence.as_str().unwrap().contains("ask whoever runs this service to reset it"), "{sentence}");
    }
    let access = person(&world.refresh(&ann.refresh).await.ok(200)).access;
    let ann = Person { access, ..ann };
    for action in ["disable", "backup-codes"] {
        let call = world.post(&format!("/account/mfa/{action}")).by(&ann.access);
        call.json(&json!({ "code": codes[1] })).await.fails(503, "UNAVAILABLE");
    }
    verify(&world, &ann, &json!({ "method": "totp", "code": codes[1] })).await.fails(503, "UNAVAILABLE");
    request(&world, &ann, &json!({ "method": "email" })).await.fails(409, "CONFLICT");
    assert_eq!(world.count("SELECT COUNT(*) FROM sessions").await, sessions);
    assert_eq!(world.count("SELECT COUNT(*) FROM backup_codes").await, 10, "none was spent");

    // The operator resets it, and everything goes on. Sessions stay.
    let user_id = ann.id.parse().unwrap();
    let operator = auth::Operator::new(
        world.store.clone(),
        std::sync::Arc::new(world.clock.clone()),
        testkit::seeded_chance(5),
        Some("root".to_owned()),
    );
    assert!(world.store.reset_factor(&user_id, &operator.event()).await.unwrap());
    let log = world.get("/audit?type=mfa.reset").by(&ann.access).await.ok(200);
    let events = log["events"].as_array().unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["actor"]["service"], &events[0]["metadata"]["operator"]), (&json!("afd"), &json!("root")));
    world.get("/auth/me").by(&ann.access).await.ok(200);
    assert_eq!(world.ann().await.id, ann.id, "with one factor");
    mfa::verify(&world, &waiting, &codes[1]).await.fails(400, "INVALID_CODE");
}

/// What was begun before and is under a secret that is gone ends, with an answer that says so; none is a failure of ours.
#[tokio::test]
async fn nothing_that_waits_fails_when_the_secrets_are_replaced() {
    for change in [other_secrets as fn(&mut Setup), other_refresh_secret] {
        let world = World::new().await;
        let (ann, app, codes) = mfa::ann(&world).await;
        let bob = world.bob().await;
        // Set up, and not enabled yet.
        world.post("/account/mfa/setup").by(&bob.access).await.ok(200);
        let waiting = mfa::first_factor(&world).await;
        world.request_code("bob@example.com").await.ok(200);
        let code = world.mailed_code("bob@example.com");
        let sent = request(&world, &bob, &json!({ "method": "email" })).await.ok(200);
        let link = json!({ "type": "email", "email": "second@example.com" });
        world.post("/account/methods/link").by(&bob.access).json(&link).await.ok(200);
        let started = world.post("/auth/cli/start").json(&json!({ "name": "cli" })).await.ok(200);
        let token = world.token(&bob).await;
        let world = world.restart(change).await;

        let mut replies = Vec::new();
        let post = |path: &str, bearer: Option<&str>, body: Value| {
            let call = world.post(path).json(&body);
            match bearer {
                Some(bearer) => call.by(bearer),
                None => call,
            }
        };
        let access = Some(bob.access.as_str());
        let flow = sent["flowId"].as_str().unwrap();
        let poll =
            json!({ "verificationSessionId": started["verificationSessionId"], "pollSecret": started["pollSecret"] });
        for (path, bearer, body) in [
            ("/auth/mfa/verify", None, json!({ "mfaToken": waiting, "code": app.code(&world, 0) })),
            ("/auth/mfa/verify", None, json!({ "mfaToken": waiting, "code": codes[0] })),
            ("/auth/email/verify", None, json!({ "email": "bob@example.com", "code": code })),
            ("/auth/email/link", None, json!({ "token": "x".repeat(32) })),
            ("/auth/exchange", None, json!({ "code": "x".repeat(32) })),
            ("/auth/cli/poll", None, poll),
            ("/auth/refresh", None, json!({ "refreshToken": bob.refresh })),
            ("/account/mfa/enable", access, json!({ "code": "000000" })),
            ("/account/mfa/disable", Some(&ann.access), json!({ "code": codes[0] })),
            ("/account/mfa/backup-codes", Some(&ann.access), json!({ "code": codes[0] })),
            (
                "/account/methods/link/verify",
                access,
                json!({ "type": "email", "email": "second@example.com", "code": "000000" }),
            ),
            ("/account/reauthenticate/verify", access, json!({ "method": "email", "code": "000000", "flowId": flow })),
            ("/account/reauthenticate/verify", Some(&ann.access), json!({ "method": "totp", "code": codes[0] })),
            ("/account/mfa/setup", access, json!({})),
            ("/tokens", Some(&token.secret), json!({ "name": "a" })),
        ] {
            replies.push((path, post(path, bearer, body).await));
        }
        for (path, reply) in replies {
            let is_told = reply.status != 503 || reply.json["error"].as_str().unwrap().contains("reset it");
            assert!(reply.status != 500 && is_told, "{path}: {} {}", reply.status, reply.text);
        }
        world.later(MINUTE).await;
        assert_ne!(world.bob().await.id, "", "and signing in works");
    }
}
