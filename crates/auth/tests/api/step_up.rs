//! What takes an account over wants a recent proof (RFC 9470): each such route, by sessions of every age.

use http::Method;
use serde_json::{Value, json};

use crate::client::{Call, Reply, parallel};
use crate::mfa;
use crate::reauthentication::{mailed_code, request, verify};
use crate::world::{MINUTE, Person, SECOND, World, decode_jwt, person};

const CHALLENGE: &str = "Bearer error=\"insufficient_user_authentication\", \
                         error_description=\"A more recent authentication is required\", max_age=600";

/// Every route that wants it, with a body that is right or at least well formed, and what it says to whoever has it.
fn routes(method_id: &str, code: &str) -> Vec<(Method, String, Value, u16)> {
    let post = |path: &str, body: Value, status| (Method::POST, path.to_owned(), body, status);
    vec![
        post("/account/methods/link", json!({ "type": "email", "email": "new@example.com" }), 200),
        post("/account/methods/link", json!({ "type": "sms", "phone": "+14155552671" }), 200),
        post(
            "/account/methods/link",
            json!({ "type": "wallet", "address": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed" }),
            200,
        ),
        post("/account/methods/link", json!({ "type": "oauth", "provider": "github" }), 404),
        post(
            "/account/methods/link/verify",
            json!({ "type": "email", "email": "n@example.com", "code": "000000" }),
            400,
        ),
        post(&format!("/account/methods/{method_id}/set-primary"), Value::Null, 200),
        (Method::DELETE, format!("/account/methods/{method_id}"), Value::Null, 400),
        post("/account/mfa/setup", Value::Null, 200),
        post("/account/mfa/enable", json!({ "code": "000000" }), 400),
        post("/account/mfa/backup-codes", json!({ "code": code }), 409),
        post("/account/mfa/disable", json!({ "code": code }), 409),
        (Method::DELETE, "/account/profile".to_owned(), Value::Null, 200),
    ]
}

fn call(world: &World, access: &str, (method, path, body, _): &(Method, String, Value, u16)) -> Call {
    let call = world.call(method.clone(), path).by(access);
    if body.is_null() { call } else { call.json(body) }
}

/// All that such a route could change.
async fn state(world: &World) -> Vec<i64> {
    let mut found = vec![i64::try_from(world.outbox.mails().len()).unwrap()];
    for sql in [
        "SELECT COUNT(*) FROM users WHERE deleted_at IS NULL",
        "SELECT COUNT(*) FROM auth_methods",
        "SELECT COUNT(*) FROM link_codes",
        "SELECT COUNT(*) FROM wallet_challenges",
        "SELECT COUNT(*) FROM oauth_states",
        "SELECT COUNT(*) FROM totp_factors",
        "SELECT COUNT(*) FROM backup_codes",
        "SELECT COUNT(*) FROM personal_access_tokens",
        "SELECT COUNT(*) FROM token_secrets",
        "SELECT COUNT(*) FROM audit_events",
    ] {
        found.push(world.count(sql).await);
    }
    found
}

#[track_caller]
fn asks_again(reply: Reply, methods: &Value) {
    assert_eq!(reply.header("www-authenticate"), CHALLENGE, "{}", reply.text);
    let body = reply.fails(401, "REAUTHENTICATION_REQUIRED");
    assert_eq!((&body["methods"], &body["maxAge"]), (methods, &json!(600)), "{body}");
}

async fn method_id(world: &World, person: &Person) -> String {
    let reply = world.get("/account/methods").by(&person.access).await.ok(200);
    reply["methods"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn right_after_signing_in_everything_works_and_ten_minutes_later_nothing_does() {
    let world = World::new().await;
    let ann = world.ann().await;
    let routes = routes(&method_id(&world, &ann).await, "aaaaa-aaaaa");
    world.later(10 * MINUTE).await;
    let before = state(&world).await;
    for route in &routes {
        asks_again(call(&world, &ann.access, route).await, &json!(["email"]));
        // Before the body is looked at, and the same for what is nobody's.
        asks_again(world.delete("/account/methods/nobodys").by(&ann.access).await, &json!(["email"]));
    }
    assert_eq!(state(&world).await, before);
    // Renewing the tokens is no proof of anything.
    let renewed = person(&world.refresh(&ann.refresh).await.ok(200));
    asks_again(call(&world, &renewed.access, &routes[0]).await, &json!(["email"]));
    // What takes nothing over goes on.
    for path in ["/account/profile", "/account/methods", "/account/mfa", "/auth/sessions", "/tokens", "/auth/me"] {
        world.get(path).by(&ann.access).await.ok(200);
    }
    world.token(&ann).await;

    let fresh = world.ann().await;
    world.later(10 * MINUTE - SECOND).await;
    for route in &routes {
        let reply = call(&world, &fresh.access, route).await;
        assert_eq!(reply.status, route.3, "{} {}: {}", route.0, route.1, reply.text);
    }
}

#[tokio::test]
async fn with_a_second_factor_only_that_is_a_proof() {
    let world = World::new().await;
    let other = world.ann().await;
    let (ann, app, codes) = mfa::ann(&world).await;
    let routes = routes(&method_id(&world, &ann).await, &codes[0]);
    // Signed in a minute ago, and without it.
    let before = state(&world).await;
    for route in &routes {
        asks_again(call(&world, &other.access, route).await, &json!(["totp"]));
    }
    assert_eq!(state(&world).await, before);
    // The session that enabled it has shown a code, a minute ago.
    world.get("/account/mfa").by(&ann.access).await.ok(200);
    call(&world, &ann.access, &routes[0]).await.ok(200);
    world.later(9 * MINUTE).await;
    let before = state(&world).await;
    for route in &routes {
        asks_again(call(&world, &ann.access, route).await, &json!(["totp"]));
    }
    assert_eq!(state(&world).await, before, "no code was spent on it either");

    // A sign-in that passed it counts.
    let waiting = mfa::first_factor(&world).await;
    let signed_in = person(&mfa::verify(&world, &waiting, &app.code(&world, 0)).await.ok(200));
    call(&world, &signed_in.access, &routes[5]).await.ok(200);
    // So does a code in the session.
    let shown = verify(&world, &other, &json!({ "method": "totp", "code": app.code(&world, 1) })).await.ok(200);
    assert_eq!(shown["reauthenticatedUntil"], world.now().plus(10 * MINUTE).to_string());
    call(&world, &other.access, &routes[10]).await.ok(200);
    assert_eq!(world.count_events(&ann, "mfa.disabled").await, 1);
}

/// What the setting adds: every door at which a token is made.
#[tokio::test]
async fn tokens_want_it_where_that_is_set() {
    for for_tokens in [false, true] {
        let world = World::with(|setup| setup.config.reauth.for_tokens = for_tokens).await;
        let ann = world.ann().await;
        let (token, other) = (world.token(&ann).await, world.token(&ann).await);
        let session = decode_jwt(&ann.access).1["sessionId"].as_str().unwrap().to_owned();
        world.later(10 * MINUTE).await;
        let started = world.post("/auth/cli/start").json(&json!({ "name": "cli" })).await.ok(200);
        let id = started["verificationSessionId"].clone();
        let named = world.service_jwt().user(&ann.id).claim("sessionId", session.as_str()).sign();
        let own_word = world.service_jwt().user(&ann.id).sign();
        let before = state(&world).await;
        let rotate = format!("/tokens/{}/rotate", token.id);
        for (bearer, path, body) in [
            (&ann.access, "/tokens", json!({ "name": "a" })),
            (&ann.access, "/auth/pat/create", json!({ "name": "a" })),
            (&ann.access, &rotate, json!({ "graceSeconds": 600 })),
            (&ann.access, "/auth/cli/approve", json!({ "verificationSessionId": id })),
            // A service that names the session is held to the session's age.
            (&named, "/tokens", json!({ "name": "a" })),
            (&named, &rotate, json!({ "graceSeconds": 600 })),
        ] {
            let reply = world.post(path).by(bearer).json(&body).await;
            if for_tokens {
                asks_again(reply, &json!(["email"]));
            } else {
                assert!(matches!(reply.status, 200 | 201), "{path}: {}", reply.text);
            }
        }
        assert_eq!(state(&world).await == before, for_tokens);
        let pending = |body: Value| world.post("/auth/cli/poll").json(&body);
        let poll = json!({ "verificationSessionId": id, "pollSecret": started["pollSecret"] });
        assert_eq!(pending(poll).await.status, if for_tokens { 202 } else { 200 });

        // One that names none speaks for itself, a token is no session, and taking away takes nothing over.
        world.post("/tokens").by(&own_word).json(&json!({ "name": "a" })).await.ok(201);
        let by_token = world.token_with(&Person { access: other.secret, ..ann.clone() }, json!({})).await;
        world.delete(&format!("/tokens/{}", by_token.id)).by(&ann.access).await.ok(200);

        request(&world, &ann, &json!({ "method": "email" })).await.ok(200);
        verify(&world, &ann, &json!({ "method": "email", "code": mailed_code(&world) })).await.ok(200);
        world.post("/tokens").by(&named).json(&json!({ "name": "a" })).await.ok(201);
        world.post("/tokens").by(&ann.access).json(&json!({ "name": "a" })).await.ok(201);
    }
}

#[tokio::test]
async fn the_age_is_a_setting() {
    let world = World::with(|setup| setup.config.reauth.max_age = MINUTE).await;
    let ann = world.ann().await;
    let id = method_id(&world, &ann).await;
    let primary = || world.post(&format!("/account/methods/{id}/set-primary")).by(&ann.access);
    world.later(MINUTE - SECOND).await;
    primary().await.ok(200);
    world.later(SECOND).await;
    let reply = primary().await;
    assert!(reply.header("www-authenticate").ends_with(", max_age=60"), "{reply:?}");
    assert_eq!(reply.fails(401, "REAUTHENTICATION_REQUIRED")["maxAge"], 60);
}

/// A clock that was set: nothing revives by it, and whoever proves it anew goes on.
#[tokio::test]
async fn a_clock_that_was_set_makes_no_proof_younger() {
    let world = World::new().await;
    let ann = world.ann().await;
    let id = method_id(&world, &ann).await;
    let primary = |person: &Person| world.post(&format!("/account/methods/{id}/set-primary")).by(&person.access);
    world.clock.set_by(-660_000);
    world.look().await;
    primary(&ann).await.fails(401, "REAUTHENTICATION_REQUIRED");
    let fresh = world.ann().await;
    primary(&fresh).await.ok(200);
    world.clock.set_by(660_000);
    world.look().await;
    primary(&fresh).await.fails(401, "REAUTHENTICATION_REQUIRED");
}

/// `methods` names what can be asked for here, and what the person has.
#[tokio::test]
async fn what_cannot_be_asked_for_is_not_offered() {
    let world = World::new().await;
    let ann = world.ann().await;
    let link = json!({ "type": "sms", "phone": "+14155552671" });
    world.post("/account/methods/link").by(&ann.access).json(&link).await.ok(200);
    let code = world.outbox.mails()[0].text[..6].to_owned();
    let link = json!({ "type": "sms", "phone": "+14155552671", "code": code });
    world.post("/account/methods/link/verify").by(&ann.access).json(&link).await.ok(200);
    world.later(10 * MINUTE).await;
    let delete = |world: &World| world.delete("/account/profile").by(&ann.access);
    asks_again(delete(&world).await, &json!(["email", "sms"]));
    let world = world
        .restart(|setup| {
            setup.mailer = None;
            setup.sms = None;
        })
        .await;
    asks_again(delete(&world).await, &json!([]));
    request(&world, &ann, &json!({ "method": "email" })).await.fails(503, "EMAIL_NOT_CONFIGURED");
    request(&world, &ann, &json!({ "method": "sms" })).await.fails(503, "SMS_NOT_CONFIGURED");
}

/// Twenty changes at the moment at which the proof is renewed: each was done with one that is recent, or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_beside_a_renewal_are_done_or_leave_nothing() {
    for round in 0..5 {
        let world = World::new().await;
        let ann = world.ann().await;
        let id = method_id(&world, &ann).await;
        world.later(10 * MINUTE).await;
        request(&world, &ann, &json!({ "method": "email" })).await.ok(200);
        let code = mailed_code(&world);
        let replies = parallel(20, |number| {
            let call = if number == 10 {
                verify(&world, &ann, &json!({ "method": "email", "code": code }))
            } else {
                world.post(&format!("/account/methods/{id}/set-primary")).by(&ann.access)
            };
            async move { call.await }
        })
        .await;
        assert!(replies.iter().all(|reply| matches!(reply.status, 200 | 401)), "{replies:?}");
        let done = replies.iter().filter(|reply| reply.status == 200).count() - 1;
        assert_eq!(world.count_events(&ann, "method.primary_set").await, done, "round {round}");
    }
}
