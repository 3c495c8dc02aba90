//! What was ended is not accepted any more, by nobody who asks after the reply.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::task::JoinSet;

use crate::client::{Call, parallel};
use crate::world::{SECOND, World};

/// Threads that ask all the time, before, during and after.
const ASKING: usize = 4;
const ROUNDS: usize = 25;

/// Ends a credential while others keep asking about it. Whoever begins to ask after the reply must be refused.
async fn race(world: &Arc<World>, credential: &str, end: Call, ended_with: u16) {
    let ended = Arc::new(AtomicBool::new(false));
    let admitted_before = Arc::new(AtomicU32::new(0));
    let mut asking = JoinSet::new();
    for _ in 0..ASKING {
        let (world, credential) = (Arc::clone(world), credential.to_owned());
        let (ended, admitted_before) = (Arc::clone(&ended), Arc::clone(&admitted_before));
        asking.spawn(async move {
            loop {
                let too_late = ended.load(Ordering::SeqCst);
                let is_valid = world.is_valid(&credential).await;
                assert!(!(too_late && is_valid), "valid after its end had been answered");
                if too_late {
                    return;
                }
                admitted_before.fetch_add(u32::from(is_valid), Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        });
    }
    // Not before all are at it, or there would be no race.
    while admitted_before.load(Ordering::SeqCst) < 20 {
        tokio::task::yield_now().await;
    }
    let reply = end.await;
    ended.store(true, Ordering::SeqCst);
    reply.ok(ended_with);
    asking.join_all().await;
    assert!(!world.is_valid(credential).await);
}

async fn unlimited() -> Arc<World> {
    Arc::new(World::with(|setup| setup.config.limits.token = "100000000/1m".parse().unwrap()).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deleted_token_is_never_valid_after_the_reply() {
    let world = unlimited().await;
    let ann = world.ann().await;
    for _ in 0..ROUNDS {
        let token = world.token(&ann).await;
        let delete = world.delete(&format!("/tokens/{}", token.id)).by(&ann.access);
        race(&world, &token.secret, delete, 200).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotated_secret_is_never_valid_after_the_reply() {
    let world = unlimited().await;
    let ann = world.ann().await;
    for _ in 0..ROUNDS {
        let token = world.token(&ann).await;
        let rotate = world.post(&format!("/tokens/{}/rotate", token.id)).by(&ann.access);
        race(&world, &token.secret, rotate, 201).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_ended_session_is_never_valid_after_the_reply() {
    let world = unlimited().await;
    for _ in 0..ROUNDS {
        let ann = world.ann().await;
        race(&world, &ann.access, world.post("/auth/logout").by(&ann.access), 200).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_deletions_one_succeeds() {
    let world = World::new().await;
    let ann = world.ann().await;
    for round in 1..=10 {
        let token = world.token(&ann).await;
        let path = format!("/tokens/{}", token.id);
        let replies = parallel(8, |_| world.delete(&path).by(&ann.access).into_future()).await;
        let (deleted, gone): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
        assert_eq!(deleted.len(), 1);
        for reply in gone {
            reply.fails(404, "NOT_FOUND");
        }
        assert!(!world.is_valid(&token.secret).await);
        assert_eq!(world.count_events(&ann, "token.deleted").await, round);
    }
}

#[tokio::test]
async fn a_failed_deletion_leaves_the_token_as_it_was() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = world.token(&ann).await;
    assert!(world.is_valid(&token.secret).await);
    world
        .by_hand("CREATE TRIGGER t BEFORE DELETE ON personal_access_tokens BEGIN SELECT RAISE(ABORT, 'no'); END")
        .await;
    let path = format!("/tokens/{}", token.id);
    let body = world.delete(&path).by(&ann.access).await.fails(500, "INTERNAL_ERROR");
    assert!(!body.to_string().to_lowercase().contains("sql"), "{body}");
    assert!(world.is_valid(&token.secret).await);
    assert_eq!(world.count_events(&ann, "token.deleted").await, 0);
    world.by_hand("DROP TRIGGER t").await;
    world.delete(&path).by(&ann.access).await.ok(200);
    assert!(!world.is_valid(&token.secret).await);
}

#[tokio::test]
async fn a_disabled_user_gets_nowhere() {
    let world = World::new().await;
    let (ann, bob) = (world.ann().await, world.bob().await);
    let token = world.token(&ann).await;
    let jwt = world.service_jwt().user(&ann.id).sign();
    for credential in [&token.secret, &ann.access] {
        assert!(world.is_valid(credential).await);
    }
    world.by_hand("UPDATE users SET disabled_at = 1 WHERE email = 'ann@example.com'").await;
    world.clock.advance(30 * SECOND);

    for credential in [&token.secret, &ann.access] {
        assert!(!world.is_valid(credential).await);
        world.get("/tokens").by(credential).await.fails(401, "INVALID_TOKEN");
    }
    for path in ["/tokens", "/auth/me", "/audit", "/tokens/limits"] {
        world.get(path).by(&jwt).await.fails(401, "INVALID_TOKEN");
    }
    let body = serde_json::json!({ "name": "x" });
    world.post("/tokens").by(&jwt).json(&body).await.fails(401, "INVALID_TOKEN");
    assert_eq!(world.count("SELECT COUNT(*) FROM personal_access_tokens").await, 1);
    world.get("/auth/me").by(&bob.access).await.ok(200);
}

#[tokio::test]
async fn what_another_process_ends_is_noticed_without_waiting_for_copies_to_age() {
    let world = World::new().await;
    let ann = world.ann().await;
    let (deleted, kept) = (world.token(&ann).await, world.token(&ann).await);
    world.look().await;
    for credential in [&deleted.secret, &kept.secret, &ann.access] {
        assert!(world.is_valid(credential).await);
    }
    world.by_hand(&format!("DELETE FROM personal_access_tokens WHERE id = '{}'", deleted.id)).await;
    world.by_hand("DELETE FROM sessions").await;

    world.look().await;
    assert!(!world.is_valid(&deleted.secret).await);
    assert!(!world.is_valid(&ann.access).await);
    assert!(world.is_valid(&kept.secret).await);
}

#[tokio::test]
async fn ones_own_writes_cost_no_copy() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = world.token(&ann).await;
    world.look().await;
    assert!(world.is_valid(&token.secret).await);
    world.token(&ann).await;
    world.look().await;
    world.store.close().await;
    assert!(world.is_valid(&token.secret).await, "still from the copy");
}
