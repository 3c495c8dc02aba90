//! What windows take in fact. By itself in its process, so that nobody else's memory is measured.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

use domain::{Limit, Timestamp};
use futures_util::FutureExt as _;
use limiter::{Limiter, Occupied, Verdict};

const KEYS: usize = 1_000_000;

/// What of this process is in memory, in bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn a_million_keys_take_what_is_estimated_and_give_it_back() {
    let limiter = Limiter::in_memory(1 << 30);
    let at = Timestamp::from_seconds;
    let before = resident();
    for n in 0..KEYS {
        let key = format!("address:2001:db8:{:x}:{:x}::/64:POST /auth/email/request", n >> 16, n & 0xffff);
        let asked = limiter.admit(&key, Limit::per_minute(60), at(0)).now_or_never();
        assert!(matches!(asked, Some(Verdict::Admitted(_))));
    }
    let (Occupied { keys, bytes }, taken) = (limiter.occupied(), resident() - before);
    println!("{keys} keys: {} MiB by estimate, {} MiB resident", bytes >> 20, taken >> 20);
    assert_eq!(keys, KEYS);
    assert!((bytes / 2..bytes + bytes / 4).contains(&taken), "{taken} bytes, estimated {bytes}");

    limiter.sweep(at(60));
    assert_eq!(limiter.occupied(), Occupied { keys: 0, bytes: 0 });
}
