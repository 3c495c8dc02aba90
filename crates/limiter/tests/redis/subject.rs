//! Limiters on a Redis, as instances of one service have them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use limiter::{Limiter, LimiterState, Redis, RedisOptions, Timekeeper};
use testkit::until;

/// Generous, so that a busy machine is not taken for a hung Redis.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn options(seed: u64) -> RedisOptions {
    RedisOptions {
        timeout: TIMEOUT,
        fallback_divisor: NonZeroU32::new(10).unwrap(),
        timekeeper: Timekeeper::Caller,
        chance: testkit::seeded_chance(seed),
    }
}

/// An instance's limiter, whose time is told.
pub(crate) async fn instance(url: &str, options: RedisOptions) -> Arc<Limiter> {
    let redis = Redis::connect(&url.into(), options).await.unwrap();
    Arc::new(Limiter::on_redis(&redis, 8 << 20))
}

/// Returns once the limiter counts there.
pub(crate) async fn counts(limiter: &Limiter, state: LimiterState) {
    until(&format!("{state:?}"), async || limiter.state(), |seen| *seen == state).await;
}
