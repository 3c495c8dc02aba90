//! What only shows inside: memory, and windows that are shared.

use std::sync::Arc;
use std::time::Duration;

use domain::{Limit, Timestamp};
use futures_util::FutureExt as _;

use super::MemoryLimiter;
use super::entry::Entry;
use super::shard::Shard;
use crate::{CopyVerdict, Level, Verdict};

const LIMIT: Limit = Limit::per_minute(3);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn admit(limiter: &MemoryLimiter, key: &str, limit: Limit, now: Timestamp) -> Verdict {
    limiter.admit(key, limit, now).now_or_never().expect("nothing is saved, so nobody waits")
}

fn is_admitted(limiter: &MemoryLimiter, key: &str, now: Timestamp) -> bool {
    matches!(admit(limiter, key, LIMIT, now), Verdict::Admitted(_))
}

fn keys(limiter: &MemoryLimiter) -> usize {
    limiter.occupied().keys
}

/// Filled with keys that have all been used at second 0; how many.
fn fill(limiter: &MemoryLimiter) -> usize {
    // Each shard is full after so many, whatever share of them it gets.
    for n in 0..4_000 {
        let _: Verdict = admit(limiter, &format!("old {n}"), Limit::per_minute(1_000_000), at(0));
    }
    keys(limiter)
}

#[test]
fn newcomers_share_windows_by_network_when_there_is_no_room() {
    let limiter = MemoryLimiter::new(256 << 10);
    let full = fill(&limiter);
    assert!((300..1_500).contains(&full), "{full}");
    assert!(limiter.occupied().bytes <= 256 << 10);

    let attempt = |network: &str, key: String| {
        let levels = [Level { key, limit: LIMIT }];
        let verdict = limiter.admit_levels(network, &levels, at(1)).now_or_never().unwrap();
        matches!(verdict, Verdict::Admitted(_))
    };
    let of_one = (0..1_000).filter(|n| attempt("2001:db8::/48", format!("2001:db8::{n}"))).count();
    assert_eq!(of_one, 3, "a network's newcomers share one window");
    let of_others = (0..100).filter(|n| attempt(&format!("2001:db8:{n}::/48"), format!("other {n}"))).count();
    assert!(of_others >= 95, "{of_others} of 100 others were admitted");
    assert_eq!(keys(&limiter), full);
    assert!(is_admitted(&limiter, "old 1", at(1)), "nobody lost their window");
}

#[test]
fn a_newcomer_that_gets_its_own_window_takes_along_what_was_counted() {
    let limiter = MemoryLimiter::new(0);
    fill(&limiter);
    for _ in 0..2 {
        assert!(is_admitted(&limiter, "new", at(59)));
    }
    assert_eq!(limiter.peek("new", LIMIT, at(59)).remaining, 1);
    assert!(limiter.place_of("new").is_none());

    assert!(is_admitted(&limiter, "new", at(60)), "the old keys are idle and leave");
    assert!(limiter.place_of("new").is_some());
    assert!(!is_admitted(&limiter, "new", at(60)), "two of its three were counted in the shared window");
    assert!(is_admitted(&limiter, "new", at(119)));
}

/// A mark makes room for itself; a window begun later under it starts no fresher than any other.
#[test]
fn a_mark_without_room_is_kept_and_gives_nothing_away() {
    let limiter = MemoryLimiter::new(0);
    fill(&limiter);
    assert!(is_admitted(&limiter, "new", at(1)));
    limiter.mark_stale("new", 7, at(30));

    assert!(limiter.is_stale("new", 6, at(2)));
    let place = limiter.place_of("new").unwrap();
    assert_eq!(place.admit_copy(6, LIMIT, at(2)), Some(CopyVerdict::Stale));
    assert_eq!(place.admit_copy(7, LIMIT, at(2)), None, "only marked: not the place to count");
    assert_eq!(limiter.peek("new", LIMIT, at(2)).remaining, 2);
    assert!(is_admitted(&limiter, "new", at(2)));
    assert_eq!(limiter.peek("new", LIMIT, at(2)).remaining, 1);
}

