//! The in-process limiter against the conformance suite.
#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

mod conformance;

use std::sync::Arc;

use limiter::Limiter;

#[tokio::test(flavor = "multi_thread")]
async fn random_arrivals_agree_with_brute_force() {
    let limiter = Limiter::in_memory(10_000);
    tokio::task::block_in_place(|| conformance::random_arrivals_agree_with_brute_force(&limiter, 2_000));
}

/// A fresh limiter, and no server that it needs.
async fn fresh() -> (Arc<Limiter>, ()) {
    (Arc::new(Limiter::in_memory(10_000)), ())
}

conformance::conforms!(fresh(), 100, 300);
