//! `JWT_SECRET` is changed without an outage: `old` → `old,new` → `new,old` → `new`, on instances that do not change at
//! the same moment.

use serde_json::json;

use crate::mfa;
use crate::world::{MINUTE, Setup, World};

const OLD: &str = "the secret before a rotation, in tests";
const NEW: &str = "the secret after a rotation, in tests.";

fn secrets(list: &'static [&'static str]) -> impl Fn(&mut Setup) {
    move |setup| setup.config.secrets.service_jwt = list.iter().map(|secret| (*secret).into()).collect()
}

/// Whether a service that signs with this secret hears that the token is valid.
async fn is_valid(world: &World, signed_with: &str, token: &str) -> bool {
    let jwt = testkit::service_jwt(signed_with, world.now()).sign();
    let reply = world.post("/tokens/validate").by(&jwt).json(&json!({ "token": token })).await;
    reply.status == 200
}

#[tokio::test]
async fn everything_goes_on_working_through_every_stage() {
    let world = World::with(secrets(&[OLD])).await;
    let (ann, app, backup_codes) = mfa::ann(&world).await;
    let (used, unused) = (world.token(&ann).await, world.token(&ann).await);
    // Without a verifier of record: whatever is found, is found by its digest.
    world.by_hand(&format!("UPDATE token_secrets SET hash = 'none' WHERE token_id = '{}'", used.id)).await;

    let stages: [(&'static [&'static str], &str); 3] = [(&[OLD, NEW], OLD), (&[NEW, OLD], NEW), (&[NEW], NEW)];
    let mut world = world;
    for (number, (list, signs)) in stages.into_iter().enumerate() {
        world.request_code("bob@example.com").await.ok(200);
        let code = world.mailed_code("bob@example.com");
        world = world.restart(secrets(list)).await;
        world.verify_code("bob@example.com", &code).await.ok(200);

        world.clock.advance(MINUTE);
        assert!(is_valid(&world, signs, &used.secret).await, "{list:?}");
        assert!(is_valid(&world, signs, &ann.access).await, "{list:?}");
        let waiting = mfa::first_factor(&world).await;
        mfa::verify(&world, &waiting, &app.code(&world, 0)).await.ok(200);
        let waiting = mfa::first_factor(&world).await;
        mfa::verify(&world, &waiting, &backup_codes[number]).await.ok(200);
    }
    assert!(!is_valid(&world, OLD, &used.secret).await, "the old secret vouches for nobody any more");
    assert!(is_valid(&world, NEW, &unused.secret).await, "one that nobody used meanwhile is known by its hash");
    assert_eq!(world.count("SELECT COUNT(*) FROM signing_keys").await, 1, "sealed anew, not replaced");
    assert_eq!(world.count("SELECT COUNT(DISTINCT seal_key) FROM token_secrets").await, 1);
}

#[tokio::test]
async fn instances_at_different_stages_recognise_what_the_other_makes() {
    let stages: [&'static [&'static str]; 4] = [&[OLD], &[OLD, NEW], &[NEW, OLD], &[NEW]];
    for (before, after) in stages.iter().zip(&stages[1..]) {
        let one = World::with(secrets(before)).await;
        let other = one.beside(secrets(after)).await;
        for (maker, knower, signs) in [(&one, &other, after[0]), (&other, &one, before[0])] {
            let ann = maker.ann().await;
            let token = maker.token(&ann).await;
            maker.by_hand("UPDATE token_secrets SET hash = 'none'").await;
            assert!(is_valid(knower, signs, &token.secret).await, "{before:?} {after:?}");
            assert!(is_valid(knower, signs, &ann.access).await, "{before:?} {after:?}");
            let renewed = knower.refresh(&ann.refresh).await.ok(200);
            maker.get("/auth/me").by(renewed["accessToken"].as_str().unwrap()).await.ok(200);
            maker.request_code("bob@example.com").await.ok(200);
            knower.verify_code("bob@example.com", &maker.mailed_code("bob@example.com")).await.ok(200);
        }
    }
}
