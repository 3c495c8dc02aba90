//! A cluster whose slots move to another master while requests go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use domain::Limit;
use limiter::{LimiterState, Verdict};
use testkit::{RedisCluster, until};
use tokio::task::JoinSet;

use crate::failures::{KEY, NOW, all, three};
use crate::subject::options;

/// Asks at once on each instance.
const LANES: usize = 4;

/// Requests that never cease, and what came of them.
#[derive(Default)]
struct Requests {
    asked: AtomicU32,
    admitted: AtomicU32,
    is_over: AtomicBool,
}

impl Requests {
    /// Returns once this many more have been answered.
    async fn go_on(&self, more: u32) {
        let wanted = self.asked.load(Ordering::Relaxed) + more;
        let asked = async || self.asked.load(Ordering::Relaxed);
        until("requests to be answered", asked, |asked| *asked >= wanted).await;
    }
}

/// The limit, where no answer is late. Where some are, Redis may be given up for a moment: then each instance has its share,
/// and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_window_that_moves_between_masters_admits_no_more_than_is_promised() {
    let mut cluster = RedisCluster::start().await;
    let instances = three(&cluster.url(), options).await;
    all(&instances, LimiterState::InRedis).await;
    for round in 0..5 {
        let (key, limit) = (format!("{KEY}{round}"), Limit::per_minute(600));
        let requests = Arc::new(Requests::default());
        let mut lanes = JoinSet::new();
        for limiter in instances.iter().flat_map(|limiter| std::iter::repeat_n(limiter, LANES)) {
            let (limiter, requests, key) = (Arc::clone(limiter), Arc::clone(&requests), key.clone());
            lanes.spawn(async move {
                while !requests.is_over.load(Ordering::Relaxed) {
                    let verdict = limiter.admit(&key, limit, NOW).await;
                    let is_admitted = matches!(verdict, Verdict::Admitted(_));
                    requests.admitted.fetch_add(u32::from(is_admitted), Ordering::Relaxed);
                    requests.asked.fetch_add(1, Ordering::Relaxed);
                    // A refusal may be known without asking; then nothing else would let others run.
                    tokio::task::yield_now().await;
                }
            });
        }
        requests.go_on(100).await;
        let moving = cluster.begin_move(&format!("afd:{key}")).await;
        requests.go_on(100).await;
        cluster.finish_move(&moving).await;
        requests.go_on(1_000).await;
        requests.is_over.store(true, Ordering::Relaxed);
        lanes.join_all().await;
        let admitted = requests.admitted.load(Ordering::Relaxed);
        let shares = 3 * 600 / options(0).fallback_divisor.get();
        assert!((shares..=600 + shares).contains(&admitted), "round {round}: {admitted}");
        all(&instances, LimiterState::InRedis).await;
    }
}

/// A key that comes into being while its slot is half moved does so on the new master (`ASK`), and stays there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_window_that_begins_while_its_slot_moves_is_one() {
    let mut cluster = RedisCluster::start().await;
    let instances = three(&cluster.url(), options).await;
    all(&instances, LimiterState::InRedis).await;
    for round in 0..5 {
        let (key, limit) = (format!("{KEY}{round}"), Limit::per_minute(30));
        let moving = cluster.begin_move(&format!("afd:{key}")).await;
        let mut admitted = 0;
        for n in 0..60 {
            if n == 20 {
                cluster.finish_move(&moving).await;
            }
            let verdict = instances[n % instances.len()].admit(&key, limit, NOW).await;
            admitted += u32::from(matches!(verdict, Verdict::Admitted(_)));
        }
        assert_eq!(admitted, 30, "round {round}");
        all(&instances, LimiterState::InRedis).await;
    }
}
