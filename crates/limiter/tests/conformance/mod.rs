//! What every limiter has to hold, as functions over a fresh one.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use domain::{Limit, Timestamp};
use limiter::{CredentialVerdict, MemoryLimiter, Quota, Verdict};

mod oracle;

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
fn burst(limiter: &MemoryLimiter, key: &str, limit: Limit, asked: u32, now: Timestamp) -> u32 {
    (0..asked).map(|_| u32::from(is_admitted(limiter.admit(key, limit, now)))).sum()
}

pub(crate) fn the_quota_counts_down_and_tells_when_it_comes_back(limiter: &MemoryLimiter) {
    let limit = Limit::per_minute(2);
    let quota = |remaining, reset_at| Quota { limit: 2, remaining, reset_at };

    assert_eq!(limiter.peek(KEY, limit, at(0)), quota(2, at(60_000)));
    assert_eq!(limiter.admit(KEY, limit, at(500)), Verdict::Admitted(quota(1, at(60_500))));
    assert_eq!(limiter.peek(KEY, limit, at(600)), quota(1, at(60_500)));
    assert_eq!(limiter.admit(KEY, limit, at(9_000)), Verdict::Admitted(quota(0, at(60_500))));
    let refused = Verdict::Refused { quota: quota(0, at(60_500)), retry_at: at(60_500) };
    assert_eq!(limiter.admit(KEY, limit, at(10_000)), refused);
    assert_eq!(limiter.admit(KEY, limit, at(60_499)), refused, "to be refused prolongs nothing");
    assert_eq!(limiter.admit(KEY, limit, at(60_500)), Verdict::Admitted(quota(0, at(69_000))));
    assert_eq!(limiter.peek("pat:another", limit, at(60_500)), quota(2, at(120_500)), "keys do not share");
}

pub(crate) fn looking_consumes_nothing(limiter: &MemoryLimiter) {
    let limit = Limit::per_minute(1);
    for _ in 0..100 {
        assert_eq!(limiter.peek(KEY, limit, at(0)).remaining, 1);
    }
    assert_eq!(burst(limiter, KEY, limit, 1, at(0)), 1);
}

/// The weakness of fixed windows: twice the limit around the edge.
pub(crate) fn bursts_on_both_sides_of_an_edge_share_one_window(limiter: &MemoryLimiter) {
    let limit = Limit::per_minute(100);
    let edge = 60_000 - at(0).as_millis().rem_euclid(60_000);
    assert_eq!(burst(limiter, KEY, limit, 150, at(edge - 1)), 100);
    for after in [0, 1, 999, 1_000, 30_000, 59_998] {
        assert_eq!(burst(limiter, KEY, limit, 150, at(edge + after)), 0, "{after} ms after the edge");
    }
    assert_eq!(burst(limiter, KEY, limit, 150, at(edge + 59_999)), 100);
}

pub(crate) fn a_full_limit_is_back_after_exactly_one_idle_window(limiter: &MemoryLimiter) {
    let limit = Limit::per_minute(60);
    for n in 0..60 {
        assert!(is_admitted(limiter.admit(KEY, limit, at(n * 137))));
    }
    let last = 59 * 137;
    assert_eq!(limiter.peek(KEY, limit, at(last + 60_000)).remaining, 60);
    assert_eq!(burst(limiter, KEY, limit, 61, at(last + 60_000)), 60);
}

/// Small steps are requests that overtook each other, large ones a clock that was set.
pub(crate) fn a_clock_set_back_admits_nobody_early_and_locks_nobody_out(limiter: &MemoryLimiter) {
    let limit = Limit::per_minute(10);
    for back in [1, 999, 1_000, 59_999, 60_000, 299_999, 300_001, 86_400_000, 1_600_000_000_000] {
        let key = format!("pat:{back}");
        assert_eq!(burst(limiter, &key, limit, 10, at(0)), 10);
        for elapsed in [0, 1, 30_000, 59_999] {
            assert_eq!(burst(limiter, &key, limit, 10, at(elapsed - back)), 0, "{elapsed} ms after a step of {back}");
        }
        let later = 59_999 - back + 360_000;
        assert_eq!(burst(limiter, &key, limit, 11, at(later)), 10, "a step of {back}");
    }
}

