//! A service that calls for its users is not one address.

use auth::Limits;
use http::Method;
use serde_json::{Value, json};

use crate::client::{ADDRESS, Call};
use crate::world::{World, person};

/// Every route that is limited by address, with a call that anybody can make.
fn routes() -> Vec<(Method, &'static str, Option<Value>)> {
    let wallet = "0x9858EfFD232B4033E47d90003D41EC34EcaEda94";
    vec![
        (Method::GET, "/", None),
        (Method::GET, "/openapi.json", None),
        (Method::GET, "/.well-known/jwks.json", None),
        (Method::GET, "/login", None),
        (Method::GET, "/login/nothing", None),
        (Method::GET, "/login/email/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", None),
        (Method::GET, "/auth/oauth/providers", None),
        (Method::GET, "/auth/oauth/github", None),
        (Method::GET, "/auth/oauth/callback/github", None),
        (Method::POST, "/auth/email/request", Some(json!({ "email": "x" }))),
        (Method::POST, "/auth/email/verify", Some(json!({ "email": "x@example.com", "code": "123456" }))),
        (Method::POST, "/auth/email/link", Some(json!({ "token": "x" }))),
        (Method::POST, "/auth/sms/request", Some(json!({ "phone": "x" }))),
        (Method::POST, "/auth/sms/verify", Some(json!({ "phone": "+14155552671", "code": "123456" }))),
        (Method::POST, "/auth/wallet/challenge", Some(json!({ "address": wallet }))),
        (Method::POST, "/auth/wallet/verify", Some(json!({ "address": wallet, "message": "x", "signature": "0x" }))),
        (Method::POST, "/auth/mfa/verify", Some(json!({ "mfaToken": "x", "code": "123456" }))),
        (Method::POST, "/auth/exchange", Some(json!({ "code": "x" }))),
        (Method::POST, "/auth/refresh", Some(json!({ "refreshToken": "x" }))),
        (Method::POST, "/auth/cli/start", Some(json!({}))),
        (Method::POST, "/auth/cli/poll", Some(json!({ "verificationSessionId": "x", "pollSecret": "x" }))),
        (Method::POST, "/tokens/report", Some(json!({ "token": "x" }))),
    ]
}

fn limits(count: u32) -> Limits {
    let few = format!("{count}/15m").parse().unwrap();
    Limits { sign_in: few, standard: few, relaxed: few, ..Limits::default() }
}

#[tokio::test]
async fn what_counts_is_the_end_users_address_on_every_limited_route() {
    for (method, path, body) in routes() {
        let world = World::with(|setup| setup.config.limits = limits(2)).await;
        let call = |jwt: Option<&str>| {
            let call = world.call(method.clone(), path);
            let call = jwt.into_iter().fold(call, Call::by);
            body.iter().fold(call, Call::json)
        };
        let jwt = |meta: Value| world.service_jwt().claim("meta", meta).sign();
        let statuses = async |jwt: Option<&str>, count: usize| {
            let mut statuses = Vec::new();
            for _ in 0..count {
                statuses.push(call(jwt).await.status);
            }
            statuses
        };
        let silent = world.service_jwt().sign();
        for jwt in [silent, jwt(json!({ "requestId": "r1" }))] {
            assert!(!statuses(Some(&jwt), 5).await.contains(&429), "{path}: a service that names no address");
        }
        // What is no address is unknown, and all who are unknown share a window.
        for (ip, admitted) in [("203.0.113.7", 2), ("2001:db8::1", 2), ("no address", 2), ("\u{ff}", 0)] {
            let told = statuses(Some(&jwt(json!({ "ip": ip }))), 3).await;
            assert_eq!(told.iter().position(|status| *status == 429), Some(admitted), "{path} for {ip}: {told:?}");
        }
        let own = statuses(None, 3).await;
        assert_eq!(own.iter().position(|status| *status == 429), Some(2), "{path} of its own: {own:?}");
        // No forged or stale JWT, and nobody's credential, is a way past that.
        let forged = testkit::service_jwt("somebody else's secret, which is long enough", world.now()).sign();
        let stale = testkit::service_jwt(crate::world::JWT_SECRET, world.now().minus(crate::world::DAY)).sign();
        for credential in [forged.as_str(), stale.as_str(), "x"] {
            assert_eq!(call(Some(credential)).await.status, 429, "{path}");
        }
    }
}

#[tokio::test]
async fn a_hundred_users_of_one_service_sign_in_and_are_written_down_as_themselves() {
    let world = World::with(|setup| setup.config.limits = Limits::default()).await;
    for number in 0..100 {
        let email = format!("user{number}@example.com");
        let meta = json!({ "ip": format!("203.0.{number}.7"), "userAgent": "theirs/1", "requestId": "r1" });
        let jwt = world.service_jwt().claim("meta", meta).sign();
        world.request_code(&email).by(&jwt).await.ok(200);
        let code = world.mailed_code(&email);
        let user = person(&world.verify_code(&email, &code).by(&jwt).await.ok(200));
        if number == 42 {
            let devices = world.get("/auth/sessions").by(&user.access).await.ok(200);
            let device = &devices["sessions"][0];
            assert_eq!(device["ip"], "203.0.42.7");
            let events = world.events(&user).await;
            let signed_in = events.iter().find(|event| event["type"] == "sign_in.succeeded").unwrap();
            assert_eq!((&signed_in["ip"], &signed_in["userAgent"]), (&"203.0.42.7".into(), &"theirs/1".into()));
        }
    }
    let by_itself = world.service_jwt().sign();
    world.request_code("ann@example.com").by(&by_itself).await.ok(200);
    let code = world.mailed_code("ann@example.com");
    let ann = person(&world.verify_code("ann@example.com", &code).by(&by_itself).await.ok(200));
    let devices = world.get("/auth/sessions").by(&ann.access).await.ok(200);
    assert_ne!(devices["sessions"][0]["ip"], ADDRESS, "the service's own address is nobody's");
}

/// One that is there and is no address is unknown; it is not made up for by another.
#[tokio::test]
async fn an_address_told_to_introspection_that_is_none_is_unknown() {
    let world = World::new().await;
    let token = world.token_with(&world.ann().await, json!({ "allowedIps": ["192.0.2.0/24"] })).await;
    let jwt = world.service_jwt().claim("meta", json!({ "ip": "192.0.2.7" })).sign();
    let ask = async |client_ip: &str| {
        let form = format!("token={}{client_ip}", token.secret);
        let reply = world.post("/oauth/introspect").by(&jwt).body("application/x-www-form-urlencoded", form);
        reply.await.ok(200)["active"].clone()
    };
    assert_eq!(ask("").await, true);
    assert_eq!(ask("&client_ip=192.0.2.8").await, true);
    for unknown in ["&client_ip=", "&client_ip=x", "&client_ip=192.0.2.7%FF", "&client_ip=203.0.113.9"] {
        assert_eq!(ask(unknown).await, false, "{unknown}");
    }
}
