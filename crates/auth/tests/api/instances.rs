//! Several instances that share a Redis, and what each of them does when it alone, or all of them, have lost it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use auth::AuthService;
use limiter::{RedisOptions, Timekeeper};
use secrecy::SecretString;
use testkit::{Redis, seeded_chance};

use crate::world::{Token, World};

const MILLISECOND: Duration = Duration::from_millis(1);

async fn connect(redis: &Redis, seed: u64) -> limiter::Redis {
    let options = RedisOptions {
        timeout: 2_000 * MILLISECOND,
        fallback_divisor: NonZeroU32::new(10).unwrap(),
        timekeeper: Timekeeper::Caller,
        chance: seeded_chance(seed),
    };
    limiter::Redis::connect(&SecretString::from(redis.url()), options).await.unwrap()
}

/// What an instance does all the time beside its requests.
fn keep_looking(auth: &Arc<AuthService>) {
    let looking = Arc::downgrade(auth);
    tokio::spawn(async move {
        while let Some(auth) = looking.upgrade() {
            auth.look().await.unwrap();
            drop(auth);
            tokio::time::sleep(200 * MILLISECOND).await;
        }
    });
}

/// An instance for each of these.
async fn instances(of: &[&Redis]) -> Vec<World> {
    let redis = connect(of[0], 1_000).await;
    let mut instances = vec![World::with(|setup| setup.redis = Some(redis)).await];
    for (number, of) in (1..).zip(&of[1..]) {
        let redis = connect(of, 1_000 + number).await;
        let instance = instances[instances.len() - 1].beside(|setup| setup.redis = Some(redis)).await;
        instances.push(instance);
    }
    for instance in &instances {
        keep_looking(&instance.auth);
        instance.look().await;
    }
    instances
}

