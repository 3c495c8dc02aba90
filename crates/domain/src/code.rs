//! One-time codes that are sent to people.

use std::fmt;
use std::str::FromStr;

use rand::CryptoRng;
use secrecy::{ExposeSecret, SecretString};

/// Six digits. It cannot be printed by accident; at rest only its keyed digest exists.
#[derive(Clone)]
pub struct OneTimeCode(SecretString);

/// Input that is not six digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the six digits that were sent")]
pub struct MalformedCode;

const COMBINATIONS: u32 = 1_000_000;

impl OneTimeCode {
    /// A new code; every one of the million is equally likely.
    #[must_use]
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        // Numbers above the last whole multiple of a million are drawn again; keeping them would favour low codes.
        let fair = u32::MAX - u32::MAX % COMBINATIONS;
        let number = loop {
            let drawn = rng.next_u32();
            if drawn < fair {
                break drawn % COMBINATIONS;
            }
        };
        Self(format!("{number:06}").into())
    }

    /// The digits, for the message that carries them and for hashing.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl FromStr for OneTimeCode {
    type Err = MalformedCode;

    /// Reads what a person typed or pasted: spaces and hyphens between the digits do not matter.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').take(7).collect();
        if digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self(digits.into()))
        } else {
            Err(MalformedCode)
        }
    }
}

impl fmt::Debug for OneTimeCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimeCode([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    #[test]
    fn first_digits_are_equally_likely() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let mut counts = [0u32; 10];
        for _ in 0..100_000 {
            let code = OneTimeCode::generate(&mut rng);
            assert_eq!(code.expose().len(), 6);
            counts[usize::from(code.expose().as_bytes()[0] - b'0')] += 1;
        }
        // 10,000 expected, standard deviation 95.
        assert!(counts.iter().all(|count| (9_400..=10_600).contains(count)), "{counts:?}");
    }

    #[test]
    fn typed_codes_may_be_spaced() {
        assert_eq!(" 123 456\n".parse::<OneTimeCode>().unwrap().expose(), "123456");
        assert_eq!("012-345".parse::<OneTimeCode>().unwrap().expose(), "012345");
        for text in ["", "12345", "1234567", "12345a", "１２３４５６", "-1234 5"] {
            assert_eq!(text.parse::<OneTimeCode>().unwrap_err(), MalformedCode, "{text:?}");
        }
    }

    #[test]
    fn it_cannot_be_printed() {
        assert_eq!(format!("{:?}", "123456".parse::<OneTimeCode>().unwrap()), "OneTimeCode([REDACTED])");
    }
}
