//! What every limiter has to hold, as functions over a fresh one. Time is what they say it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::{Limit, Timestamp};
use limiter::{CopyVerdict, Evidence, Limiter, Marked, Quota, Verdict};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

mod oracle;

/// The requirements that any limiter has to meet, each as a test over one that `$limiter` makes. `$few` and `$many` are
/// rounds of parallel calls.
macro_rules! conforms {
    ($limiter:expr, $few:literal, $many:literal) => {
        crate::conformance::conforms!(@each $limiter;
            the_quota_counts_down_and_tells_when_it_comes_back(),
            looking_consumes_nothing(),
            bursts_on_both_sides_of_an_edge_share_one_window(),
            a_full_limit_is_back_after_exactly_one_idle_window(),
            a_clock_set_back_admits_nobody_early_and_locks_nobody_out(),
            requests_that_overtake_each_other_admit_no_more(),
            parallel_requests_are_admitted_exactly_up_to_the_limit($few),
            a_mark_makes_older_copies_stale_while_it_lasts(),
            a_credential_and_its_id_have_one_window(),
            once_marked_no_older_copy_is_counted_again($many),
        );
    };
    (@each $limiter:expr; $($requirement:ident($($rounds:literal)?),)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
        async fn $requirement() {
            let (limiter, _server) = $limiter.await;
            crate::conformance::$requirement(&limiter, $($rounds)?).await;
        })*
    };
}
pub(crate) use conforms;

pub(crate) use oracle::random_arrivals_agree_with_brute_force;

const KEY: &str = "pat:4tY";
const MINUTE: Duration = Duration::from_mins(1);

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_762_603_200_000 + millis)
}

fn is_admitted(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Admitted(_))
}

/// How many of `asked` requests made at once are admitted.
async fn burst(limiter: &Limiter, key: &str, limit: Limit, asked: u32, now: Timestamp) -> u32 {
    let mut admitted = 0;
    for _ in 0..asked {
        admitted += u32::from(is_admitted(limiter.admit(key, limit, now).await));
    }
    admitted
}

/// What a credential's copy has to show after its credential was read twice, each time counted.
async fn evidence(limiter: &Limiter, id: &str, limit: Limit, now: Timestamp) -> Evidence {
    let (first, before) = limiter.admit_read(id, Evidence::default(), limit, now).await;
    let (second, evidence) = limiter.admit_read(id, before, limit, now).await;
    assert!(is_admitted(first) && is_admitted(second));
    evidence
}

pub(crate) async fn the_quota_counts_down_and_tells_when_it_comes_back(limiter: &Limiter) {
    let limit = Limit::per_minute(2);
    let quota = |remaining, reset_at| Quota { limit: 2, remaining, reset_at };

    assert_eq!(limiter.peek(KEY, limit, at(0)).await, quota(2, at(60_000)));
    assert_eq!(limiter.admit(KEY, limit, at(500)).await, Verdict::Admitted(quota(1, at(60_500))));
    assert_eq!(limiter.peek(KEY, limit, at(600)).await, quota(1, at(60_500)));
    assert_eq!(limiter.admit(KEY, limit, at(9_000)).await, Verdict::Admitted(quota(0, at(60_500))));
    let refused = Verdict::Refused { quota: quota(0, at(60_500)), retry_at: at(60_500) };
    assert_eq!(limiter.admit(KEY, limit, at(10_000)).await, refused);
    assert_eq!(limiter.admit(KEY, limit, at(60_499)).await, refused, "to be refused prolongs nothing");
    assert_eq!(limiter.admit(KEY, limit, at(60_500)).await, Verdict::Admitted(quota(0, at(69_000))));
    assert_eq!(limiter.peek("pat:another", limit, at(60_500)).await, quota(2, at(120_500)), "keys do not share");
}

pub(crate) async fn looking_consumes_nothing(limiter: &Limiter) {
    let limit = Limit::per_minute(1);
    for _ in 0..100 {
        assert_eq!(limiter.peek(KEY, limit, at(0)).await.remaining, 1);
    }
    assert_eq!(burst(limiter, KEY, limit, 1, at(0)).await, 1);
}

