//! The grammar of personal access tokens.
//!
//! ```text
//! af_live_ 32 random base62 characters 6 base62 characters
//! └ kind ┘ └──────── 190 bits ────────┘ └ CRC-32 of all before ┘
//! ```
//!
//! The fixed beginning and the checksum let secret scanners recognise a token without asking anyone, and let us drop
//! garbage before any lookup.

use std::fmt;

use rand::CryptoRng;
use secrecy::{ExposeSecret, SecretString};

use crate::base62;
use crate::older_token::{self, OlderTokenError};

const KIND_LENGTH: usize = "af_live_".len();
const RANDOM_LENGTH: usize = 32;
const CHECKSUM_LENGTH: usize = 6;
/// Length of a whole token in bytes.
pub const LENGTH: usize = KIND_LENGTH + RANDOM_LENGTH + CHECKSUM_LENGTH;
/// How many of the first characters are kept in clear, for display and for finding candidates after a key change.
pub const PREFIX_LENGTH: usize = KIND_LENGTH + 4;

/// Whether a token opens real things or only those of a test environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `af_live_…`
    Live,
    /// `af_test_…`
    Test,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "af_live_",
            Self::Test => "af_test_",
        }
    }
}

/// A whole token in clear. It exists between its making and the one reply that shows it; it cannot be printed by
/// accident and is wiped from memory when dropped.
#[derive(Clone)]
pub struct TokenSecret(SecretString);

impl TokenSecret {
    /// A new token of 190 random bits.
    #[must_use]
    pub fn generate<R: CryptoRng + ?Sized>(kind: Kind, rng: &mut R) -> Self {
        let mut text = String::with_capacity(LENGTH);
        text.push_str(kind.as_str());
        base62::push_random(&mut text, RANDOM_LENGTH, rng);
        let checksum = base62::six_characters(crc32fast::hash(text.as_bytes()));
        text.extend(checksum.map(char::from));
        Self(text.into())
    }

    /// A token of an older system: of our form, or of any other that [`older_token::check`] lets through.
    ///
    /// # Errors
    /// Why it cannot be one.
    pub fn of_older_system(text: &str) -> Result<Self, OlderTokenError> {
        if !is_well_formed(text) {
            older_token::check(text)?;
        }
        Ok(Self(text.into()))
    }

    /// The token itself. Whoever calls this hands it to its owner or hashes it; it goes nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The first characters, which do not open anything.
    #[must_use]
    pub fn prefix(&self) -> &str {
        let text = self.expose();
        if is_well_formed(text) { prefix(text) } else { older_token::prefix(text) }
    }

    /// The hint by which a token of another form than ours is found when its digest is not; `None` for one of ours.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = self.expose();
        (!is_well_formed(text)).then(|| older_token::hint(text))
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret([REDACTED])")
    }
}

/// Whether the text could be a token that we issued: right kind, length, alphabet and checksum. It says nothing about
/// whether the token exists. Text of any length and content is answered without a panic or an allocation.
#[must_use]
pub fn is_well_formed(candidate: &str) -> bool {
    let bytes = candidate.as_bytes();
    if bytes.len() != LENGTH
        || !(candidate.starts_with(Kind::Live.as_str()) || candidate.starts_with(Kind::Test.as_str()))
    {
        return false;
    }
    let (body, checksum) = bytes.split_at(LENGTH - CHECKSUM_LENGTH);
    body[KIND_LENGTH..].iter().all(u8::is_ascii_alphanumeric)
        && checksum == base62::six_characters(crc32fast::hash(body)).as_slice()
}

/// Whether the text means to be a personal access token, well formed or not, rather than a JWT.
#[must_use]
pub fn looks_like_token(candidate: &str) -> bool {
    candidate.starts_with("af_")
}

/// The first characters of a well-formed token.
///
/// # Panics
/// When the text is not a well-formed token; ask [`is_well_formed`] first.
#[must_use]
pub fn prefix(token: &str) -> &str {
    &token[..PREFIX_LENGTH]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    fn token() -> TokenSecret {
        TokenSecret::generate(Kind::Live, &mut ChaCha20Rng::seed_from_u64(7))
    }

    #[test]
    fn a_generated_token_follows_the_grammar() {
        let token = token();
        let text = token.expose();

        assert_eq!(text.len(), 46);
        assert!(text.starts_with("af_live_"));
        assert!(is_well_formed(text));
        assert_eq!(token.prefix(), &text[..12]);
        assert!(is_well_formed(TokenSecret::generate(Kind::Test, &mut ChaCha20Rng::seed_from_u64(8)).expose()));
    }

    /// A vector for those who write a scanner in another language.
    #[test]
    fn the_checksum_is_crc32_of_iso_hdlc_in_base62() {
        assert!(is_well_formed("af_live_000000000000000000000000000000001Rwe4s"));
    }

    #[test]
    fn it_cannot_be_printed() {
        assert_eq!(format!("{:?}", token()), "TokenSecret([REDACTED])");
    }

    #[test]
    fn every_change_of_one_character_is_noticed() {
        let original = token().expose().to_owned();
        for place in 0..original.len() {
            for replacement in ["", "A", "b", "0", "_", "\0", "ä"] {
                let changed = format!("{}{replacement}{}", &original[..place], &original[place + 1..]);
                assert_eq!(is_well_formed(&changed), changed == original, "{changed}");
            }
            let byte = original.as_bytes()[place];
            let recased = if byte.is_ascii_lowercase() { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
            let changed = format!("{}{}{}", &original[..place], char::from(recased), &original[place + 1..]);
            assert_eq!(is_well_formed(&changed), changed == original, "{changed}");
        }
        for changed in [format!("{original}a"), format!(" {original}"), format!("{original}\0"), original.repeat(2)] {
            assert!(!is_well_formed(&changed), "{changed}");
        }
    }

    #[test]
    fn older_tokens_of_our_form_are_as_ours_and_others_have_a_hint() {
        let ours = TokenSecret::of_older_system(token().expose()).unwrap();
        assert_eq!((ours.prefix().len(), ours.hint()), (PREFIX_LENGTH, None));
        // Our beginning and length, and no checksum.
        let other = TokenSecret::of_older_system("af_live_00000000000000000000000000000000000000").unwrap();
        assert_eq!(other.prefix(), "af_live_000");
        assert_eq!(other.hint().unwrap().len(), 5);
        assert_eq!(TokenSecret::of_older_system("short").err(), Some(OlderTokenError::TooShort));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            prop_assert!(!is_well_formed(&text));
        }
    }
}
