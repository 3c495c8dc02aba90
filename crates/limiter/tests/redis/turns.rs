//! What requests that come together ask goes out together, and each is told its own.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use domain::{Limit, Timestamp};
use futures_util::future::join_all;
use limiter::{Evidence, Limiter, LimiterState, Verdict};
use testkit::Redis;
use tokio::runtime::Builder;

use crate::subject::{instance, options};

const KEY: &str = "pat:4tY";
const NOW: Timestamp = Timestamp::from_millis(1_762_603_200_000);

/// Of each verdict what remains, or how long to wait.
async fn together(limiter: &Limiter, keys: &[&str], limit: Limit) -> Vec<Result<u32, Duration>> {
    let asking = keys.iter().map(|key| limiter.admit(key, limit, NOW));
    let verdicts = join_all(asking).await;
    let told = verdicts.into_iter().map(|verdict| match verdict {
        Verdict::Admitted(quota) => Ok(quota.remaining),
        Verdict::Refused { quota, retry_at } => {
            assert_eq!(quota.remaining, 0);
            Err(retry_at.since(NOW))
        }
        Verdict::Unsaved => panic!("Redis saves its windows itself"),
    });
    told.collect()
}

async fn scripts_run(redis: &Redis) -> u32 {
    let stats = redis.cli(&["info", "commandstats"]).await;
    let (_, calls) = stats.split_once("cmdstat_evalsha:calls=").unwrap();
    calls.split(',').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn those_who_ask_the_same_are_asked_for_once_and_told_in_turn() {
    let redis = Redis::start().await;
    let limiter = instance(&redis.url(), options(1)).await;
    let before = scripts_run(&redis).await;
    let told = together(&limiter, &[KEY; 100], Limit::per_minute(70)).await;
    let expected = (0..70).rev().map(Ok).chain([Err(Duration::from_mins(1)); 30]);
    assert_eq!(told, expected.collect::<Vec<_>>());
    // And heartbeats.
    assert!(scripts_run(&redis).await - before < 50);
}

#[tokio::test]
async fn strangers_in_one_turn_are_counted_each_for_themselves() {
    let redis = Redis::start().await;
    let limiter = instance(&redis.url(), options(1)).await;
    let told = together(&limiter, &["a", "b", "a", "c", "a", "b"], Limit::per_minute(2)).await;
    let later = Err(Duration::from_mins(1));
    assert_eq!(told, [Ok(1), Ok(1), Ok(0), Ok(1), later, Ok(0)]);

    // Equal but for what they show: a copy that is good, and one that is not.
    let limit = Limit::per_minute(100);
    let (_, first) = limiter.admit_read(KEY, Evidence::default(), limit, NOW).await;
    let (_, good) = limiter.admit_read(KEY, first, limit, NOW).await;
    let _ = limiter.mark_stale(KEY, 2, Duration::from_mins(1), NOW).await;
    let (new, old, counted) = tokio::join!(
        limiter.admit_copy(KEY, 2, good, limit, NOW),
        limiter.admit_copy(KEY, 1, good, limit, NOW),
        limiter.admit(KEY, limit, NOW),
    );
    assert!(matches!(new, limiter::CopyVerdict::Counted(Verdict::Admitted(_))), "{new:?}");
    assert_eq!(old, limiter::CopyVerdict::Stale);
    let Verdict::Admitted(quota) = counted else { panic!("{counted:?}") };
    assert_eq!(quota.remaining, 96);
}

/// A client that hangs up is no failure of Redis's, and is not counted.
#[tokio::test]
async fn whoever_leaves_before_the_trip_is_not_asked_for() {
    let redis = Redis::start().await;
    let limiter = instance(&redis.url(), options(1)).await;
    let limit = Limit::per_minute(100);
    for _ in 0..10 {
        let mut asking = Box::pin(limiter.admit(KEY, limit, NOW));
        poll_fn(|context| {
            assert!(asking.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(asking);
        tokio::task::yield_now().await;
    }
    assert_eq!(limiter.state(), LimiterState::InRedis);
    assert_eq!(limiter.peek(KEY, limit, NOW).await.remaining, 100);
}

/// As services answer requests: each thread has a runtime and, before long, a connection of its own.
#[tokio::test(flavor = "multi_thread")]
async fn threads_with_connections_of_their_own_share_one_window() {
    const THREADS: usize = 3;
    let redis = Redis::start().await;
    let limiter = instance(&redis.url(), options(1)).await;
    let connections = async || redis.cli(&["client", "list"]).await.lines().count();
    let others = connections().await;
    let (start, _) = tokio::sync::broadcast::channel(1);
    let answering: Vec<_> = (0..THREADS)
        .map(|_| {
            let (limiter, mut started) = (limiter.clone(), start.subscribe());
            std::thread::spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    assert!(matches!(limiter.admit("warming", Limit::per_minute(9), NOW).await, Verdict::Admitted(_)));
                    started.recv().await.unwrap();
                    let told = together(&limiter, &[KEY; 400], Limit::per_minute(1_000)).await;
                    told.into_iter().flatten().collect::<Vec<_>>()
                })
            })
        })
        .collect();
    for _ in 0..3_000 {
        if connections().await == others + THREADS {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(connections().await, others + THREADS);
    start.send(()).unwrap();
    let told = answering.into_iter().flat_map(|thread| tokio::task::block_in_place(|| thread.join().unwrap()));
    let mut told: Vec<u32> = told.collect();
    told.sort_unstable();
    assert!(told.into_iter().eq(0..1_000), "each request was told another number");
    assert_eq!(limiter.state(), LimiterState::InRedis);
}

/// Their thread was to ask for others too, who must not wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn whose_runtime_ends_before_they_are_asked_for_goes_on_without() {
    let redis = Redis::start().await;
    let limiter = instance(&redis.url(), options(1)).await;
    let limit = Limit::per_minute(100);
    let mut asking = Box::pin(limiter.admit(KEY, limit, NOW));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(poll_fn(|context| {
                assert!(asking.as_mut().poll(context).is_pending());
                Poll::Ready(())
            }));
        });
    });
    let share = asking.await;
    assert!(matches!(share, Verdict::Admitted(quota) if quota.limit == 10), "{share:?}");
    let whole = limiter.admit(KEY, limit, NOW).await;
    assert!(matches!(whole, Verdict::Admitted(quota) if quota.limit == 100), "{whole:?}");
}
