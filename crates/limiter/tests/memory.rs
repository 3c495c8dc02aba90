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

macro_rules! conforms {
    ($($requirement:ident($($rounds:literal)?),)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
        async fn $requirement() {
            conformance::$requirement(&Arc::new(Limiter::in_memory(10_000)), $($rounds)?).await;
        })*
    };
}

conforms! {
    the_quota_counts_down_and_tells_when_it_comes_back(),
    looking_consumes_nothing(),
    bursts_on_both_sides_of_an_edge_share_one_window(),
    a_full_limit_is_back_after_exactly_one_idle_window(),
    a_clock_set_back_admits_nobody_early_and_locks_nobody_out(),
    requests_that_overtake_each_other_admit_no_more(),
    parallel_requests_are_admitted_exactly_up_to_the_limit(100),
    a_mark_makes_older_copies_stale_while_it_lasts(),
    a_credential_and_its_id_have_one_window(),
    once_marked_no_older_copy_is_counted_again(300),
}
