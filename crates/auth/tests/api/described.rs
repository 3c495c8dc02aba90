//! `withUser` of `POST /tokens/validate`: what `GET /auth/me` says, with the verdict and at no further call.

use std::sync::Arc;

use domain::Limit;
use http::Method;
use serde_json::{Value, json};

use crate::world::{MINUTE, SECOND, Setup, World};

/// The `user` of a validation, which may be absent.
async fn described(world: &World, credential: &str) -> Option<Value> {
    let body = json!({ "token": credential, "withUser": true });
    // One that outlives what the clock is set on meanwhile.
    let jwt = world.service_jwt().claim("exp", world.now().as_seconds() + 299).sign();
    let reply = world.post("/tokens/validate").by(&jwt).json(&body).await.ok(200);
    assert_eq!(reply["valid"], true);
    reply.get("user").cloned()
}

async fn me(world: &World, credential: &str) -> Value {
    world.get("/auth/me").by(credential).await.ok(200)["user"].clone()
}

/// Descriptions of this person are kept: nothing was changed lately, and they have been asked for.
async fn warm(world: &World, credential: &str) {
    world.later(2 * MINUTE).await;
    described(world, credential).await.unwrap();
}

#[tokio::test]
async fn the_owner_is_described_to_whoever_asks_and_may_see_it() {
    let world = World::new().await;
    let ann = world.ann().await;
    world.by_hand("UPDATE users SET display_name = 'A \"n\" n', phone = '+15550100'").await;
    let all = world.token(&ann).await;
    let profile = world.scoped(&ann, &["profile:read"]).await;
    let other = world.scoped(&ann, &["projects:read"]).await;
    for credential in [&ann.access, &all.secret, &profile.secret] {
        assert_eq!(described(&world, credential).await, Some(me(&world, credential).await));
        assert!(world.validate(credential).await.ok(200).get("user").is_none(), "only where it was asked for");
    }
    assert_eq!(described(&world, &other.secret).await, None);
    world.get("/auth/me").by(&other.secret).await.fails(403, "FORBIDDEN");
}

#[tokio::test]
async fn a_refusal_describes_nobody() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = world.token(&ann).await;
    warm(&world, &token.secret).await;
    world.delete(&format!("/tokens/{}", token.id)).by(&ann.access).await.ok(200);
    let body = json!({ "token": token.secret, "withUser": true });
    let reply = world.post("/tokens/validate").by(&world.service_jwt().sign()).json(&body).await;
    assert!(reply.fails(401, "INVALID_TOKEN").get("user").is_none());
}

#[tokio::test]
async fn every_change_shows_in_the_next_description() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = world.token(&ann).await.secret;
    let second = "ann@second.example";

    let changes = json!({ "displayName": "Ann", "avatarUrl": "https://example.com/a.png" });
    let request = json!({ "type": "email", "email": second });
    let verify = |code: String| json!({ "type": "email", "email": second, "code": code });
    let link = "/account/methods/link";
    world.post(link).by(&ann.access).json(&request).await.ok(200);
    let code = world.mailed_code(second);
    let id_of = async |identifier: &str| {
        let methods = world.get("/account/methods").by(&ann.access).await.ok(200);
        let found = methods["methods"].as_array().unwrap().iter().find(|one| one["identifier"] == identifier).cloned();
        found.unwrap()["id"].as_str().unwrap().to_owned()
    };

    let mut before = me(&world, &token).await;
    let steps = ["profile", "link", "primary", "unlink", "sign-in"];
    for step in steps {
        described(&world, &token).await.unwrap();
        assert_eq!(described(&world, &token).await, Some(before.clone()));
        match step {
            "profile" => {
                world.call(Method::PATCH, "/account/profile").by(&ann.access).json(&changes).await.ok(200);
            }
            "link" => {
                // Without an address of one's own the one that is linked becomes it.
                world.by_hand("UPDATE users SET email = NULL").await;
                world.post("/account/methods/link/verify").by(&ann.access).json(&verify(code.clone())).await.ok(200);
            }
            "primary" => {
                let path = format!("/account/methods/{}/set-primary", id_of("ann@example.com").await);
                world.post(&path).by(&ann.access).await.ok(200);
            }
            "unlink" => {
                let path = format!("/account/methods/{}", id_of("ann@example.com").await);
                world.delete(&path).by(&ann.access).await.ok(200);
            }
            _ => {
                world.clock.advance(SECOND);
                world.sign_in(second).await;
            }
        }
        let after = me(&world, &token).await;
        assert_ne!(after, before, "{step} changes something");
        assert_eq!(described(&world, &token).await, Some(after.clone()), "{step}");
        before = after;
    }
}

#[tokio::test]
async fn what_nobody_changes_is_read_once_in_a_while() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = world.token(&ann).await.secret;
    warm(&world, &token).await;
    let by_hand = "UPDATE users SET display_name = 'By hand'";

    // Behind the service's back, so it does not know; which shows that it was not asked.
    world.by_hand(by_hand).await;
    assert_eq!(described(&world, &token).await.unwrap()["displayName"], Value::Null);
    world.look().await;
    assert_eq!(described(&world, &token).await.unwrap()["displayName"], "By hand", "half a second later it has looked");

    world.by_hand("UPDATE users SET display_name = 'Again'").await;
    world.clock.advance(5 * SECOND);
    assert_eq!(described(&world, &token).await.unwrap()["displayName"], "Again", "and for five at most it is kept");
}

#[tokio::test]
async fn an_account_that_loses_an_address_to_whoever_proves_it_is_described_without_it() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = world.token(&ann).await.secret;
    world.by_hand("UPDATE auth_methods SET verified = 0").await;
    warm(&world, &token).await;
    world.sign_in("ann@example.com").await;
    world.look().await;
    assert_eq!(described(&world, &token).await.unwrap()["email"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_change_is_seen_by_whoever_asks_after_its_reply_however_many_ask_meanwhile() {
    let setup = |setup: &mut Setup| {
        setup.config.limits.token = Limit::per_minute(10_000_000);
        // A service JWT lives five minutes, and the clock goes further while others wait for their turn.
        setup.config.validate_allow_anonymous = true;
    };
    let world = Arc::new(World::with(setup).await);
    let ann = world.ann().await;
    let token = world.token(&ann).await.secret;
    let asking = || {
        let (world, token) = (Arc::clone(&world), token.clone());
        tokio::spawn(async move {
            let body = json!({ "token": token, "withUser": true });
            loop {
                world.post("/tokens/validate").json(&body).await.ok(200);
            }
        })
    };
    let others: Vec<_> = (0..3).map(|_| asking()).collect();
    for round in 0..12 {
        // So that descriptions are kept again.
        world.later(65 * SECOND).await;
        described(&world, &token).await;
        let changes = json!({ "displayName": format!("name {round}") });
        world.call(Method::PATCH, "/account/profile").by(&ann.access).json(&changes).await.ok(200);
        for _ in 0..20 {
            assert_eq!(described(&world, &token).await.unwrap()["displayName"], changes["displayName"]);
        }
    }
    for other in others {
        assert!(!other.is_finished(), "they were answered to the end");
        other.abort();
    }
}
