//! Codes that people compare or type to find the machine that asks for access.

use std::fmt;
use std::str::FromStr;

use rand::CryptoRng;

/// Eight letters without vowels, so that no words arise and none is mistaken for a digit (RFC 8628 §6.1). It opens
/// nothing by itself: who approves with it gives a token of theirs to the machine that shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserCode(String);

const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const LENGTH: usize = 8;

/// Text that is not eight letters of the alphabet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the eight letters that are shown, such as BCDF-GHJK")]
pub struct MalformedUserCode;

impl UserCode {
    /// A new code; all 20⁸ are equally likely.
    #[must_use]
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut text = String::with_capacity(LENGTH);
        let mut bytes = [0u8; 16];
        while text.len() < LENGTH {
            rng.fill_bytes(&mut bytes);
            // Five bits pick one of 32; those outside the alphabet are drawn again, or some letters would be likelier.
            let letters = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte & 0x1f)));
            text.extend(letters.take(LENGTH - text.len()).map(|&letter| char::from(letter)));
        }
        Self(text)
    }

    /// The eight letters, as they are kept and compared.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As people see it: `BCDF-GHJK`.
impl fmt::Display for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = self.0.split_at(LENGTH / 2);
        write!(f, "{first}-{second}")
    }
}

impl FromStr for UserCode {
    type Err = MalformedUserCode;

    /// Reads what a person typed: case, spaces and hyphens do not matter.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let letters = text.chars().filter(|c| !c.is_whitespace() && *c != '-').take(LENGTH + 1);
        let letters: String = letters.map(|c| c.to_ascii_uppercase()).collect();
        if letters.len() == LENGTH && letters.bytes().all(|letter| ALPHABET.contains(&letter)) {
            Ok(Self(letters))
        } else {
            Err(MalformedUserCode)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    #[test]
    fn every_letter_is_equally_likely() {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let mut counts = [0u32; ALPHABET.len()];
        for _ in 0..25_000 {
            let code = UserCode::generate(&mut rng);
            assert_eq!(code.as_str().len(), LENGTH);
            for letter in code.as_str().bytes() {
                counts[ALPHABET.iter().position(|&known| known == letter).unwrap()] += 1;
            }
        }
        // 10,000 expected, standard deviation 97.
        assert!(counts.iter().all(|count| (9_400..=10_600).contains(count)), "{counts:?}");
    }

    #[test]
    fn how_it_is_typed_does_not_matter() {
        let code: UserCode = "BCDFGHJK".parse().unwrap();
        assert_eq!(code.to_string(), "BCDF-GHJK");
        for text in ["bcdf-ghjk", " BcDf GhJk\n", "b-c-d-f-g-h-j-k", &code.to_string()] {
            assert_eq!(text.parse(), Ok(code.clone()), "{text:?}");
        }
        for text in ["", "BCDFGHJ", "BCDFGHJKL", "ACDFGHJK", "BCDFGHJ1", "ＢCDFGHJK", "BCDFGHJ\0"] {
            assert_eq!(text.parse::<UserCode>(), Err(MalformedUserCode), "{text:?}");
        }
    }
}
