//! The same suite as in memory.

use testkit::Redis;

use crate::conformance;
use crate::subject::{instance, options};

#[tokio::test(flavor = "multi_thread")]
async fn random_arrivals_agree_with_brute_force() {
    let redis = Redis::start().await;
    let limiter = instance(&redis.url(), options(1)).await;
    tokio::task::block_in_place(|| conformance::random_arrivals_agree_with_brute_force(&limiter, 100));
}

macro_rules! conforms {
    ($($requirement:ident($($rounds:literal)?),)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $requirement() {
            let redis = Redis::start().await;
            let limiter = instance(&redis.url(), options(1)).await;
            conformance::$requirement(&limiter, $($rounds)?).await;
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
    parallel_requests_are_admitted_exactly_up_to_the_limit(10),
    a_mark_makes_older_copies_stale_while_it_lasts(),
    a_credential_and_its_id_have_one_window(),
    once_marked_no_older_copy_is_counted_again(50),
}
