//! What a server can do to a limiter, and what it costs it.

use std::time::Duration;

use domain::{Limit, Timestamp};
use limiter::{LimiterState, Verdict};
use testkit::Redis;

use crate::subject::{counts, instance, options};

const KEY: &str = "pat:4tY";

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_762_603_200_000 + millis)
}

/// Sixty-one busy buckets under a mark: no key holds more.
#[tokio::test]
async fn a_key_takes_less_than_a_kilobyte() {
    let redis = Redis::start().await;
    let limiter = instance(&redis.url(), options(1)).await;
    let limit = Limit::per_minute(1_000_000);
    for second in 0..200 {
        for millis in [0, 999] {
            let verdict = limiter.admit(KEY, limit, at(second * 1_000 + millis)).await;
            assert!(matches!(verdict, Verdict::Admitted(_)));
        }
    }
    let _ = limiter.mark_stale(KEY, i64::MAX, Duration::from_mins(1), at(200_000)).await;
    let bytes: u32 = redis.cli(&["memory", "usage", "afd:pat:4tY"]).await.parse().unwrap();
    assert!(bytes < 1_024, "{bytes} bytes");
    let lives: u32 = redis.cli(&["pttl", "afd:pat:4tY"]).await.parse().unwrap();
    assert!((60_000..=92_000).contains(&lives), "{lives} ms");
}

#[tokio::test]
async fn scripts_that_were_flushed_are_loaded_again() {
    let redis = Redis::start().await;
    let limiter = instance(&redis.url(), options(1)).await;
    let limit = Limit::per_minute(3);
    for _ in 0..3 {
        assert!(matches!(limiter.admit(KEY, limit, at(0)).await, Verdict::Admitted(_)));
        assert_eq!(redis.cli(&["script", "flush"]).await, "OK");
    }
    assert!(matches!(limiter.admit(KEY, limit, at(0)).await, Verdict::Refused { .. }));
    assert_eq!(limiter.state(), LimiterState::InRedis);
    assert_eq!(redis.cli(&["info", "commandstats"]).await.matches("cmdstat_evalsha").count(), 1);
}

/// The server's own clock, as in production: nobody's `now` moves the window.
#[tokio::test]
async fn windows_move_by_the_servers_clock() {
    let redis = Redis::start().await;
    let options = limiter::RedisOptions { timekeeper: limiter::Timekeeper::Redis, ..options(1) };
    let limiter = instance(&redis.url(), options).await;
    let limit = Limit { count: 1, window: Duration::from_secs(1) };
    assert!(matches!(limiter.admit(KEY, limit, at(0)).await, Verdict::Admitted(_)));
    let Verdict::Refused { retry_at, .. } = limiter.admit(KEY, limit, at(86_400_000)).await else { panic!("admitted") };
    let wait = retry_at.since(at(86_400_000));
    assert!(wait > Duration::ZERO && wait <= limit.window, "{wait:?}");
    tokio::time::sleep(wait).await;
    assert!(matches!(limiter.admit(KEY, limit, at(0)).await, Verdict::Admitted(_)));
}

#[tokio::test]
async fn passwords_and_users_are_those_of_the_url() {
    let redis =
        Redis::with(&["--requirepass", "open sesame", "--user", "auth", "on", ">secret", "~afd:*", "+@all"]).await;
    let address = format!("127.0.0.1:{}", redis.port());
    for url in [format!("redis://:open%20sesame@{address}"), format!("redis://auth:secret@{address}")] {
        let limiter = instance(&url, options(1)).await;
        assert_eq!(limiter.state(), LimiterState::InRedis);
        assert!(matches!(limiter.admit(KEY, Limit::per_minute(9), at(0)).await, Verdict::Admitted(_)));
    }
    for url in [format!("redis://{address}"), format!("redis://auth:wrong@{address}")] {
        let limiter = instance(&url, options(1)).await;
        counts(&limiter, LimiterState::Fallback).await;
    }
}
