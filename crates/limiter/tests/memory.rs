//! The in-process limiter against the conformance suite.
#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

mod conformance;

use std::future::{Ready, ready};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use domain::{Limit, Timestamp};
use futures_util::FutureExt as _;
use limiter::{CopyVerdict, Evidence, Limiter, Marked, Occupied, Verdict};

#[tokio::test(flavor = "multi_thread")]
async fn random_arrivals_agree_with_brute_force() {
    let limiter = Limiter::in_memory(8 << 20);
    tokio::task::block_in_place(|| conformance::random_arrivals_agree_with_brute_force(&limiter, 2_000));
}

/// A fresh limiter, and no server that it needs.
fn fresh() -> Ready<(Arc<Limiter>, ())> {
    ready((Arc::new(Limiter::in_memory(8 << 20)), ()))
}

conformance::conforms!(fresh(), 100, 300);

const NOW: Timestamp = Timestamp::from_millis(1_762_603_200_000);
const THREADS: u32 = 4;

/// By its name and by its place, while idle keys are being dropped.
#[tokio::test]
async fn a_window_counts_exactly_however_it_is_reached() {
    let limit = Limit::per_minute(500);
    for round in 0..100 {
        let (limiter, id, start) =
            (Limiter::in_memory(8 << 20), format!("pat:{round}"), Barrier::new(THREADS as usize + 1));
        let _: (Verdict, Evidence) = limiter.admit_read(&id, Evidence::default(), limit, NOW).await;
        let place = limiter.place_of(&id).unwrap();
        let admitted: u32 = thread::scope(|scope| {
            let asking: Vec<_> = (0..THREADS)
                .map(|number| {
                    let (limiter, id, place, start) = (&limiter, &id, &place, &start);
                    scope.spawn(move || {
                        start.wait();
                        let by_place = || place.admit_copy(1, limit, NOW).unwrap();
                        let by_name = || {
                            let asking = limiter.admit_copy(id, 1, Evidence::default(), limit, NOW);
                            asking.now_or_never().expect("in memory nobody waits")
                        };
                        (0..250)
                            .map(|turn| if (turn + number).is_multiple_of(2) { by_place() } else { by_name() })
                            .filter(|verdict| matches!(verdict, CopyVerdict::Counted(Verdict::Admitted(_))))
                            .count()
                    })
                })
                .collect();
            start.wait();
            for _ in 0..20 {
                limiter.sweep(NOW);
            }
            asking.into_iter().map(|thread| u32::try_from(thread.join().unwrap()).unwrap()).sum()
        });
        assert_eq!(admitted, 499, "round {round}");
    }
}

#[tokio::test]
async fn once_marked_no_older_copy_is_counted_at_its_place() {
    let limit = Limit { count: u32::MAX, window: Duration::from_mins(1) };
    for round in 0..300 {
        let (limiter, id, start) =
            (Limiter::in_memory(8 << 20), format!("pat:{round}"), Barrier::new(THREADS as usize + 1));
        let _: (Verdict, Evidence) = limiter.admit_read(&id, Evidence::default(), limit, NOW).await;
        let place = limiter.place_of(&id).unwrap();
        let marked = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                let (place, start, marked) = (&place, &start, &marked);
                scope.spawn(move || {
                    start.wait();
                    loop {
                        let was_marked = marked.load(Ordering::SeqCst);
                        let verdict = place.admit_copy(1, limit, NOW);
                        assert!(!was_marked || verdict == Some(CopyVerdict::Stale), "round {round}: {verdict:?}");
                        if was_marked {
                            return;
                        }
                    }
                });
            }
            start.wait();
            let marking = limiter.mark_stale(&id, 2, Duration::from_secs(30), NOW).now_or_never();
            assert_eq!(marking, Some(Marked::Everywhere));
            marked.store(true, Ordering::SeqCst);
        });
    }
}

/// A key that was dropped and came back has another place; what knows the old one must not count there.
#[tokio::test]
async fn a_place_ends_with_its_window() {
    let limit = Limit::per_minute(2);
    let limiter = Limiter::in_memory(8 << 20);
    assert!(limiter.place_of("pat:x").is_none());
    let _: (Verdict, Evidence) = limiter.admit_read("pat:x", Evidence::default(), limit, NOW).await;
    let place = limiter.place_of("pat:x").unwrap();
    let later = NOW.plus(Duration::from_mins(1));
    limiter.sweep(later);
    assert_eq!(place.admit_copy(1, limit, later), None);
    assert!(matches!(limiter.admit("pat:x", limit, later).await, Verdict::Admitted(_)));
    assert_eq!(place.admit_copy(1, limit, later), None);
    let place = limiter.place_of("pat:x").unwrap();
    assert!(matches!(place.admit_copy(1, limit, later), Some(CopyVerdict::Counted(Verdict::Admitted(_)))));
    assert!(matches!(limiter.admit("pat:x", limit, later).await, Verdict::Refused { .. }));
}

/// Whoever asks for ever new keys gets no more than this.
#[test]
fn a_flood_of_new_keys_stays_within_the_bound() {
    let limiter = Limiter::in_memory(16 << 20);
    for n in 0..300_000 {
        let key = format!("address:2001:db8:{:x}:{:x}::/64:POST /auth/email/request", n >> 16, n & 0xffff);
        let _: Option<Verdict> =
            limiter.admit(&key, Limit::per_minute(60), Timestamp::from_seconds(n / 10_000)).now_or_never();
    }
    let Occupied { keys, bytes } = limiter.occupied();
    assert!(bytes <= 16 << 20 && keys > 30_000, "{keys} keys in {bytes} bytes");
}
