//! A copy is trusted only while Redis is known to hold whatever mark was set since the copy was read.

use std::time::Duration;

use domain::{Limit, Timestamp};
use limiter::{CopyVerdict, Evidence, Limiter, LimiterState, Marked, Verdict};
use testkit::Redis;

use crate::subject::{counts, instance, options};

const KEY: &str = "pat:4tY";
const LIMIT: Limit = Limit::per_minute(1_000_000);
const NOW: Timestamp = Timestamp::from_millis(1_762_603_200_000);

/// After a reading of the credential; `before` is what was known before it.
async fn read(limiter: &Limiter, before: Evidence) -> Evidence {
    let (verdict, evidence) = limiter.admit_read(KEY, before, LIMIT, NOW).await;
    assert!(matches!(verdict, Verdict::Admitted(_)));
    evidence
}

async fn is_trusted(limiter: &Limiter, evidence: Evidence) -> bool {
    match limiter.admit_copy(KEY, 1, evidence, LIMIT, NOW).await {
        CopyVerdict::Counted(Verdict::Admitted(_)) => true,
        CopyVerdict::Counted(Verdict::Refused { .. } | Verdict::Unsaved) => panic!("refused"),
        CopyVerdict::Stale => false,
    }
}

#[tokio::test]
async fn a_copy_is_trusted_when_the_nonce_was_known_before_it_was_read() {
    let redis = Redis::start().await;
    let (here, there) = (instance(&redis.url(), options(1)).await, instance(&redis.url(), options(2)).await);
    let first = read(&here, Evidence::default()).await;
    assert!(!is_trusted(&here, first).await, "what was lost before the first reading, nobody knows");
    let second = read(&here, first).await;
    assert!(is_trusted(&here, second).await);
    let of_there = read(&there, Evidence::default()).await;
    assert!(!is_trusted(&there, of_there).await, "each instance for itself");
    assert!(is_trusted(&there, read(&there, of_there).await).await);
    assert!(is_trusted(&here, second).await);
    assert!(!is_trusted(&here, Evidence::default()).await);
}

/// The order that would bring a deleted token back: read, deleted and marked elsewhere, the mark lost, then registered.
#[tokio::test]
async fn what_was_read_before_a_mark_that_was_lost_is_not_trusted() {
    let redis = Redis::start().await;
    let (here, there) = (instance(&redis.url(), options(1)).await, instance(&redis.url(), options(2)).await);
    for loss in [&["flushall"][..], &["del", "afd:pat:4tY"]] {
        let before = read(&here, read(&here, Evidence::default()).await).await;
        assert!(is_trusted(&here, before).await);
        // Here somebody reads the database again, slowly, and meanwhile:
        assert_eq!(there.mark_stale(KEY, i64::MAX, Duration::from_mins(1), NOW).await, Marked::Everywhere);
        redis.cli(loss).await;
        assert!(!is_trusted(&here, before).await, "nor is what was trusted before");
        let registered = read(&here, before).await;
        assert!(!is_trusted(&here, registered).await);
        // The next request reads the database, and finds out.
    }
}

#[tokio::test]
async fn copies_do_not_outlive_a_connection() {
    let mut redis = Redis::start().await;
    let limiter = instance(&redis.url(), options(1)).await;
    let evidence = read(&limiter, read(&limiter, Evidence::default()).await).await;
    assert!(is_trusted(&limiter, evidence).await);

    redis.restart().await;
    // Found out by the first who asks, or by nobody's asking.
    assert!(!is_trusted(&limiter, evidence).await);
    counts(&limiter, LimiterState::InRedis).await;
    assert!(!is_trusted(&limiter, evidence).await);
    let once = read(&limiter, evidence).await;
    assert!(!is_trusted(&limiter, once).await);
    assert!(is_trusted(&limiter, read(&limiter, once).await).await);
}

#[tokio::test]
async fn a_mark_that_redis_does_not_know_of_counts_here() {
    let redis = Redis::start().await;
    let (here, there) = (instance(&redis.url(), options(1)).await, instance(&redis.url(), options(2)).await);
    let mine = read(&here, read(&here, Evidence::default()).await).await;
    let theirs = read(&there, read(&there, Evidence::default()).await).await;
    here.mark_stale_here(KEY, i64::MAX, Duration::from_mins(1), NOW);
    assert!(!is_trusted(&here, mine).await && is_trusted(&there, theirs).await);
}
