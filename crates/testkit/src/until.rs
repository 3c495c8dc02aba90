//! Waiting for what somebody else does, with a bound.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Far longer than anything takes that is waited for, also on a machine that does much else; a test that reaches it
/// has failed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks again and again until what it sees is as wanted, and returns that.
pub async fn until<T: Debug>(what: &str, look: impl AsyncFn() -> T, is_wanted: impl Fn(&T) -> bool) -> T {
    let started = Instant::now();
    loop {
        let seen = look().await;
        if is_wanted(&seen) {
            return seen;
        }
        assert!(started.elapsed() < PATIENCE, "waited too long for {what}; the last that was seen is {seen:?}");
        sleep(LOOK_EVERY).await;
    }
}
