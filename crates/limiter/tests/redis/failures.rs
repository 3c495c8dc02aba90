//! Redis killed, hung, restarted empty, failed over: never unlimited, never stuck, and back by itself.

use std::sync::Arc;
use std::time::Duration;

use domain::{Limit, Timestamp};
use limiter::{CopyVerdict, Evidence, Limiter, LimiterState, Marked, RedisOptions, Verdict};
use testkit::{Redis, RedisCluster};
use tokio::time::Instant;

use crate::subject::{counts, instance, options};

pub(crate) const KEY: &str = "pat:4tY";
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_762_603_200_000);
const INSTANCES: u32 = 3;

pub(crate) async fn three(url: &str, options: impl Fn(u64) -> RedisOptions) -> Vec<Arc<Limiter>> {
    let mut instances = Vec::new();
    for seed in 1..=u64::from(INSTANCES) {
        instances.push(instance(url, options(seed)).await);
    }
    instances
}

/// How many of `each` requests on every instance are admitted, all at once.
async fn burst(instances: &[Arc<Limiter>], limit: Limit, each: u32, now: Timestamp) -> u32 {
    let mut asking = tokio::task::JoinSet::new();
    for limiter in instances {
        for _ in 0..each {
            let limiter = Arc::clone(limiter);
            asking.spawn(async move { matches!(limiter.admit(KEY, limit, now).await, Verdict::Admitted(_)) });
        }
    }
    asking.join_all().await.into_iter().map(u32::from).sum()
}

