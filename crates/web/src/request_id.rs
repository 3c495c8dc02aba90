//! The ids of requests.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use domain::{Chance, ClientInfo};
use http::{HeaderMap, HeaderName, HeaderValue};
use rand::rngs::StdRng;
use rand::{CryptoRng, Rng as _, SeedableRng as _};
use telemetry::Striped;

/// `X-Request-Id`.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// 21 base62 characters, 125 random bits, as in all our ids.
const GENERATED_LENGTH: usize = 21;
/// [`ClientInfo::is_sane_request_id`] takes no longer ones.
const MAX_LENGTH: usize = 64;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The id under which a request is in the log and in its reply: 1 to 64 of `[A-Za-z0-9._-]`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    text: [u8; MAX_LENGTH],
    length: u8,
}

impl RequestId {
    /// The caller's, where it is sane, else a new one.
    #[must_use]
    pub fn of(headers: &HeaderMap, chance: &Chance) -> Self {
        Self::told(headers).unwrap_or_else(|| chance.with(|rng| Self::random(rng)))
    }

    fn told(headers: &HeaderMap) -> Option<Self> {
        let id = headers.get(REQUEST_ID)?.to_str().ok().filter(|id| ClientInfo::is_sane_request_id(id))?;
        let mut text = [0; MAX_LENGTH];
        text.get_mut(..id.len())?.copy_from_slice(id.as_bytes());
        Some(Self { text, length: u8::try_from(id.len()).ok()? })
    }

    #[expect(clippy::cast_possible_truncation, reason = "the whole part is below 62, and the fraction is what is left")]
    fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut text = [0; MAX_LENGTH];
        for characters in text[..GENERATED_LENGTH].chunks_mut(7) {
            // Seven of them are 42 bits, so that it does not show which of 62 the 64 bits favour.
            let mut bits = rng.next_u64();
            for character in characters {
                let product = u128::from(bits) * 62;
                *character = ALPHABET[(product >> 64) as usize];
                bits = product as u64;
            }
        }
        Self { text, length: GENERATED_LENGTH as u8 }
    }

    fn as_ascii(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }

    /// As a header's value.
    ///
    /// # Panics
    /// Never: its characters are those of a header.
    #[must_use]
    pub fn to_header(&self) -> HeaderValue {
        HeaderValue::from_bytes(self.as_ascii()).expect("its characters are good for a header")
    }
}

impl Deref for RequestId {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(self.as_ascii()).expect("it is ASCII")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

/// Where a service's request ids come from; clones share it. They have to be unique and are no secrets, so the operating
/// system is asked once, and threads do not wait for each other.
#[derive(Clone)]
pub struct RequestIds(Arc<Striped<Mutex<StdRng>>>);

impl RequestIds {
    /// Seeded by `chance`.
    #[must_use]
    pub fn new(chance: &Chance) -> Self {
        let mut seed = [0; 32];
        chance.with(|rng| rng.fill_bytes(&mut seed));
        let mut seeds = StdRng::from_seed(seed);
        Self(Arc::new(Striped::new(|| {
            seeds.fill_bytes(&mut seed);
            Mutex::new(StdRng::from_seed(seed))
        })))
    }

    /// The id of a request: the caller's where it is sane, else a new one.
    #[must_use]
    pub fn of(&self, headers: &HeaderMap) -> RequestId {
        RequestId::told(headers)
            .unwrap_or_else(|| RequestId::random(&mut *self.0.mine().lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for RequestIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestIds")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn ids() -> RequestIds {
        RequestIds::new(&Chance::new(rand_chacha::ChaCha20Rng::seed_from_u64(1)))
    }

    fn with(id: &[u8]) -> HeaderMap {
        HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(id).unwrap())])
    }

    #[test]
    fn the_callers_is_taken_where_it_is_sane() {
        let longest = "x".repeat(64);
        for sane in ["a", "01J-abc_D.e", &longest] {
            assert_eq!(&*ids().of(&with(sane.as_bytes())), sane);
            assert_eq!(ids().of(&with(sane.as_bytes())).to_header(), sane);
        }
        for wild in [&b""[..], b"a b", b"\xff", "x".repeat(65).as_bytes()] {
            assert_eq!(ids().of(&with(wild)).len(), GENERATED_LENGTH, "{wild:?}");
        }
    }

    /// Also over threads, which draw from sources of their own.
    #[test]
    fn made_ones_are_sane_and_differ_and_use_the_whole_alphabet() {
        let ids = ids();
        let made: HashSet<String> = std::thread::scope(|scope| {
            let draw = || (0..2_000).map(|_| ids.of(&HeaderMap::new()).to_string()).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(draw)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(made.len(), 8_000);
        assert!(made.iter().all(|id| id.len() == GENERATED_LENGTH && ClientInfo::is_sane_request_id(id)));
        for place in 0..GENERATED_LENGTH {
            assert_eq!(made.iter().map(|id| id.as_bytes()[place]).collect::<HashSet<_>>().len(), 62, "{place}");
        }
    }
}
