//! A narrowed token is dead with its parent, on every instance and by whichever route it is asked about.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::{Clock, SystemClock};
use futures_util::future::join_all;
use serde_json::json;
use testkit::service_jwt;

use crate::fleet::{ALL, Fleet, GENEROUS};
use crate::installation::{Installation, JWT_SECRET, Reply};

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

async fn narrow(instance: &Installation, parent: &str) -> String {
    let form = [("grant_type", TOKEN_EXCHANGE), ("subject_token", parent), ("subject_token_type", ACCESS_TOKEN)];
    let request = instance.http.post(format!("{}/oauth/token", instance.auth_url)).form(&form);
    let reply = Reply::of(request.send().await.unwrap()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.text("/access_token").to_owned()
}

async fn introspect(instance: &Installation, token: &str) -> Reply {
    let service = service_jwt(JWT_SECRET, SystemClock.now()).sign();
    let request = instance.http.post(format!("{}/oauth/introspect", instance.auth_url)).bearer_auth(service);
    Reply::of(request.form(&[("token", token)]).send().await.unwrap()).await
}

/// Whether the instance takes the token, which it has to say alike by each of the three routes.
async fn is_good(instance: &Installation, token: &str, when: &str) -> bool {
    let (passed, about, validated) =
        tokio::join!(instance.get("/forward-auth", token), introspect(instance, token), instance.validate(token));
    match (passed.status, about.status, &about.body["active"], validated.status) {
        (200, 200, active, 200) if active == true => true,
        (401, 200, active, 401) if active == false => {
            assert_eq!(about.body, json!({ "active": false }), "{when}");
            assert_eq!((passed.text("/code"), validated.text("/code")), ("INVALID_TOKEN", "INVALID_TOKEN"), "{when}");
            false
        }
        _ => panic!("{when}: {passed:?}, {about:?}, {validated:?}"),
    }
}

/// 400 rounds, in four lanes. In three of four the parent is deleted, in the others rotated without a grace. Half of them
/// race: another instance is asked all the time while the parent ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_ends_on_one_instance_takes_its_narrowed_tokens_with_it_on_all_on_the_very_next_call() {
    const LANES: usize = 4;
    const ROUNDS: usize = 100;
    let fleet = Arc::new(
        Fleet::start(
            &[&GENEROUS[..], &[("RATE_LIMIT_STANDARD", "1000000/1m"), ("RATE_LIMIT_TOKEN_EXCHANGE", "1000000/1m")]]
                .concat(),
        )
        .await,
    );
    let session = fleet.instances[0].sign_in("ann@example.com").await;
    let lanes = (0..LANES).map(|lane| {
        let (fleet, session) = (Arc::clone(&fleet), session.clone());
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                let when = format!("lane {lane}, round {round}");
                let (id, parent) = fleet.token(round % ALL, &session).await;
                let narrowed = narrow(&fleet.instances[(round + 1) % ALL], &parent).await;
                // So often that every instance has a copy that it trusts.
                for instance in &fleet.instances {
                    assert!(is_good(instance, &narrowed, &when).await, "{when}");
                }
                let ending = (round + lane) % ALL;
                let has_ended = AtomicBool::new(false);
                let end = async {
                    if round % 4 == lane {
                        let path = format!("/tokens/{id}/rotate");
                        let rotated = fleet.instances[ending].post(&path, Some(&session), json!({})).await;
                        assert_eq!(rotated.status, 201, "{when}: {rotated:?}");
                    } else {
                        fleet.delete(ending, &session, &id).await;
                    }
                    has_ended.store(true, Ordering::SeqCst);
                };
                let race = async {
                    if round % 2 == 0 {
                        return;
                    }
                    loop {
                        let is_too_late = has_ended.load(Ordering::SeqCst);
                        let status = fleet.instances[(ending + 1) % ALL].get("/forward-auth", &narrowed).await.status;
                        assert!(!is_too_late || status == 401, "{when}: {status} after the reply");
                        if is_too_late {
                            break;
                        }
                    }
                };
                tokio::join!(end, race);
                let asked = fleet.instances.iter().map(|instance| is_good(instance, &narrowed, &when));
                assert_eq!(join_all(asked).await, [false; ALL], "{when}");
            }
        })
    });
    for lane in join_all(lanes).await {
        lane.unwrap();
    }
}
