//! Windows that survive the process: stopped in order, killed, killed again, and while nothing can be saved.
#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::{DigestKey, Limit, Timestamp};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use limiter::{CopyVerdict, Evidence, Keeping, Level, Limiter, NotSaved, SavedWindow, Verdict, WindowStore};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::task::JoinSet;

const T0: i64 = 1_762_603_200_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(T0 + millis)
}

/// What survives: each window with the run that saved it.
#[derive(Default)]
struct Disk {
    windows: Mutex<BTreeMap<String, (usize, SavedWindow)>>,
    run: AtomicU32,
    is_away: AtomicBool,
    saves: AtomicU32,
}

impl Disk {
    fn windows(&self) -> BTreeMap<String, (usize, SavedWindow)> {
        self.windows.lock().unwrap().clone()
    }

    fn saves(&self) -> u32 {
        self.saves.load(Ordering::SeqCst)
    }
}

/// Of one run: a process that was killed saves nothing any more.
struct Saver(Arc<Disk>, u32);

impl WindowStore for Saver {
    fn save(&self, windows: Vec<SavedWindow>) -> BoxFuture<'_, Result<(), NotSaved>> {
        async move {
            // Others get on meanwhile, as while a database works.
            tokio::task::yield_now().await;
            if self.0.is_away.load(Ordering::SeqCst) {
                return Err(NotSaved);
            }
            let mut kept = self.0.windows.lock().unwrap();
            if self.0.run.load(Ordering::SeqCst) != self.1 {
                return Err(NotSaved);
            }
            self.0.saves.fetch_add(1, Ordering::SeqCst);
            let run = self.1 as usize;
            kept.extend(windows.into_iter().map(|window| (window.name.clone(), (run, window))));
            Ok(())
        }
        .boxed()
    }
}

/// An installation: what is on the disk, and the process that runs.
struct Installation {
    disk: Arc<Disk>,
    /// When runs began after a kill, by their number.
    kills: Vec<(usize, Timestamp)>,
    limiter: Arc<Limiter>,
    bytes: usize,
}

impl Installation {
    fn new(bytes: usize) -> Self {
        let disk = Arc::new(Disk::default());
        let limiter = Arc::new(Limiter::kept(bytes, keeping(&disk, &[])));
        Self { disk, kills: Vec::new(), limiter, bytes }
    }

    /// As `auth` does it at the start.
    fn begin(&mut self, is_after_kill: bool, now: Timestamp) {
        // A save is wholly before or wholly after the end of the one before.
        let run = {
            let _saving = self.disk.windows.lock().unwrap();
            self.disk.run.fetch_add(1, Ordering::SeqCst) as usize + 1
        };
        if is_after_kill {
            self.kills.push((run, now));
        }
        self.limiter = Arc::new(Limiter::kept(self.bytes, keeping(&self.disk, &self.kills)));
        for (_, (saved_in, mut window)) in self.disk.windows() {
            let later = self.kills.iter().filter(|(run, _)| *run > saved_in);
            window.buckets.extend(later.map(|(_, at)| (*at, window.unseen)));
            self.limiter.restore(window, now);
        }
    }

    async fn stop(&mut self, now: Timestamp) {
        assert!(self.limiter.close().await);
        self.begin(false, now);
    }

    fn kill(&mut self, now: Timestamp) {
        self.begin(true, now);
    }

    async fn admits(&self, key: &str, limit: Limit, now: Timestamp) -> bool {
        matches!(self.limiter.admit(key, limit, now).await, Verdict::Admitted(_))
    }

    async fn burst(&self, key: &str, limit: Limit, asked: u32, now: Timestamp) -> u32 {
        let mut admitted = 0;
        for _ in 0..asked {
            admitted += u32::from(self.admits(key, limit, now).await);
        }
        admitted
    }
}

fn keeping(disk: &Arc<Disk>, kills: &[(usize, Timestamp)]) -> Keeping {
    Keeping {
        store: Arc::new(Saver(Arc::clone(disk), disk.run.load(Ordering::SeqCst))),
        places: DigestKey::derive(b"an example secret of at least 32 bytes", "places"),
        after_kills: kills.iter().map(|(_, at)| *at).collect(),
    }
}

const LIMIT: Limit = Limit::per_minute(1_000);