pub(crate) async fn all(instances: &[Arc<Limiter>], state: LimiterState) {
    for limiter in instances {
        counts(limiter, state).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_instances_admit_exactly_the_limit() {
    let redis = Redis::start().await;
    let instances = three(&redis.url(), options).await;
    assert_eq!(burst(&instances, Limit::per_minute(1_000), 667, NOW).await, 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_instance_grants_its_share_and_with_it_again_all_of_it() {
    let mut redis = Redis::start().await;
    let instances = three(&redis.url(), options).await;
    redis.kill().await;
    let limit = Limit::per_minute(100);
    assert_eq!(burst(&instances, limit, 100, NOW).await, INSTANCES * 10);
    all(&instances, LimiterState::Fallback).await;
    let strict = Limit { count: 5, window: Duration::from_mins(15) };
    let single = instances[0].admit("mailbox:a@example.com", strict, NOW).await;
    let Verdict::Admitted(quota) = single else { panic!("at least one") };
    assert_eq!((quota.limit, quota.remaining), (1, 0));
    assert_eq!(instances[0].mark_stale(KEY, 1, Duration::from_mins(1), NOW).await, Marked::HereOnly);

    redis.restart().await;
    all(&instances, LimiterState::InRedis).await;
    // It came back empty: in the window that it forgot, the share is all there is.
    assert_eq!(burst(&instances, limit, 100, NOW).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_forgot_is_not_admitted_again() {
    let mut redis = Redis::start().await;
    let instances = three(&redis.url(), options).await;
    let limit = Limit::per_minute(300);
    let before = burst(&instances, limit, 150, NOW).await;
    assert_eq!(before, 300);
    redis.restart().await;
    let during = burst(&instances, limit, 100, NOW).await;
    all(&instances, LimiterState::InRedis).await;
    let after = burst(&instances, limit, 300, NOW).await;
    assert!(during + after <= INSTANCES * 30, "{during} and {after} beyond the limit");
}

/// The connection to a Redis that came back empty is lost once more, and this time its memory stays.
#[tokio::test(flavor = "multi_thread")]
async fn what_redis_forgot_is_not_admitted_again_either_after_the_next_interruption() {
    let mut redis = Redis::start().await;
    let instances = three(&redis.url(), options).await;
    let limit = Limit::per_minute(300);
    assert_eq!(burst(&instances, limit, 150, NOW).await, 300);
    redis.restart().await;
    let mut again = burst(&instances, limit, 100, NOW).await;
    all(&instances, LimiterState::InRedis).await;
    redis.freeze();
    again += burst(&instances, limit, 100, NOW).await;
    all(&instances, LimiterState::Fallback).await;
    redis.thaw();
    all(&instances, LimiterState::InRedis).await;
    again += burst(&instances, limit, 300, NOW).await;
    assert!(again <= INSTANCES * 30, "{again} beyond the limit");
}

/// A second's window passes quickly, and with it the time in which a Redis that came back empty is not relied on.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_later_the_whole_limit_is_back() {
    let mut redis = Redis::start().await;
    let instances = three(&redis.url(), options).await;
    let limit = Limit { count: 300, window: Duration::from_secs(1) };
    redis.restart().await;
    assert!(burst(&instances, limit, 100, NOW).await <= INSTANCES * 30);
    all(&instances, LimiterState::InRedis).await;
    tokio::time::sleep(limit.window).await;
    assert_eq!(burst(&instances, limit, 150, NOW.plus(2 * limit.window)).await, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_redis_costs_a_bounded_time_once() {
    let redis = Redis::start().await;
    let timeout = Duration::from_millis(250);
    let limiter = instance(&redis.url(), RedisOptions { timeout, ..options(1) }).await;
    let limit = Limit::per_minute(1_000);
    let (_, before) = limiter.admit_read(KEY, Evidence::default(), limit, NOW).await;
    let (_, evidence) = limiter.admit_read(KEY, before, limit, NOW).await;
    redis.freeze();

    // All at once: they wait together.
    assert_eq!(burst(&[Arc::clone(&limiter)], limit, 1_000, NOW).await, 98, "and two were admitted before");
    counts(&limiter, LimiterState::Fallback).await;
    let started = Instant::now();
    for _ in 0..1_000 {
        assert!(matches!(limiter.admit(KEY, limit, NOW).await, Verdict::Refused { .. }));
        assert_eq!(limiter.admit_copy(KEY, 1, evidence, limit, NOW).await, CopyVerdict::Stale);
    }
    assert!(started.elapsed() < 8 * timeout, "two thousand requests did not wait for it");

    redis.thaw();
    counts(&limiter, LimiterState::InRedis).await;
    let Verdict::Admitted(quota) = limiter.admit(KEY, limit, NOW).await else { panic!("it kept its memory") };
    assert_eq!(quota.limit, 1_000);
}

#[tokio::test]
async fn a_redis_that_is_not_there_at_the_start_is_used_when_it_comes() {
    let mut redis = Redis::start().await;
    redis.kill().await;
    let limiter = instance(&redis.url(), options(1)).await;
    assert_eq!(limiter.state(), LimiterState::Fallback);
    assert!(matches!(limiter.admit(KEY, Limit::per_minute(9), NOW).await, Verdict::Admitted(_)));
    redis.restart().await;
    counts(&limiter, LimiterState::InRedis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_counts_as_one_and_survives_a_failover() {
    let mut cluster = RedisCluster::start().await;
    let instances = three(&cluster.url(), options).await;
    all(&instances, LimiterState::InRedis).await;
    let limit = Limit::per_minute(300);
    assert_eq!(burst(&instances, limit, 150, NOW).await, 300);
    for n in 0..50 {
        // On all nodes.
        let verdict = instances[0].admit(&format!("pat:{n}"), limit, NOW).await;
        assert!(matches!(verdict, Verdict::Admitted(quota) if quota.limit == 300), "{verdict:?}");
    }

    let master = cluster.master_of(&format!("afd:{KEY}")).await;
    assert_eq!(master.cli(&["wait", "1", "10000"]).await, "1");
    master.kill().await;
    let during = burst(&instances, limit, 50, NOW).await;
    cluster.healed().await;
    for limiter in &instances {
        // Whoever still believes in the old master finds out.
        for _ in 0..300 {
            let verdict = limiter.admit("pat:another", limit, NOW).await;
            if limiter.state() == LimiterState::InRedis && matches!(verdict, Verdict::Admitted(_)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        counts(limiter, LimiterState::InRedis).await;
    }
    let after = burst(&instances, limit, 100, NOW).await;
    assert!(during + after <= INSTANCES * 30, "{during} and {after} beyond the limit");
}