#[test]
fn an_entry_counts_for_its_key_until_it_is_dropped() {
    let limiter = MemoryLimiter::new(1 << 20);
    assert!(is_admitted(&limiter, "key", at(0)));
    let place = limiter.place_of("key").unwrap();
    let remaining = |version, now| match place.admit_copy(version, LIMIT, now) {
        Some(CopyVerdict::Counted(Verdict::Admitted(quota))) => Some(quota.remaining),
        Some(_) | None => None,
    };
    assert_eq!(remaining(1, at(0)), Some(1));
    assert!(is_admitted(&limiter, "key", at(2)), "the same window");
    assert!(matches!(place.admit_copy(1, LIMIT, at(3)), Some(CopyVerdict::Counted(Verdict::Refused { .. }))));

    limiter.mark_stale("key", 2, at(90));
    assert_eq!(place.admit_copy(1, LIMIT, at(61)), Some(CopyVerdict::Stale));
    assert!(remaining(2, at(61)).is_some());

    limiter.sweep(at(150));
    assert_eq!(place.admit_copy(2, LIMIT, at(150)), None, "what is counted here would count for nobody");
    assert!(is_admitted(&limiter, "key", at(150)));
    assert_eq!(place.admit_copy(2, LIMIT, at(150)), None);
}

/// Its owner is asked for more memory by name, where somebody knows how much there is.
#[test]
fn a_window_grows_by_name_only() {
    let limiter = MemoryLimiter::new(1 << 20);
    let limit = Limit::per_minute(1_000);
    let _: Verdict = admit(&limiter, "key", limit, at(0));
    let place = limiter.place_of("key").unwrap();
    let mut by_name = 0;
    for second in 1..60 {
        if place.admit_copy(1, limit, at(second)).is_none() {
            by_name += 1;
            let _: Verdict = admit(&limiter, "key", limit, at(second));
        }
    }
    assert_eq!(limiter.peek("key", limit, at(59)).remaining, 940);
    assert!((1..=4).contains(&by_name), "{by_name}");
}

/// Merged buckets leave together, with the later of them.
#[test]
fn windows_without_room_become_coarser_and_admit_no_more() {
    let limiter = MemoryLimiter::new(0);
    fill(&limiter);
    let limit = Limit::per_minute(30);
    let mut admitted = Vec::new();
    for second in 0..600 {
        if matches!(admit(&limiter, "new", limit, at(1_000 + second)), Verdict::Admitted(_)) {
            admitted.push(second);
        }
        let within = admitted.iter().filter(|then| second - **then < 60).count();
        assert!(within <= 30, "{within} within a minute after {second} seconds");
    }
    assert!(admitted.len() > 100, "{}", admitted.len());
}

#[test]
fn idle_keys_leave_on_use_alone() {
    // So many that some fall into every shard, which looks only at its own keys, and each is used often enough for
    // its shard to have looked at all of them if it is the only one there.
    const BUSY: usize = 2_000;
    let limiter = MemoryLimiter::new(1 << 20);
    let before = fill(&limiter);
    assert!(before > 1_000);
    for second in 60..110 {
        for n in 0..BUSY {
            let _: Verdict = admit(&limiter, &format!("busy {n}"), LIMIT, at(second));
        }
    }
    assert_eq!((0..before).filter(|n| limiter.place_of(&format!("old {n}")).is_some()).count(), 0);
}

#[test]
fn sweeping_frees_idle_keys_and_ended_marks_and_nothing_else() {
    let limiter = MemoryLimiter::new(1 << 20);
    let empty = limiter.occupied().bytes;
    let old = fill(&limiter);
    limiter.mark_stale("marked", 1, at(90));
    limiter.mark_stale("old 0", 1, at(90));

    limiter.sweep(at(59));
    assert_eq!(keys(&limiter), old + 1);
    limiter.sweep(at(60));
    assert_eq!(keys(&limiter), 2, "the marked ones");
    assert!(limiter.is_stale("old 0", 0, at(89)));
    limiter.sweep(at(90));
    assert_eq!(keys(&limiter), 0);
    assert_eq!(limiter.occupied().bytes, empty, "the memory is given back");
}

#[test]
fn keys_used_under_a_wrong_future_time_leave_as_well() {
    let limiter = MemoryLimiter::new(1 << 20);
    for n in 0..10 {
        assert!(is_admitted(&limiter, &format!("{n}"), at(4_000_000_000)));
    }
    limiter.sweep(at(0));
    assert_eq!(keys(&limiter), 10, "the step back is not taken for an idle window");
    limiter.sweep(at(60));
    assert_eq!(keys(&limiter), 0);
}