/// A token of which every instance has a copy that it trusts.
async fn warm_token(instances: &[World], owner: &crate::world::Person) -> Token {
    let token = instances[0].token(owner).await;
    for instance in instances {
        for _ in 0..3 {
            assert!(instance.is_valid(&token.secret).await);
        }
    }
    token
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_are_trusted_without_the_database_and_only_until_it_is_missed() {
    let redis = Redis::start().await;
    let world = instances(&[&redis]).await.remove(0);
    let ann = world.ann().await;
    let token = warm_token(std::slice::from_ref(&world), &ann).await;
    world.store.close().await;
    assert!(world.is_valid(&token.secret).await, "from the copy");
    world.clock.advance(auth::TRUST);
    world.validate(&token.secret).await.fails(503, "UNAVAILABLE");
}

/// What Redis has to show for a copy is kept with the one that replaces it, and is asked for all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn renewed_copies_are_trusted_until_redis_says_otherwise() {
    let redis = Redis::start().await;
    let worlds = instances(&[&redis, &redis]).await;
    let ann = worlds[0].ann().await;
    let [deleted, kept] = [warm_token(&worlds, &ann).await, warm_token(&worlds, &ann).await];
    let renewed = async |tokens: &[&Token]| {
        // First, since it forgets everything when the other instance has written to the file.
        worlds[1].look().await;
        for token in tokens.iter().cycle().take(3 * tokens.len()) {
            assert!(worlds[1].is_valid(&token.secret).await);
        }
        worlds[1].later(27_000 * MILLISECOND).await;
        for token in tokens {
            assert!(worlds[1].is_valid(&token.secret).await);
        }
        worlds[1].auth.renew_copies().await.unwrap();
    };
    renewed(&[&deleted, &kept]).await;
    worlds[0].delete(&format!("/tokens/{}", deleted.id)).by(&ann.access).await.ok(200);
    assert!(!worlds[1].is_valid(&deleted.secret).await);

    renewed(&[&kept]).await;
    worlds[1].later(27_000 * MILLISECOND).await;
    worlds[1].store.close().await;
    assert!(worlds[1].is_valid(&kept.secret).await, "from the renewed copy");
    redis.cli(&["flushall"]).await;
    worlds[1].validate(&kept.secret).await.fails(503, "UNAVAILABLE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_changed_by_one_instance_shows_at_once_on_all() {
    let redis = Redis::start().await;
    let worlds = instances(&[&redis, &redis]).await;
    let ann = worlds[0].ann().await;
    let token = warm_token(&worlds, &ann).await;
    for (round, world) in [0, 1, 0, 1, 0].into_iter().enumerate() {
        let name = format!("name {round}");
        let patch = worlds[world].call(http::Method::PATCH, "/account/profile").by(&ann.access);
        patch.json(&serde_json::json!({ "displayName": name })).await.ok(200);
        for world in &worlds {
            let body = serde_json::json!({ "token": token.secret, "withUser": true });
            let validation = world.post("/tokens/validate").by(&world.service_jwt().sign()).json(&body);
            assert_eq!(validation.await.ok(200)["user"]["displayName"], name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_one_instance_ends_is_dead_on_all() {
    let redis = Redis::start().await;
    let worlds = instances(&[&redis, &redis, &redis]).await;
    for round in 0..20 {
        let ann = worlds[round % 3].ann().await;
        let [deleted, rotated] = [warm_token(&worlds, &ann).await, warm_token(&worlds, &ann).await];
        worlds[0].delete(&format!("/tokens/{}", deleted.id)).by(&ann.access).await.ok(200);
        worlds[1].post(&format!("/tokens/{}/rotate", rotated.id)).by(&ann.access).await.ok(201);
        for world in &worlds {
            assert!(!world.is_valid(&deleted.secret).await && !world.is_valid(&rotated.secret).await);
            assert!(world.is_valid(&ann.access).await && world.is_valid(&ann.access).await);
        }
        worlds[2].post("/auth/logout").by(&ann.access).await.ok(200);
        for world in &worlds {
            assert!(!world.is_valid(&ann.access).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_account_that_was_deleted_is_dead_on_all() {
    let redis = Redis::start().await;
    let worlds = instances(&[&redis, &redis]).await;
    let ann = worlds[0].ann().await;
    let token = warm_token(&worlds, &ann).await;
    worlds[0].delete("/account/profile").by(&ann.access).await.ok(200);
    assert!(!worlds[1].is_valid(&token.secret).await && !worlds[1].is_valid(&ann.access).await);
}

/// The others see a Redis that works, and hear nothing from the one that cannot reach it but through the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_instance_that_alone_has_lost_redis_still_ends_tokens_everywhere() {
    let (common, mut own) = (Redis::start().await, Redis::start().await);
    let worlds = instances(&[&own, &common, &common]).await;
    let ann = worlds[1].ann().await;
    let [first, second] = [warm_token(&worlds, &ann).await, warm_token(&worlds, &ann).await];
    own.freeze();
    worlds[0].delete(&format!("/tokens/{}", first.id)).by(&ann.access).await.ok(200);
    for world in &worlds {
        assert!(!world.is_valid(&first.secret).await);
    }
    own.thaw();
    own.kill().await;
    worlds[0].delete(&format!("/tokens/{}", second.id)).by(&ann.access).await.ok(200);
    for world in &worlds {
        assert!(!world.is_valid(&second.secret).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_mark_that_redis_forgets_brings_nothing_back() {
    let mut redis = Redis::start().await;
    let worlds = instances(&[&redis, &redis]).await;
    let ann = worlds[0].ann().await;
    for round in 0..3 {
        let token = warm_token(&worlds, &ann).await;
        worlds[0].delete(&format!("/tokens/{}", token.id)).by(&ann.access).await.ok(200);
        if round == 0 {
            redis.cli(&["flushall"]).await;
        } else {
            redis.restart().await;
        }
        for world in &worlds {
            assert!(!world.is_valid(&token.secret).await && !world.is_valid(&token.secret).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_one_instance_ends_stays_dead_on_all_when_their_clock_is_set() {
    let redis = Redis::start().await;
    let worlds = instances(&[&redis, &redis]).await;
    for by in [-3_600_000, 3_600_000] {
        let ann = worlds[0].ann().await;
        let token = warm_token(&worlds, &ann).await;
        worlds[0].clock.set_by(by);
        let jwt = worlds[0].service_jwt().user(&ann.id).sign();
        worlds[0].delete(&format!("/tokens/{}", token.id)).by(&jwt).await.ok(200);
        for _ in 0..100 {
            for world in &worlds {
                assert!(!world.is_valid(&token.secret).await);
                world.look().await;
            }
            worlds[0].clock.advance(1_000 * MILLISECOND);
        }
        worlds[0].clock.set_by(-by);
    }
}

/// Ending an account marks nothing in Redis: every instance is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_mark_for_everything_of_one_owner_waits_for_all_instances() {
    let redis = Redis::start().await;
    let worlds = instances(&[&redis, &redis, &redis]).await;
    let bob = worlds[0].bob().await;
    let kept = warm_token(&worlds, &bob).await;
    for _ in 0..10 {
        let ann = worlds[0].ann().await;
        let token = warm_token(&worlds, &ann).await;
        worlds[1].delete("/account/profile").by(&ann.access).await.ok(200);
        for world in &worlds {
            assert!(!world.is_valid(&token.secret).await && !world.is_valid(&ann.access).await);
            assert!(world.is_valid(&kept.secret).await);
        }
    }
}

/// There is to be one, but an upgrade may start the next before it stops the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_redis_two_that_overlap_know_as_well() {
    let first = World::new().await;
    let worlds = [first.beside(|_| {}).await, first];
    for world in &worlds {
        keep_looking(&world.auth);
    }
    for round in 0..20 {
        let ann = worlds[round % 2].ann().await;
        let token = warm_token(&worlds, &ann).await;
        worlds[0].delete(&format!("/tokens/{}", token.id)).by(&ann.access).await.ok(200);
        assert!(!worlds[1].is_valid(&token.secret).await, "round {round}");
        worlds[0].post("/auth/logout").by(&ann.access).await.ok(200);
        assert!(!worlds[1].is_valid(&ann.access).await, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_users_exchanges_are_counted_together_by_all_instances() {
    let redis = Redis::start().await;
    let connections = [connect(&redis, 2_000).await, connect(&redis, 2_001).await];
    let [one, other] = connections.map(Some);
    let capped = |redis| {
        move |setup: &mut crate::world::Setup| {
            setup.redis = redis;
            setup.config.limits.exchanges = domain::Limit::per_minute(7);
        }
    };
    let first = World::with(capped(one)).await;
    let worlds = [first.beside(capped(other)).await, first];
    let ann = worlds[0].ann().await;
    let token = worlds[0].token(&ann).await.secret;
    let form = format!(
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={token}&subject_token_type=\
         urn:ietf:params:oauth:token-type:access_token"
    );
    let replies = crate::client::parallel(30, |number| {
        let post = worlds[number % 2].post("/oauth/token");
        post.body("application/x-www-form-urlencoded", form.clone()).into_future()
    });
    let done = replies.await.into_iter().filter(|reply| reply.status == 200).count();
    assert_eq!((done, worlds[0].count_events(&ann, "token.exchanged").await), (7, 7));
}
