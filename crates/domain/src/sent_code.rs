//! Codes that are sent to people who sign in.

use std::fmt;
use std::str::FromStr;

use rand::CryptoRng;
use secrecy::{ExposeSecret, SecretString};

use crate::OneTimeCode;

/// How long a code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeShape {
    /// Six digits: quickly typed, and one of a million, so that guesses at it have to be counted.
    SixDigits,
    /// Ten characters of 32: 50 bits, which no number of guesses over a network finds.
    TenCharacters,
}

/// A code that was sent, or that somebody typed. It cannot be printed by accident; at rest only its keyed digest exists.
#[derive(Clone)]
pub struct SentCode {
    shape: CodeShape,
    text: SecretString,
}

/// Input that is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the code that was sent: six digits, or ten letters and digits")]
pub struct MalformedSentCode;

/// No 0, 1, I and O: whoever copies the code from another screen mistakes nothing for them.
const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
const LENGTH: usize = 10;

impl SentCode {
    /// A new code; all of its shape are equally likely.
    #[must_use]
    pub fn generate<R: CryptoRng + ?Sized>(shape: CodeShape, rng: &mut R) -> Self {
        let text = match shape {
            CodeShape::SixDigits => OneTimeCode::generate(rng).expose().to_owned(),
            CodeShape::TenCharacters => {
                let mut bytes = [0u8; LENGTH];
                rng.fill_bytes(&mut bytes);
                bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 0x1f)])).collect()
            }
        };
        Self { shape, text: text.into() }
    }

    /// How long it is.
    #[must_use]
    pub const fn shape(&self) -> CodeShape {
        self.shape
    }

    /// The code as it is hashed.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// The code as people see it, for the one message that carries it: `123456` or `ABCDE-FGH23`.
    #[must_use]
    pub fn show(&self) -> SecretString {
        match self.shape {
            CodeShape::SixDigits => self.text.clone(),
            CodeShape::TenCharacters => {
                let (first, second) = self.expose().split_at(LENGTH / 2);
                format!("{first}-{second}").into()
            }
        }
    }
}

impl FromStr for SentCode {
    type Err = MalformedSentCode;

    /// Reads what a person typed or pasted: case, spaces and hyphens do not matter.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(digits) = text.parse::<OneTimeCode>() {
            return Ok(Self { shape: CodeShape::SixDigits, text: digits.expose().to_owned().into() });
        }
        let typed = text.chars().filter(|c| !c.is_whitespace() && *c != '-').take(LENGTH + 1);
        let text: String = typed.map(|c| c.to_ascii_uppercase()).collect();
        if text.len() == LENGTH && text.bytes().all(|byte| ALPHABET.contains(&byte)) {
            Ok(Self { shape: CodeShape::TenCharacters, text: text.into() })
        } else {
            Err(MalformedSentCode)
        }
    }
}

impl fmt::Debug for SentCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SentCode([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    #[test]
    fn every_character_is_equally_likely() {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let mut counts = [0u32; ALPHABET.len()];
        for _ in 0..32_000 {
            let code = SentCode::generate(CodeShape::TenCharacters, &mut rng);
            assert_eq!(code.expose().len(), LENGTH);
            for byte in code.expose().bytes() {
                counts[ALPHABET.iter().position(|&known| known == byte).unwrap()] += 1;
            }
        }
        // 10,000 expected, standard deviation 98.
        assert!(counts.iter().all(|count| (9_400..=10_600).contains(count)), "{counts:?}");
    }

    #[test]
    fn how_it_is_typed_does_not_matter() {
        for text in ["ABCDE-FGH23", "abcdefgh23", " aBcDe fGh-23\n"] {
            let code: SentCode = text.parse().unwrap();
            assert_eq!((code.shape(), code.expose()), (CodeShape::TenCharacters, "ABCDEFGH23"), "{text:?}");
            assert_eq!(code.show().expose_secret(), "ABCDE-FGH23");
        }
        for text in ["123456", " 123-456\n"] {
            let code: SentCode = text.parse().unwrap();
            assert_eq!((code.shape(), code.expose()), (CodeShape::SixDigits, "123456"), "{text:?}");
            assert_eq!(code.show().expose_secret(), "123456");
        }
        for text in ["", "12345", "1234567", "ABCDEFGH2", "ABCDEFGH234", "ABCDEFGHI2", "ABCDEFGH20", "ＡBCDEFGH23"] {
            assert_eq!(text.parse::<SentCode>().unwrap_err(), MalformedSentCode, "{text:?}");
        }
    }

    #[test]
    fn it_cannot_be_printed() {
        let code = SentCode::generate(CodeShape::TenCharacters, &mut ChaCha20Rng::seed_from_u64(1));
        assert_eq!(format!("{code:?}"), "SentCode([REDACTED])");
    }
}
