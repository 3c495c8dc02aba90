//! What several instances agree about.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::fleet::{ALL, Fleet, GENEROUS};

#[tokio::test(flavor = "multi_thread")]
async fn of_2000_parallel_validations_exactly_1000_are_admitted() {
    let fleet = Fleet::start(&[]).await;
    let session = fleet.instances[0].sign_in("ann@example.com").await;
    let (_, token) = fleet.token(1, &session).await;
    let replies = join_all((0..2_000).map(|n| fleet.instances[n % ALL].validate(&token))).await;
    let count = |status| replies.iter().filter(|reply| reply.status == status).count();
    assert_eq!((count(200), count(429)), (1_000, 1_000));

    for instance in &fleet.instances[..2] {
        let limited = instance.graphql(Some(&token), "{ me { email } }", json!({})).await;
        assert_eq!((limited.status, limited.text("/errors/0/extensions/code")), (429, "RATE_LIMIT_EXCEEDED"));
    }
}

/// A thousand rounds, in four lanes. Half of them race: others validate all the time while the token is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_deleted_on_one_instance_is_refused_by_all_on_the_very_next_call() {
    const LANES: usize = 4;
    const ROUNDS: usize = 250;
    let fleet = Arc::new(Fleet::start(&GENEROUS).await);
    let session = fleet.instances[0].sign_in("ann@example.com").await;
    let lanes = (0..LANES).map(|lane| {
        let (fleet, session) = (Arc::clone(&fleet), session.clone());
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                let (id, token) = fleet.token(round % ALL, &session).await;
                fleet.warm(&token).await;
                let deleting = (round + lane) % ALL;
                let is_deleted = AtomicBool::new(false);
                let race = async |instance: usize| {
                    if round % 2 == 1 {
                        return;
                    }
                    loop {
                        let too_late = is_deleted.load(Ordering::SeqCst);
                        let status = fleet.instances[instance].validate(&token).await.status;
                        assert!(!too_late || status == 401, "round {round}: {status} after the reply");
                        if too_late {
                            break;
                        }
                    }
                };
                let delete = async {
                    fleet.delete(deleting, &session, &id).await;
                    is_deleted.store(true, Ordering::SeqCst);
                };
                tokio::join!(delete, race((deleting + 1) % ALL), race((deleting + 2) % ALL));
                fleet.assert_dead(&token, &format!("lane {lane}, round {round}")).await;
            }
        })
    });
    for lane in join_all(lanes).await {
        lane.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_20_parallel_refreshes_one_lineage_is_left_and_creations_are_exact() {
    let fleet = Fleet::start(&[]).await;
    let mail = "ann@example.com";
    let access = fleet.instances[0].sign_in(mail).await;
    let creating = (0..60).map(|n| fleet.instances[n % ALL].post("/tokens", Some(&access), json!({ "name": "t" })));
    let created = join_all(creating).await;
    assert_eq!(created.iter().filter(|reply| reply.status == 201).count(), 50);
    assert_eq!(created.iter().filter(|reply| reply.status == 429).count(), 10);

    let refresh = fleet.instances[0].sign_in_for_refresh(mail).await;
    let refreshing = (0..20)
        .map(|n| fleet.instances[n % ALL].post("/auth/refresh", None, json!({ "refreshToken": refresh.as_str() })));
    let replies = join_all(refreshing).await;
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    let next: BTreeSet<_> = replies.iter().map(|reply| reply.text("/refreshToken")).collect();
    assert_eq!(next.len(), 1, "all hold the same next one");
    let next = next.into_iter().next().unwrap();
    let again = fleet.instances[1].post("/auth/refresh", None, json!({ "refreshToken": next })).await;
    assert_eq!(again.status, 200);
    // The first one is two generations old by now: somebody holds a copy.
    let replayed = fleet.instances[2].post("/auth/refresh", None, json!({ "refreshToken": refresh.as_str() })).await;
    assert_eq!((replayed.status, replayed.text("/code")), (401, "REFRESH_REUSED"));
    let access = again.text("/accessToken");
    for reply in join_all(fleet.instances.iter().map(|instance| instance.validate(access))).await {
        assert_eq!(reply.status, 401, "its session is dead on every instance");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_holds_while_redis_is_hung_gone_and_back_empty() {
    let mut fleet = Fleet::start(&[("REDIS_TIMEOUT_MS", "1000")]).await;
    let session = fleet.instances[0].sign_in("ann@example.com").await;
    fleet.all_say("ok").await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        let (id, token) = fleet.token(0, &session).await;
        fleet.warm(&token).await;
        tokens.push((id, token));
    }

    // Hung, and nobody has noticed yet.
    fleet.redis.freeze();
    fleet.delete(0, &session, &tokens[0].0).await;
    fleet.assert_dead(&tokens[0].1, "hung").await;
    fleet.all_say("unavailable").await;
    fleet.delete(1, &session, &tokens[1].0).await;
    fleet.assert_dead(&tokens[1].1, "known to be hung").await;
    assert_eq!(fleet.instances[2].validate(&tokens[2].1).await.status, 200, "others work");
    fleet.redis.thaw();
    fleet.all_say("ok").await;
    fleet.assert_dead(&tokens[0].1, "back with its memory").await;
    fleet.assert_dead(&tokens[1].1, "back with its memory").await;

    fleet.redis.kill().await;
    fleet.delete(2, &session, &tokens[2].0).await;
    fleet.assert_dead(&tokens[2].1, "gone").await;
    fleet.redis.restart().await;
    fleet.all_say("ok").await;
    for (_, token) in &tokens[..3] {
        fleet.assert_dead(token, "back and empty").await;
    }
    fleet.redis.cli(&["flushall"]).await;
    fleet.delete(0, &session, &tokens[3].0).await;
    for (_, token) in &tokens {
        fleet.assert_dead(token, "flushed").await;
    }
    let (_, token) = fleet.token(1, &session).await;
    fleet.warm(&token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_no_more_than_the_declared_share_is_admitted() {
    let mut fleet = Fleet::start(&[("RATE_LIMIT_TOKEN_PER_MINUTE", "100")]).await;
    let session = fleet.instances[0].sign_in("ann@example.com").await;
    let (_, token) = fleet.token(1, &session).await;
    fleet.redis.kill().await;
    fleet.all_say("unavailable").await;
    let ask = async |each: usize| {
        let replies = join_all((0..each * ALL).map(|n| fleet.instances[n % ALL].validate(&token))).await;
        assert!(replies.iter().all(|reply| matches!(reply.status, 200 | 429)));
        let refused: Vec<&Value> =
            replies.iter().filter(|reply| reply.status == 429).map(|reply| &reply.body).collect();
        assert!(refused.iter().all(|body| body["rateLimit"]["limit"] == 10), "what holds now is told");
        replies.iter().filter(|reply| reply.status == 200).count()
    };
    assert_eq!(ask(50).await, ALL * 10);
    fleet.redis.restart().await;
    fleet.all_say("ok").await;
    assert_eq!(ask(50).await, 0, "not once more in the same minute");
}
