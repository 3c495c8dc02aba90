//! Time-based one-time passwords: RFC 6238 over HMAC-SHA-1, six digits, a new one every 30 seconds, which is what
//! every authenticator app makes.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use domain::{OneTimeCode, Timestamp};
use secrecy::{ExposeSecret, SecretSlice};

const STEP_SECONDS: i64 = 30;
const COMBINATIONS: u32 = 1_000_000;
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The step around `now` whose code this is. The app's clock may be a step off; a step up to `last_step` is over.
pub(super) fn find_step(secret: &SecretSlice<u8>, code: &OneTimeCode, now: Timestamp, last_step: i64) -> Option<i64> {
    let present = now.as_seconds().div_euclid(STEP_SECONDS);
    (present - 1..=present + 1).filter(|step| *step > last_step).find(|step| is_of(secret, code, *step))
}

/// The later of two successive steps whose codes these are, both after `last_step`; that one is as near to `now` as a
/// single one has to be.
pub(super) fn find_two_steps(
    secret: &SecretSlice<u8>,
    codes: [&OneTimeCode; 2],
    now: Timestamp,
    last_step: i64,
) -> Option<i64> {
    let present = now.as_seconds().div_euclid(STEP_SECONDS);
    let are_of = |later: &i64| is_of(secret, codes[0], later - 1) & is_of(secret, codes[1], *later);
    (present - 1..=present + 1).filter(|later| later - 1 > last_step).find(are_of)
}

fn is_of(secret: &SecretSlice<u8>, code: &OneTimeCode, step: i64) -> bool {
    let right = format!("{:06}", truncated(secret.expose_secret(), step) % COMBINATIONS);
    verify_slices_are_equal(right.as_bytes(), code.expose().as_bytes()).is_ok()
}

/// RFC 4226 §5.3.
fn truncated(secret: &[u8], step: i64) -> u32 {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag[tag.len() - 1] & 0xf);
    u32::from_be_bytes([tag[offset], tag[offset + 1], tag[offset + 2], tag[offset + 3]]) & 0x7fff_ffff
}

/// RFC 4648 base32 without padding.
pub(super) fn base32(bytes: &[u8]) -> String {
    let digit = |chunk: &[u8], number: usize| {
        let bits = chunk.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte)) << (8 * (5 - chunk.len()));
        char::from(ALPHABET[usize::try_from(bits >> (35 - 5 * number) & 31).expect("five bits")])
    };
    let digits = |chunk: &[u8]| (0..(chunk.len() * 8).div_ceil(5)).map(|number| digit(chunk, number)).collect();
    bytes.chunks(5).map(digits).collect::<Vec<String>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, SHA-1.
    const SECRET: &[u8] = b"12345678901234567890";
    const VECTORS: [(i64, u32); 6] = [
        (59, 94_287_082),
        (1_111_111_109, 7_081_804),
        (1_111_111_111, 14_050_471),
        (1_234_567_890, 89_005_924),
        (2_000_000_000, 69_279_037),
        (20_000_000_000, 65_353_130),
    ];

    #[test]
    fn makes_the_codes_of_rfc_6238() {
        for (seconds, code) in VECTORS {
            assert_eq!(truncated(SECRET, seconds / STEP_SECONDS) % 100_000_000, code, "{seconds}");
        }
    }

    #[test]
    fn a_code_is_right_a_step_early_and_late_and_after_the_last_one() {
        let secret: SecretSlice<u8> = SECRET.to_vec().into();
        let code: OneTimeCode = "287082".parse().unwrap();
        let find = |seconds, last| find_step(&secret, &code, Timestamp::from_seconds(seconds), last);
        assert_eq!([0, 29, 30, 59, 60, 89].map(|seconds| find(seconds, 0)), [Some(1); 6]);
        assert_eq!([-1, 90].map(|seconds| find(seconds, 0)), [None; 2]);
        assert_eq!(find(59, 1), None);
    }

    #[test]
    fn two_codes_are_right_in_a_row_and_after_the_last_one() {
        let secret: SecretSlice<u8> = SECRET.to_vec().into();
        let code = |step| format!("{:06}", truncated(SECRET, step) % COMBINATIONS).parse::<OneTimeCode>().unwrap();
        let find = |first, second, seconds, last| {
            find_two_steps(&secret, [&code(first), &code(second)], Timestamp::from_seconds(seconds), last)
        };
        assert_eq!([59, 60, 119, 149].map(|seconds| find(2, 3, seconds, 0)), [None, Some(3), Some(3), Some(3)]);
        assert_eq!(find(2, 3, 150, 0), None);
        assert_eq!(find(3, 2, 90, 0), None, "in their order");
        assert_eq!(find(2, 4, 90, 0), None, "one after the other");
        assert_eq!((find(2, 3, 90, 1), find(2, 3, 90, 2)), (Some(3), None), "a code that was used is none");
    }

    #[test]
    fn base32_is_that_of_rfc_4648() {
        let vectors =
            [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foob", "MZXW6YQ"), ("fooba", "MZXW6YTB")];
        for (bytes, text) in vectors {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
        assert_eq!(base32(b"foobar"), "MZXW6YTBOI");
    }
}