/// Were a late request taken for a clock set back, each would make its predecessors older than they are.
pub(crate) fn requests_that_overtake_each_other_admit_no_more(limiter: &MemoryLimiter) {
    let limit = Limit { count: 10, window: Duration::from_secs(1) };
    let mut admitted = 0;
    for n in 0..1_000 {
        let overtaken_by = [0, 3_000, 1, 50_000][n % 4];
        admitted += burst(limiter, KEY, limit, 1, at(i64::try_from(n).unwrap() % 999 - overtaken_by));
    }
    assert_eq!(admitted, 10);

    let limit = Limit::per_minute(2);
    assert_eq!(burst(limiter, "pat:two", limit, 1, at(500)), 1);
    assert_eq!(burst(limiter, "pat:two", limit, 1, at(400)), 1);
    assert_eq!(limiter.peek("pat:two", limit, at(60_499)).remaining, 0, "the one from 500 is still in the window");
}

pub(crate) fn parallel_requests_are_admitted_exactly_up_to_the_limit(limiter: &MemoryLimiter) {
    const THREADS: u32 = 8;
    let limit = Limit::per_minute(500);
    for round in 0..100 {
        let key = format!("pat:{round}");
        let start = Barrier::new(THREADS as usize);
        let admitted: u32 = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (key, start) = (&key, &start);
                    scope.spawn(move || {
                        start.wait();
                        // Each has read its own time a little before it got its turn.
                        (0..125).map(|n| burst(limiter, key, limit, 1, at(i64::from(n * 7 + thread)))).sum::<u32>()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(admitted, limit.count, "round {round}");
    }
}

pub(crate) fn a_mark_makes_older_copies_stale_while_it_lasts(limiter: &MemoryLimiter) {
    let limit = Limit::per_minute(10);
    let remaining = |version, now| match limiter.admit_credential(KEY, version, limit, now) {
        CredentialVerdict::Counted(Verdict::Admitted(quota)) => Some(quota.remaining),
        CredentialVerdict::Counted(Verdict::Refused { .. }) => panic!("refused"),
        CredentialVerdict::Stale => None,
    };

    assert_eq!(remaining(1, at(0)), Some(9));
    limiter.mark_stale(KEY, 2, at(30_000));
    assert_eq!(remaining(1, at(1)), None);
    assert_eq!(remaining(i64::MIN, at(29_999)), None);
    assert_eq!(remaining(2, at(1)), Some(8), "the copy is the new one; the stale calls were not counted");
    assert_eq!(remaining(3, at(1)), Some(7));
    assert_eq!(remaining(1, at(30_000)), Some(6), "by then no copy of the old version is left");

    limiter.mark_stale(KEY, i64::MAX, at(90_000));
    limiter.mark_stale(KEY, 3, at(95_000));
    limiter.mark_stale(KEY, 3, at(50_000));
    assert_eq!(remaining(i64::MAX - 1, at(40_000)), None, "a deletion is not weakened by what comes late");
    assert_eq!(remaining(1, at(94_999)), None);
    assert_eq!(limiter.peek(KEY, limit, at(40_000)).remaining, 6);
    assert!(matches!(limiter.admit_credential("another", 0, limit, at(40_000)), CredentialVerdict::Counted(_)));
}

/// The window of a credential is that of its id, so that a request that had to read the database counts like any other.
pub(crate) fn a_credential_and_its_id_have_one_window(limiter: &MemoryLimiter) {
    let limit = Limit::per_minute(2);
    assert!(is_admitted(limiter.admit(KEY, limit, at(0))));
    assert!(
        matches!(limiter.admit_credential(KEY, 1, limit, at(0)), CredentialVerdict::Counted(verdict) if is_admitted(verdict))
    );
    assert!(
        matches!(limiter.admit_credential(KEY, 1, limit, at(0)), CredentialVerdict::Counted(verdict) if !is_admitted(verdict))
    );
    assert!(!is_admitted(limiter.admit(KEY, limit, at(0))));
}

pub(crate) fn once_marked_no_older_copy_is_counted_again(limiter: &MemoryLimiter) {
    const THREADS: usize = 7;
    let limit = Limit { count: u32::MAX, window: MINUTE };
    for round in 0..300 {
        let id = format!("pat:{round}");
        let (start, marked) = (Barrier::new(THREADS + 1), AtomicBool::new(false));
        let counted = thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    loop {
                        let was_marked = marked.load(Ordering::SeqCst);
                        let verdict = limiter.admit_credential(&id, 1, limit, at(0));
                        assert!(!was_marked || verdict == CredentialVerdict::Stale, "round {round}: {verdict:?}");
                        if was_marked {
                            break;
                        }
                    }
                });
            }
            start.wait();
            limiter.mark_stale(&id, 2, at(30_000));
            let counted = limiter.peek(&id, limit, at(0));
            marked.store(true, Ordering::SeqCst);
            counted
        });
        assert_eq!(limiter.peek(&id, limit, at(0)), counted, "round {round}: counted after the mark");
        assert!(matches!(limiter.admit_credential(&id, 2, limit, at(0)), CredentialVerdict::Counted(_)));
    }
}
