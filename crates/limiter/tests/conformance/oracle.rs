//! The window against a list of every admitted moment.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use domain::{Limit, Timestamp};
use limiter::{Limiter, Verdict};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Handle;

/// A limit and the pauses between requests: mostly short ones, some around a bucket, some around the whole window.
fn arrivals() -> impl Strategy<Value = (Limit, Vec<u64>)> {
    (1u32..20, prop_oneof![Just(1u64), Just(7), Just(60), Just(900)]).prop_flat_map(|(count, seconds)| {
        let window = seconds * 1000;
        let pause = prop_oneof![
            4 => 0..=window / 600 + 1,
            3 => 0..=window / 20,
            2 => 0..=window / 4,
            1 => window - 1..=window + window / 60 + 1,
        ];
        let limit = Limit { count, window: Duration::from_secs(seconds) };
        (Just(limit), prop::collection::vec(pause, 1..200))
    })
}

/// To be called on a thread where waiting is allowed.
pub(crate) fn random_arrivals_agree_with_brute_force(limiter: &Limiter, cases: u32) {
    let keys = AtomicU32::new(0);
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
        .run(&arrivals(), |(limit, pauses)| {
            let key = format!("key {}", keys.fetch_add(1, Ordering::Relaxed));
            Handle::current().block_on(check(limiter, &key, limit, &pauses))
        })
        .unwrap();
}

async fn check(limiter: &Limiter, key: &str, limit: Limit, pauses: &[u64]) -> Result<(), TestCaseError> {
    let bucket = Duration::from_millis(u64::try_from(limit.window.as_millis().div_ceil(60)).unwrap());
    let mut admitted: Vec<Timestamp> = Vec::new();
    let within = |admitted: &[Timestamp], now: Timestamp, length: Duration| {
        u32::try_from(admitted.iter().filter(|moment| now.since(**moment) < length).count()).unwrap()
    };
    let mut now = Timestamp::from_millis(1_762_603_234_567);
    for &pause in pauses {
        now = now.plus(Duration::from_millis(pause));
        let in_window = within(&admitted, now, limit.window);
        let in_window_and_bucket = within(&admitted, now, limit.window + bucket);
        let before = limiter.peek(key, limit, now).await;
        match limiter.admit(key, limit, now).await {
            Verdict::Unsaved => prop_assert!(false, "nothing is saved here"),
            Verdict::Admitted(quota) => {
                prop_assert!(in_window < limit.count, "one too many");
                prop_assert!(quota.remaining < limit.count - in_window, "promises more than there is");
                prop_assert!(quota.remaining + 1 + in_window_and_bucket >= limit.count, "holds more than a bucket");
                prop_assert_eq!(quota.remaining + 1, before.remaining);
                admitted.push(now);
            }
            Verdict::Refused { quota, retry_at } => {
                prop_assert!(in_window_and_bucket >= limit.count, "refused more than a bucket early");
                prop_assert_eq!(quota, before);
                prop_assert_eq!(quota.remaining, 0);
                prop_assert!(retry_at > now && retry_at.since(now) <= limit.window);
                prop_assert_eq!(limiter.peek(key, limit, now).await, quota);
            }
        }
    }
    the_time_to_retry_is_true(limiter, key, limit, now).await?;

    let idle = now.plus(limit.window * 2);
    prop_assert_eq!(limiter.peek(key, limit, idle).await.remaining, limit.count);
    Ok(())
}

async fn the_time_to_retry_is_true(
    limiter: &Limiter,
    key: &str,
    limit: Limit,
    now: Timestamp,
) -> Result<(), TestCaseError> {
    loop {
        let Verdict::Refused { retry_at, .. } = limiter.admit(key, limit, now).await else { continue };
        let just_before = limiter.admit(key, limit, retry_at.minus(Duration::from_millis(1))).await;
        prop_assert!(matches!(just_before, Verdict::Refused { .. }), "it could have been sooner");
        prop_assert!(matches!(limiter.admit(key, limit, retry_at).await, Verdict::Admitted(_)), "it is too soon");
        return Ok(());
    }
}