#[tokio::test]
async fn stopped_in_order_a_window_goes_on_exactly() {
    let mut afd = Installation::new(1 << 20);
    assert_eq!(afd.burst("pat:a", LIMIT, 437, at(0)).await, 437);
    afd.stop(at(10)).await;
    assert_eq!(afd.burst("pat:a", LIMIT, 1_000, at(1_020)).await, 563);
    afd.stop(at(1_030)).await;
    assert_eq!(afd.burst("pat:a", LIMIT, 1_000, at(59_999)).await, 0);
    assert_eq!(afd.burst("pat:a", LIMIT, 1_000, at(60_000)).await, 437, "those of the first run have left");
}

#[tokio::test]
async fn four_kills_within_a_minute_give_nothing_away() {
    let mut afd = Installation::new(1 << 20);
    let mut admitted = 0;
    for kill in 0..=4 {
        admitted += afd.burst("pat:a", LIMIT, 250, at(kill * 1_000)).await;
        afd.kill(at(kill * 1_000 + 500));
    }
    admitted += afd.burst("pat:a", LIMIT, 1_000, at(6_000)).await;
    // For each kill a tenth is counted that may have been lost.
    assert!((500..=1_000).contains(&admitted), "{admitted}");
    assert_eq!(afd.burst("pat:a", LIMIT, 1_001, at(66_001)).await, 1_000, "and a minute later all is forgotten");
}

/// Each time as much as can be lost, in a window that nobody has ever saved.
#[tokio::test]
async fn kills_that_each_take_unsaved_requests_along_add_up() {
    for (limit, length) in [(1_000, 60), (60, 60), (19, 900), (10, 60), (9, 60), (5, 900)] {
        let limit = Limit { count: limit, window: Duration::from_secs(length) };
        let mut afd = Installation::new(1 << 20);
        let mut admitted = 0;
        for kill in 0..40 {
            admitted += afd.burst("key", limit, limit.count / 10, at(kill)).await;
            afd.kill(at(kill));
        }
        admitted += afd.burst("key", limit, 2 * limit.count, at(100)).await;
        assert!(admitted <= limit.count, "{admitted} of {limit}");
    }
}

#[tokio::test]
async fn small_limits_are_saved_before_the_answer_and_lose_nothing() {
    let strict = Limit { count: 5, window: Duration::from_mins(15) };
    let mut afd = Installation::new(1 << 20);
    let mut admitted = 0;
    for kill in 0..8 {
        admitted += afd.burst("mailbox:ann@example.com", strict, 1, at(kill)).await;
        afd.kill(at(kill));
    }
    assert_eq!(admitted, 5, "neither more nor fewer");
}

#[tokio::test]
async fn whoever_is_slow_never_waits_for_a_save() {
    let afd = Installation::new(1 << 20);
    for minute in 0..100 {
        assert_eq!(afd.burst("pat:a", LIMIT, 40, at(minute * 60_000)).await, 40);
    }
    assert_eq!(afd.disk.saves(), 0);
}

#[tokio::test]
async fn at_its_place_a_window_is_never_further_ahead_than_a_tenth() {
    let mut afd = Installation::new(1 << 20);
    let _: (Verdict, Evidence) = afd.limiter.admit_read("pat:a", Evidence::default(), LIMIT, at(0)).await;
    let place = afd.limiter.place_of("pat:a").unwrap();
    let mut answered = 1;
    while let Some(CopyVerdict::Counted(Verdict::Admitted(_))) = place.admit_copy(1, LIMIT, at(0)) {
        answered += 1;
    }
    assert!((40..=100).contains(&answered), "{answered}");
    // From here on it is asked by name, and nobody saves: the executor does not run in between.
    afd.disk.is_away.store(true, Ordering::SeqCst);
    let mut verdicts = Vec::new();
    for _ in 0..200 {
        match afd.limiter.admit_copy("pat:a", 1, Evidence::default(), LIMIT, at(0)).now_or_never() {
            Some(CopyVerdict::Counted(Verdict::Admitted(_))) => answered += 1,
            other => verdicts.push(other),
        }
    }
    assert_eq!(answered, 100, "as far as a kill is accounted for");
    assert!(verdicts.iter().all(Option::is_none), "the others wait: {verdicts:?}");
    afd.disk.is_away.store(false, Ordering::SeqCst);
    afd.kill(at(1));
    assert_eq!(answered + afd.burst("pat:a", LIMIT, 2_000, at(1)).await, 1_000);
}

