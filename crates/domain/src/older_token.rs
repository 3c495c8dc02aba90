//! Tokens that an older system issued and an operator imported. They have any form and no checksum.

use sha2::{Digest as _, Sha256};

use crate::token;

/// Shorter ones can be guessed: 20 hexadecimal characters are 80 bits.
const MIN_LENGTH: usize = 20;
/// Longer ones do not fit into the headers that they are sent in, beside everything else.
const MAX_LENGTH: usize = 2_048;

/// Why a text cannot be an older system's token. It names no part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OlderTokenError {
    /// Too short to be a secret.
    #[error("the token has fewer than 20 characters: it could be guessed")]
    TooShort,
    /// Too long for a header.
    #[error("the token has more than 2048 characters")]
    TooLong,
    /// White space, control characters, or others outside ASCII.
    #[error("the token holds white space or characters outside ASCII, which no Authorization header can carry")]
    Characters,
    /// It is signed and ends by itself; and it would be taken for a session's.
    #[error("the token is a JWT, which is checked by its signature and cannot be imported")]
    Jwt,
}

/// Checks that the text could be an older system's token: 20 to 2048 printable characters of ASCII, and no JWT. Text
/// of any length and content is answered without a panic or an allocation.
pub fn check(text: &str) -> Result<(), OlderTokenError> {
    let bytes = text.as_bytes();
    if bytes.len() < MIN_LENGTH {
        return Err(OlderTokenError::TooShort);
    }
    if bytes.len() > MAX_LENGTH {
        return Err(OlderTokenError::TooLong);
    }
    if !bytes.iter().all(u8::is_ascii_graphic) {
        return Err(OlderTokenError::Characters);
    }
    // `{"` in Base64: how the header of every JWT begins.
    if text.starts_with("eyJ") && text.matches('.').count() >= 2 {
        return Err(OlderTokenError::Jwt);
    }
    Ok(())
}

/// The first characters that may be shown of an older system's token: at most a quarter of it.
#[must_use]
pub fn prefix(token: &str) -> &str {
    token.get(..token::PREFIX_LENGTH.min(token.len() / 4)).unwrap_or_default()
}

/// 20 bits of the token's SHA-256, as five hexadecimal characters. What older tokens begin with tells them apart
/// badly, so this is how the few rows are found that one of them may belong to when no digest matches. Of the 80 bits
/// or more that a token has it gives away 20, to those who have the database.
#[must_use]
pub fn hint(token: &str) -> String {
    format!("{:05x}", hint_bits(token))
}

/// The same as a number below 2²⁰.
#[must_use]
pub fn hint_bits(token: &str) -> u32 {
    let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    let [first, second, third, ..] = hash;
    u32::from_be_bytes([0, first, second, third]) >> 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tokens_of_any_usual_form_pass() {
        for text in [
            "0123456789abcdef0123",
            "af_live_9f86d081884c7d659a2feaa0c55ad015",
            "12|laravelSanctumTokenWithABar",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "9b2f1f0e-2c1d-4a7e-8a53-1f6f3f0d8c11",
            "dXNlcjpzZWNyZXQ6MTIzNDU2Nzg5MA==",
            &"x".repeat(2_048),
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        for (text, error) in [
            ("", OlderTokenError::TooShort),
            ("0123456789abcdef012", OlderTokenError::TooShort),
            (&*"x".repeat(2_049), OlderTokenError::TooLong),
            ("0123456789abcdef 0123", OlderTokenError::Characters),
            ("0123456789abcdef0123\0", OlderTokenError::Characters),
            ("0123456789abcdef012ä", OlderTokenError::Characters),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", OlderTokenError::Jwt),
        ] {
            assert_eq!(check(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn most_of_a_token_is_never_shown() {
        assert_eq!(prefix("0123456789abcdef0123"), "01234");
        assert_eq!(prefix("af_live_9f86d081884c7d659a2feaa0c55ad015"), "af_live_9f");
        assert_eq!(prefix(&"x".repeat(500)), "xxxxxxxxxxxx");
    }

    #[test]
    fn hints_are_five_characters_of_the_hash() {
        // SHA-256 of the empty text begins with e3b0c442.
        assert_eq!(hint(""), "e3b0c");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = check(&text);
            prop_assert!(prefix(&text).len() <= token::PREFIX_LENGTH);
            prop_assert_eq!(hint(&text).len(), 5);
        }
    }
}
