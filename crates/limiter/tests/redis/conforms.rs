//! The same suite as in memory.

use std::sync::Arc;

use limiter::Limiter;
use testkit::Redis;

use crate::conformance;
use crate::subject::{instance, options};

#[tokio::test(flavor = "multi_thread")]
async fn random_arrivals_agree_with_brute_force() {
    let redis = Redis::start().await;
    let limiter = instance(&redis.url(), options(1)).await;
    tokio::task::block_in_place(|| conformance::random_arrivals_agree_with_brute_force(&limiter, 100));
}

/// A fresh limiter, and the server that it counts on.
async fn fresh() -> (Arc<Limiter>, Redis) {
    let redis = Redis::start().await;
    (instance(&redis.url(), options(1)).await, redis)
}

conformance::conforms!(fresh(), 10, 50);