/// And nothing is taken from the window by those who were turned away.
#[tokio::test]
async fn what_cannot_be_saved_is_not_admitted_and_not_counted() {
    let afd = Installation::new(1 << 20);
    afd.disk.is_away.store(true, Ordering::SeqCst);
    let mut admitted = 0;
    for _ in 0..300 {
        match afd.limiter.admit("pat:a", LIMIT, at(0)).await {
            Verdict::Admitted(_) => admitted += 1,
            other => assert_eq!(other, Verdict::Unsaved),
        }
    }
    assert_eq!(admitted, 100);
    let strict = Limit { count: 5, window: Duration::from_mins(15) };
    let levels = [("address", 5), ("network", 20)]
        .map(|(key, count)| Level { key: key.to_owned(), limit: Limit { count, ..strict } });
    for _ in 0..30 {
        assert_eq!(afd.limiter.admit_levels("network", &levels, at(0)).await, Verdict::Unsaved);
    }
    for Level { key, limit } in &levels {
        assert_eq!(afd.limiter.peek(key, *limit, at(0)).await.remaining, limit.count);
    }

    afd.disk.is_away.store(false, Ordering::SeqCst);
    assert_eq!(afd.burst("pat:a", LIMIT, 1_000, at(0)).await, 900);
    assert!(matches!(afd.limiter.admit_levels("network", &levels, at(0)).await, Verdict::Admitted(_)));
}

#[tokio::test]
async fn after_the_end_nothing_is_admitted_anywhere() {
    let afd = Installation::new(1 << 20);
    let _: (Verdict, Evidence) = afd.limiter.admit_read("pat:a", Evidence::default(), LIMIT, at(0)).await;
    let place = afd.limiter.place_of("pat:a").unwrap();
    assert!(afd.limiter.close().await);
    assert_eq!(place.admit_copy(1, LIMIT, at(0)), None);
    for key in ["pat:a", "pat:b"] {
        assert_eq!(afd.limiter.admit(key, LIMIT, at(0)).await, Verdict::Unsaved);
    }
    afd.disk.is_away.store(true, Ordering::SeqCst);
    let other = Installation::new(1 << 20);
    let _: Verdict = other.limiter.admit("pat:a", LIMIT, at(0)).await;
    other.disk.is_away.store(true, Ordering::SeqCst);
    assert!(!other.limiter.close().await, "and it is told that not all is saved");
}

/// Newcomers that share a window share it after a restart.
#[tokio::test]
async fn shared_windows_survive_as_well() {
    let mut afd = Installation::new(0);
    let fill = async |afd: &Installation, now| {
        for n in 0..2_000 {
            let _: Verdict = afd.limiter.admit(&format!("old {n}"), Limit::per_minute(1_000_000), now).await;
        }
    };
    fill(&afd, at(0)).await;
    let limit = Limit::per_minute(5);
    assert_eq!(afd.burst("new", limit, 3, at(0)).await, 3);
    assert!(afd.limiter.place_of("new").is_none());
    for restart in 1..4 {
        if restart == 2 {
            afd.stop(at(restart)).await;
        } else {
            afd.kill(at(restart));
        }
        assert_eq!(afd.limiter.peek("new", limit, at(restart)).await.remaining, 2);
    }
    fill(&afd, at(5)).await;
    assert_eq!(afd.burst("new", limit, 9, at(5)).await, 2);
}