/// The estimate is what a counting allocator would say, give or take: every name, entry and bucket, and both tables.
#[test]
fn what_is_occupied_is_counted_key_by_key() {
    let mut shard = Shard::new(usize::MAX);
    let name = |n: usize| format!("address:2001:db8:0:{n:04x}::/64:POST /auth/email/request");
    for n in 0..7_168 {
        shard.insert(&name(n), Entry::default());
    }
    // 2^13 places of 25 bytes and a ring of 2^13 places of 16 bytes; a name of 51 bytes behind two counts.
    let (table, ring, text) = (8_192 * 25 + 16 + 8, 8_192 * 16 + 8, 80);
    let entry = (16 + size_of::<Entry>() + 8).next_multiple_of(16);
    let expected = table + ring + 7_168 * (text + entry);
    assert!(shard.bytes().abs_diff(expected) <= 32, "{} and {expected}", shard.bytes());
    let per_key = shard.bytes() / 7_168;
    assert!((200..400).contains(&per_key), "{per_key}");
    assert!(Arc::strong_count(&shard.entry(&name(1)).unwrap().1) == 2);
}

/// One that a million addresses of one /48 ask for does not fill the memory, nor keep others out.
#[test]
fn a_network_of_a_million_addresses_is_held_to_its_own_limit() {
    let limiter = MemoryLimiter::new(4 << 20);
    let standard = Limit::per_minute(60);
    let attempt = |network: &str, middle: String, address: String| {
        let level = |key: &str, times| Level {
            key: format!("address:{key}:GET /tokens"),
            limit: Limit { count: standard.count * times, ..standard },
        };
        let levels = [level(&address, 1), level(&middle, 4), level(network, 16)];
        let verdict = limiter.admit_levels(network, &levels, at(0)).now_or_never().unwrap();
        matches!(verdict, Verdict::Admitted(_))
    };
    let mut admitted = 0;
    for n in 0..1_000_000_u32 {
        let (middle, last) = (n >> 8 & 0xff, n & 0xff);
        let (middle, last) =
            (format!("2001:db8:0:{middle:02x}00::/56"), format!("2001:db8:0:{middle:02x}{last:02x}::/64"));
        admitted += u32::from(attempt("2001:db8::/48", middle, last));
    }
    assert_eq!(admitted, 960, "sixteen times the limit of one address");
    assert!(keys(&limiter) <= 960 + 256 + 1, "{}", keys(&limiter));
    for n in 1..100 {
        let [network, middle, address] = [48, 56, 64].map(|length| format!("2001:db8:{n:x}::/{length}"));
        assert!(attempt(&network, middle, address), "somebody elsewhere");
    }
}

#[test]
fn what_one_level_refuses_is_counted_at_none() {
    let limiter = MemoryLimiter::new(1 << 20);
    let level =
        |key: &str, count| Level { key: key.to_owned(), limit: Limit { count, window: Duration::from_mins(1) } };
    let attempt = |address: &str| {
        let levels = [level(address, 2), level("middle", 5), level("network", 6)];
        limiter.admit_levels("network", &levels, at(0)).now_or_never().unwrap()
    };
    let remaining = |key: &str, count| limiter.peek(key, level(key, count).limit, at(0)).remaining;
    for left in [1, 0] {
        assert!(matches!(attempt("a"), Verdict::Admitted(quota) if quota.remaining == left && quota.limit == 2));
    }
    for _ in 0..10 {
        assert!(matches!(attempt("a"), Verdict::Refused { quota, .. } if quota.limit == 2));
    }
    assert_eq!((remaining("middle", 5), remaining("network", 6)), (3, 4), "refusals take nothing from neighbours");
    assert!(matches!(attempt("b"), Verdict::Admitted(_)));
    assert!(matches!(attempt("b"), Verdict::Admitted(_)));
    assert!(matches!(attempt("c"), Verdict::Admitted(quota) if quota.limit == 5 && quota.remaining == 0));
    assert!(matches!(attempt("d"), Verdict::Refused { quota, .. } if quota.limit == 5));
    assert!(limiter.place_of("d").is_none(), "a network at its limit makes no new keys");
    assert_eq!((remaining("c", 2), remaining("d", 2), remaining("network", 6)), (1, 2, 1));
}
