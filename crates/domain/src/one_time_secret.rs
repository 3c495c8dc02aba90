//! Random texts that open something once.

use std::fmt;
use std::str::FromStr;

use rand::CryptoRng;
use secrecy::{ExposeSecret, SecretString};

use crate::base62;

/// 32 random base62 characters, 190 bits: a mail link, an OAuth state, an exchange code, a poll secret. It cannot be
/// printed by accident; at rest only its keyed digest exists.
#[derive(Clone)]
pub struct OneTimeSecret(SecretString);

const LENGTH: usize = 32;

/// Text that cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not what this service has given out")]
pub struct MalformedOneTimeSecret;

impl OneTimeSecret {
    /// A new secret.
    #[must_use]
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut text = String::with_capacity(LENGTH);
        base62::push_random(&mut text, LENGTH, rng);
        Self(text.into())
    }

    /// The text, for the one message that carries it and for hashing.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl FromStr for OneTimeSecret {
    type Err = MalformedOneTimeSecret;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() == LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            Ok(Self(text.into()))
        } else {
            Err(MalformedOneTimeSecret)
        }
    }
}

impl fmt::Debug for OneTimeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimeSecret([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    #[test]
    fn it_survives_its_text_and_cannot_be_printed() {
        let secret = OneTimeSecret::generate(&mut ChaCha20Rng::seed_from_u64(1));
        assert_eq!(secret.expose().parse::<OneTimeSecret>().unwrap().expose(), secret.expose());
        assert_eq!(format!("{secret:?}"), "OneTimeSecret([REDACTED])");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "x", &"x".repeat(33), &"-".repeat(32), &"ä".repeat(16)] {
            assert!(text.parse::<OneTimeSecret>().is_err(), "{text:?}");
        }
    }
}