/// The clock was set back while nothing ran: what seems to come from the future is from now. Set on, it is older.
#[tokio::test]
async fn a_window_from_the_future_is_of_now() {
    let mut afd = Installation::new(1 << 20);
    assert_eq!(afd.burst("pat:a", LIMIT, 600, at(0)).await, 600);
    afd.stop(at(-3_600_000)).await;
    assert_eq!(afd.burst("pat:a", LIMIT, 1_000, at(-3_600_000)).await, 400);
    assert_eq!(afd.burst("pat:a", LIMIT, 1_000, at(-3_600_000 + 59_999)).await, 0);
    assert_eq!(afd.burst("pat:a", LIMIT, 1_000, at(-3_600_000 + 60_000)).await, 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_parallel_requests_amid_saves_and_kills_no_more_than_the_limit_are_answered() {
    for round in 0..150_u32 {
        let limit = Limit::per_minute([5, 9, 10, 25, 100, 333][round as usize % 6]);
        let mut afd = Installation::new(1 << 20);
        let answered = Arc::new(AtomicU32::new(0));
        for part in 0..3 {
            let mut asking = JoinSet::new();
            for _ in 0..8 {
                let (limiter, answered) = (Arc::clone(&afd.limiter), Arc::clone(&answered));
                asking.spawn(async move {
                    for _ in 0..=limit.count / 12 {
                        if let Verdict::Admitted(_) = limiter.admit("key", limit, at(0)).await {
                            answered.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
            if part == 1 {
                // In the middle of it. Those who wait are not answered by this process any more.
                tokio::task::yield_now().await;
                asking.shutdown().await;
            }
            asking.join_all().await;
            afd.kill(at(0));
        }
        let answered = answered.load(Ordering::SeqCst) + afd.burst("key", limit, 2 * limit.count, at(0)).await;
        assert!(answered <= limit.count, "round {round}: {answered} of {limit}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_requests_are_admitted_exactly_up_to_the_limit() {
    for round in 0..100 {
        let afd = Installation::new(1 << 20);
        let mut asking = JoinSet::new();
        for _ in 0..8 {
            let limiter = Arc::clone(&afd.limiter);
            asking.spawn(async move {
                let mut admitted = 0;
                for _ in 0..150 {
                    admitted += u32::from(matches!(limiter.admit("pat:a", LIMIT, at(0)).await, Verdict::Admitted(_)));
                }
                admitted
            });
        }
        assert_eq!(asking.join_all().await.into_iter().sum::<u32>(), 1_000, "round {round}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Ask(u32),
    Stop,
    Kill,
    Away(bool),
}

fn history() -> impl Strategy<Value = (u32, Vec<(i64, Step)>)> {
    let step = prop_oneof![
        12 => (1u32..40).prop_map(Step::Ask),
        1 => Just(Step::Stop),
        3 => Just(Step::Kill),
        1 => any::<bool>().prop_map(Step::Away),
    ];
    let pause = prop_oneof![4 => 0..700_i64, 2 => 0..20_000_i64, 1 => 59_000..61_500_i64];
    (1u32..120, prop::collection::vec((pause, step), 1..120))
}

/// Against a list of every answered moment: whatever happens to the process, never more than the limit in any window.
#[tokio::test(flavor = "multi_thread")]
async fn random_histories_of_kills_and_stops_agree_with_brute_force() {
    let run = |(count, steps): (u32, Vec<(i64, Step)>)| {
        tokio::runtime::Handle::current().block_on(async move {
            let limit = Limit::per_minute(count);
            let mut afd = Installation::new(1 << 20);
            let (mut now, mut answered, mut trouble) = (0, Vec::<i64>::new(), Vec::<i64>::new());
            for (pause, step) in steps {
                now += pause;
                match step {
                    Step::Ask(times) => {
                        for _ in 0..times {
                            let in_window = answered.iter().filter(|then| now - **then < 60_000).count();
                            let verdict = afd.limiter.admit("key", limit, at(now)).await;
                            if let Verdict::Admitted(_) = verdict {
                                prop_assert!(in_window < count as usize, "one too many at {}", now);
                                answered.push(now);
                            } else if verdict != Verdict::Unsaved && trouble.iter().all(|then| now - *then > 61_000) {
                                // No kill and no failure lately: refused only a bucket early at most.
                                let held = answered.iter().filter(|then| now - **then < 61_000).count();
                                prop_assert!(held >= count as usize, "refused with {} at {}", held, now);
                            }
                        }
                    }
                    Step::Stop if !afd.disk.is_away.load(Ordering::SeqCst) => afd.stop(at(now)).await,
                    Step::Stop => {}
                    Step::Kill => {
                        afd.kill(at(now));
                        trouble.push(now);
                    }
                    Step::Away(is_away) => {
                        trouble.push(now);
                        afd.disk.is_away.store(is_away, Ordering::SeqCst);
                    }
                }
                if afd.disk.is_away.load(Ordering::SeqCst) {
                    trouble.push(now);
                }
            }
            Ok(())
        })
    };
    tokio::task::block_in_place(|| {
        let config = Config { cases: 600, failure_persistence: None, ..Config::default() };
        TestRunner::new(config).run(&history(), run).unwrap();
    });
}