/// The weakness of fixed windows: twice the limit around the edge.
pub(crate) async fn bursts_on_both_sides_of_an_edge_share_one_window(limiter: &Limiter) {
    let limit = Limit::per_minute(100);
    let edge = 60_000 - at(0).as_millis().rem_euclid(60_000);
    assert_eq!(burst(limiter, KEY, limit, 150, at(edge - 1)).await, 100);
    for after in [0, 1, 999, 1_000, 30_000, 59_998] {
        assert_eq!(burst(limiter, KEY, limit, 150, at(edge + after)).await, 0, "{after} ms after the edge");
    }
    assert_eq!(burst(limiter, KEY, limit, 150, at(edge + 59_999)).await, 100);
}

pub(crate) async fn a_full_limit_is_back_after_exactly_one_idle_window(limiter: &Limiter) {
    let limit = Limit::per_minute(60);
    for n in 0..60 {
        assert!(is_admitted(limiter.admit(KEY, limit, at(n * 137)).await));
    }
    let last = 59 * 137;
    assert_eq!(limiter.peek(KEY, limit, at(last + 60_000)).await.remaining, 60);
    assert_eq!(burst(limiter, KEY, limit, 61, at(last + 60_000)).await, 60);
}

/// Small steps are requests that overtook each other, large ones a clock that was set.
pub(crate) async fn a_clock_set_back_admits_nobody_early_and_locks_nobody_out(limiter: &Limiter) {
    let limit = Limit::per_minute(10);
    for back in [1, 999, 1_000, 59_999, 60_000, 299_999, 300_001, 86_400_000, 1_600_000_000_000] {
        let key = format!("pat:{back}");
        assert_eq!(burst(limiter, &key, limit, 10, at(0)).await, 10);
        for elapsed in [0, 1, 30_000, 59_999] {
            assert_eq!(
                burst(limiter, &key, limit, 10, at(elapsed - back)).await,
                0,
                "{elapsed} ms after a step of {back}"
            );
        }
        let later = 59_999 - back + 360_000;
        assert_eq!(burst(limiter, &key, limit, 11, at(later)).await, 10, "a step of {back}");
    }
}

/// Were a late request taken for a clock set back, each would make its predecessors older than they are.
pub(crate) async fn requests_that_overtake_each_other_admit_no_more(limiter: &Limiter) {
    let limit = Limit { count: 10, window: Duration::from_secs(1) };
    let mut admitted = 0;
    for n in 0..1_000 {
        let overtaken_by = [0, 3_000, 1, 50_000][n % 4];
        admitted += burst(limiter, KEY, limit, 1, at(i64::try_from(n).unwrap() % 999 - overtaken_by)).await;
    }
    assert_eq!(admitted, 10);

    let limit = Limit::per_minute(2);
    assert_eq!(burst(limiter, "pat:two", limit, 1, at(500)).await, 1);
    assert_eq!(burst(limiter, "pat:two", limit, 1, at(400)).await, 1);
    assert_eq!(
        limiter.peek("pat:two", limit, at(60_499)).await.remaining,
        0,
        "the one from 500 is still in the window"
    );
}

pub(crate) async fn parallel_requests_are_admitted_exactly_up_to_the_limit(limiter: &Arc<Limiter>, rounds: u32) {
    const TASKS: u32 = 8;
    let limit = Limit::per_minute(500);
    for round in 0..rounds {
        let key = format!("pat:{round}");
        let start = Arc::new(Barrier::new(TASKS as usize));
        let mut asking = JoinSet::new();
        for task in 0..TASKS {
            let (limiter, key, start) = (Arc::clone(limiter), key.clone(), Arc::clone(&start));
            asking.spawn(async move {
                start.wait().await;
                let mut admitted = 0;
                for n in 0..125 {
                    // Each has read its own time a little before it got its turn.
                    admitted += burst(&limiter, &key, limit, 1, at(i64::from(n * 7 + task))).await;
                }
                admitted
            });
        }
        let admitted: u32 = asking.join_all().await.into_iter().sum();
        assert_eq!(admitted, limit.count, "round {round}");
    }
}

