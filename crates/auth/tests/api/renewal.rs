//! Copies in use are read again before their time is over: nobody waits for it, and nothing that ended comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::RwLock;
use tokio::task::JoinSet;

use crate::client::parallel;
use crate::world::{Person, SECOND, Token, World};

/// By then every copy that is in use is to be read again, and none is too old yet.
const LATE: Duration = Duration::from_secs(27);

async fn tokens(world: &World, owner: &Person, count: usize) -> Vec<Token> {
    let mut tokens = Vec::new();
    for _ in 0..count {
        tokens.push(world.token(owner).await);
    }
    tokens
}

async fn all_are_valid(world: &World, tokens: &[Token]) {
    let replies = parallel(tokens.len(), |number| world.validate(&tokens[number].secret).into_future()).await;
    for reply in replies {
        reply.ok(200);
    }
}

#[tokio::test]
async fn copies_in_use_outlive_their_time_without_anybodys_waiting() {
    let world = World::new().await;
    let ann = world.ann().await;
    let (used, unused) = (tokens(&world, &ann, 40).await, world.token(&ann).await);
    all_are_valid(&world, &used).await;
    assert!(world.is_valid(&unused.secret).await);
    for _ in 0..3 {
        world.later(LATE).await;
        all_are_valid(&world, &used).await;
        world.auth.renew_copies().await.unwrap();
    }
    world.later(LATE).await;
    world.store.close().await;
    all_are_valid(&world, &used).await;
    world.validate(&unused.secret).await.fails(503, "UNAVAILABLE");

    assert!(world.auth.renew_copies().await.is_err());
    all_are_valid(&world, &used).await;
    world.clock.advance(3 * SECOND);
    for token in &used {
        world.validate(&token.secret).await.fails(503, "UNAVAILABLE");
    }
}

#[tokio::test]
async fn a_renewed_copy_is_what_the_database_says() {
    let world = World::new().await;
    let ann = world.ann().await;
    let [deleted, disabled, ending, renamed]: [Token; 4] = tokens(&world, &ann, 4).await.try_into().unwrap();
    let all = [deleted.clone(), ending.clone(), renamed.clone(), disabled.clone()];
    all_are_valid(&world, &all).await;
    world.later(LATE).await;
    all_are_valid(&world, &all).await;
    // Without a mark, and nobody has looked for what others have written.
    world.by_hand(&format!("DELETE FROM personal_access_tokens WHERE id = '{}'", deleted.id)).await;
    let soon = world.now().plus(SECOND).as_millis();
    let ends = format!("UPDATE personal_access_tokens SET expires_at = {soon} WHERE id = '{}'", ending.id);
    world.by_hand(&ends).await;
    world.by_hand(&format!("UPDATE personal_access_tokens SET name = 'renamed' WHERE id = '{}'", renamed.id)).await;
    world.auth.renew_copies().await.unwrap();

    assert!(!world.is_valid(&deleted.secret).await);
    assert!(world.is_valid(&ending.secret).await);
    assert_eq!(world.validate(&renamed.secret).await.ok(200)["name"], "renamed");
    world.clock.advance(SECOND);
    assert!(!world.is_valid(&ending.secret).await);

    world.look().await;
    assert!(world.is_valid(&disabled.secret).await);
    world.later(LATE).await;
    assert!(world.is_valid(&disabled.secret).await);
    world.by_hand("UPDATE users SET disabled_at = 1").await;
    world.auth.renew_copies().await.unwrap();
    assert!(!world.is_valid(&disabled.secret).await);
}

#[tokio::test]
async fn what_was_forgotten_for_a_foreign_write_does_not_come_back_by_being_renewed() {
    let world = World::new().await;
    let ann = world.ann().await;
    let token = world.token(&ann).await;
    world.look().await;
    assert!(world.is_valid(&token.secret).await);
    world.later(LATE).await;
    assert!(world.is_valid(&token.secret).await);
    world.by_hand("DELETE FROM personal_access_tokens").await;
    world.look().await;
    world.auth.renew_copies().await.unwrap();
    assert!(!world.is_valid(&token.secret).await);
}

/// Time runs, copies are renewed and others ask, all the while.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_that_ends_while_its_copies_are_renewed_is_never_valid_after_the_reply() {
    let world = Arc::new(World::with(|setup| setup.config.limits.token = "100000000/1m".parse().unwrap()).await);
    for round in 0..40 {
        let ann = world.ann().await;
        let token = world.token(&ann).await;
        assert!(world.is_valid(&token.secret).await);
        // A request is made at one time; its service JWT would not outlive many steps.
        let time = Arc::new(RwLock::new(()));
        let ended = Arc::new(AtomicBool::new(false));
        let mut beside = JoinSet::new();
        for _ in 0..2 {
            let (world, time, ended, secret) = (world.clone(), time.clone(), ended.clone(), token.secret.clone());
            beside.spawn(async move {
                loop {
                    let _still = time.read().await;
                    let too_late = ended.load(Ordering::SeqCst);
                    let is_valid = world.is_valid(&secret).await;
                    assert!(!(too_late && is_valid), "valid after its end had been answered");
                    if too_late {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        for _ in 0..2 {
            let (world, time, ended) = (world.clone(), time.clone(), ended.clone());
            beside.spawn(async move {
                let mut steps = 0;
                while !ended.load(Ordering::SeqCst) {
                    // Ann's session lasts 15 minutes.
                    if steps < 12 {
                        let _moves = time.write().await;
                        world.later(LATE).await;
                        steps += 1;
                    }
                    world.auth.renew_copies().await.unwrap();
                    tokio::task::yield_now().await;
                }
            });
        }
        for _ in 0..5 {
            let _still = time.read().await;
            assert!(world.is_valid(&token.secret).await);
        }
        let (path, expected) = if round % 2 == 0 {
            (world.delete(&format!("/tokens/{}", token.id)), 200)
        } else {
            (world.post(&format!("/tokens/{}/rotate", token.id)), 201)
        };
        let reply = path.by(&ann.access).await;
        ended.store(true, Ordering::SeqCst);
        reply.ok(expected);
        beside.join_all().await;
        world.auth.renew_copies().await.unwrap();
        assert!(!world.is_valid(&token.secret).await);
    }
}
