//! Typed identifiers. A `UserId` is never passed where a `TokenId` is due.

use std::fmt;
use std::str::FromStr;

use rand::CryptoRng;
use serde::{Deserialize, Serialize};

use crate::base62;

/// 21 base62 characters, 125 random bits: as hard to guess and as unlikely to collide as a UUID.
const GENERATED_LENGTH: usize = 21;
/// Imported rows keep the ids they had, UUIDs among them.
const MAX_LENGTH: usize = 64;

/// Text that cannot be an id of ours: empty, over 64 characters, or with others than `[A-Za-z0-9_-]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a well-formed id")]
pub struct MalformedId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// A new random id.
            #[must_use]
            pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
                let mut text = String::with_capacity(GENERATED_LENGTH);
                base62::push_random(&mut text, GENERATED_LENGTH, rng);
                Self(text)
            }

            /// The id's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.to_owned().try_into()
            }
        }

        impl TryFrom<String> for $name {
            type Error = MalformedId;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                if is_well_formed(&text) { Ok(Self(text)) } else { Err(MalformedId) }
            }
        }
    };
}

fn is_well_formed(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_LENGTH
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

id!(
    /// A customer's application; its users, tokens and events are its own.
    AppId
);
id!(
    /// A person with an account.
    UserId
);
id!(
    /// One way in of a user: an e-mail address, a phone number, a wallet, an account at a provider.
    AuthMethodId
);
id!(
    /// One signed-in device; also the family of all refresh tokens that follow from one sign-in.
    SessionId
);
id!(
    /// A personal access token. Rotation replaces its secret and keeps its id.
    TokenId
);
id!(
    /// One secret of a personal access token; a token within a rotation's grace has several.
    TokenSecretId
);
id!(
    /// A one-time code that was sent to somebody.
    CodeId
);
id!(
    /// A program that waits for somebody to let it in.
    PairingId
);
id!(
    /// An audit event.
    EventId
);
id!(
    /// A signing key of access JWTs, the `kid` of RFC 7517.
    KeyId
);

impl AppId {
    /// The app that every row belongs to until an installation serves several.
    #[must_use]
    pub fn default_app() -> Self {
        Self("default".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    #[test]
    fn generated_ids_are_well_formed_and_differ() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let first = UserId::generate(&mut rng);
        let second = UserId::generate(&mut rng);

        assert_ne!(first, second);
        assert_eq!(first.as_str().len(), GENERATED_LENGTH);
        assert_eq!(first.as_str().parse(), Ok(first));
    }

    #[test]
    fn foreign_text_is_refused() {
        for text in ["", "a b", "a/b", "ä", "a\0", &"x".repeat(65)] {
            assert_eq!(text.parse::<TokenId>(), Err(MalformedId), "{text:?}");
        }
        assert!("9b2f1f0e-2c1d-4a7e-8a53-1f6f3f0d8c11".parse::<TokenId>().is_ok());
    }
}