pub(crate) async fn a_mark_makes_older_copies_stale_while_it_lasts(limiter: &Limiter) {
    let limit = Limit::per_minute(12);
    let evidence = evidence(limiter, KEY, limit, at(0)).await;
    let remaining = async |version, now| match limiter.admit_copy(KEY, version, evidence, limit, now).await {
        CopyVerdict::Counted(Verdict::Admitted(quota)) => Some(quota.remaining),
        CopyVerdict::Counted(Verdict::Refused { .. } | Verdict::Unsaved) => panic!("refused"),
        CopyVerdict::Stale => None,
    };
    let mark = async |version, lasting, now| {
        let marked = limiter.mark_stale(KEY, version, Duration::from_millis(lasting), now).await;
        assert_eq!(marked, Marked::Everywhere);
    };

    assert_eq!(remaining(1, at(0)).await, Some(9));
    mark(2, 30_000, at(0)).await;
    assert_eq!(remaining(1, at(1)).await, None);
    assert_eq!(remaining(i64::MIN, at(29_999)).await, None);
    assert_eq!(remaining(2, at(1)).await, Some(8), "the copy is the new one; the stale calls were not counted");
    assert_eq!(remaining(3, at(1)).await, Some(7));
    assert_eq!(remaining(1, at(30_000)).await, Some(6), "by then no copy of the old version is left");

    mark(i64::MAX, 60_000, at(30_000)).await;
    mark(3, 55_000, at(40_000)).await;
    mark(3, 10_000, at(40_000)).await;
    assert_eq!(remaining(i64::MAX - 1, at(40_000)).await, None, "a deletion is not weakened by what comes late");
    assert_eq!(remaining(1, at(94_999)).await, None);
    assert_eq!(limiter.peek(KEY, limit, at(40_000)).await.remaining, 6);
    let other = self::evidence(limiter, "another", limit, at(40_000)).await;
    assert!(matches!(limiter.admit_copy("another", 0, other, limit, at(40_000)).await, CopyVerdict::Counted(_)));
}

/// The window of a credential is that of its id, so that a request that had to read the database counts like any other.
pub(crate) async fn a_credential_and_its_id_have_one_window(limiter: &Limiter) {
    let limit = Limit::per_minute(4);
    assert!(is_admitted(limiter.admit(KEY, limit, at(0)).await));
    let evidence = evidence(limiter, KEY, limit, at(0)).await;
    let by_copy = async || match limiter.admit_copy(KEY, 1, evidence, limit, at(0)).await {
        CopyVerdict::Counted(verdict) => is_admitted(verdict),
        CopyVerdict::Stale => panic!("stale"),
    };
    assert!(by_copy().await);
    assert!(!by_copy().await);
    assert!(!is_admitted(limiter.admit(KEY, limit, at(0)).await));
    assert!(!is_admitted(limiter.admit_read(KEY, evidence, limit, at(0)).await.0));
}

pub(crate) async fn once_marked_no_older_copy_is_counted_again(limiter: &Arc<Limiter>, rounds: u32) {
    const TASKS: usize = 7;
    let limit = Limit { count: u32::MAX, window: MINUTE };
    for round in 0..rounds {
        let id = format!("pat:{round}");
        let evidence = evidence(limiter, &id, limit, at(0)).await;
        let (start, marked) = (Arc::new(Barrier::new(TASKS + 1)), Arc::new(AtomicBool::new(false)));
        let mut asking = JoinSet::new();
        for _ in 0..TASKS {
            let (limiter, id, start, marked) = (Arc::clone(limiter), id.clone(), Arc::clone(&start), marked.clone());
            asking.spawn(async move {
                start.wait().await;
                loop {
                    let was_marked = marked.load(Ordering::SeqCst);
                    let verdict = limiter.admit_copy(&id, 1, evidence, limit, at(0)).await;
                    assert!(!was_marked || verdict == CopyVerdict::Stale, "round {round}: {verdict:?}");
                    if was_marked {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        start.wait().await;
        assert_eq!(limiter.mark_stale(&id, 2, MINUTE / 2, at(0)).await, Marked::Everywhere);
        let counted = limiter.peek(&id, limit, at(0)).await;
        marked.store(true, Ordering::SeqCst);
        asking.join_all().await;
        assert_eq!(limiter.peek(&id, limit, at(0)).await, counted, "round {round}: counted after the mark");
        assert!(matches!(limiter.admit_copy(&id, 2, evidence, limit, at(0)).await, CopyVerdict::Counted(_)));
    }
}
