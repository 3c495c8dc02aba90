//! Proof Key for Code Exchange (RFC 7636): a one-time code is good only for whoever began what it came from.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The SHA-256 of a verifier (`S256`), 43 characters of base64url. Comparison takes constant time.
#[derive(Debug, Clone, Copy, Eq)]
pub struct CodeChallenge([u8; 32]);

/// The secret behind a [`CodeChallenge`]: 43 to 128 unreserved characters. It cannot be printed by accident.
#[derive(Clone)]
pub struct CodeVerifier(SecretString);

/// Text that cannot be a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the base64url of a SHA-256, 43 characters without padding (RFC 7636, S256)")]
pub struct MalformedCodeChallenge;

/// Text that cannot be a verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 43 to 128 letters, digits, hyphens, dots, underscores or tildes (RFC 7636)")]
pub struct MalformedCodeVerifier;

impl CodeVerifier {
    /// The challenge that goes with it.
    #[must_use]
    pub fn challenge(&self) -> CodeChallenge {
        CodeChallenge(Sha256::digest(self.0.expose_secret().as_bytes()).into())
    }
}

impl PartialEq for CodeChallenge {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Display for CodeChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL.encode(self.0))
    }
}

impl FromStr for CodeChallenge {
    type Err = MalformedCodeChallenge;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = BASE64URL.decode(text).map_err(|_| MalformedCodeChallenge)?;
        bytes.try_into().map(Self).map_err(|_| MalformedCodeChallenge)
    }
}

impl FromStr for CodeVerifier {
    type Err = MalformedCodeVerifier;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if (43..=128).contains(&text.len()) && text.bytes().all(unreserved) {
            Ok(Self(text.into()))
        } else {
            Err(MalformedCodeVerifier)
        }
    }
}

impl fmt::Debug for CodeVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeVerifier([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn a_challenge_is_what_rfc_7636_has() {
        let verifier: CodeVerifier = VERIFIER.parse().unwrap();
        assert_eq!(CHALLENGE.parse(), Ok(verifier.challenge()));
        assert_eq!(verifier.challenge().to_string(), CHALLENGE);
        assert_eq!(format!("{verifier:?}"), "CodeVerifier([REDACTED])");
    }

    #[test]
    fn other_texts_are_refused() {
        let padded = format!("{CHALLENGE}=");
        for text in ["", "x", &padded, &CHALLENGE[1..], &CHALLENGE.replace('-', "+"), &"_".repeat(43), &"é".repeat(22)]
        {
            assert!(text.parse::<CodeChallenge>().is_err(), "{text:?}");
        }
        for text in ["", &VERIFIER[1..], &"x".repeat(129), &format!("{VERIFIER} "), &"é".repeat(30)] {
            assert!(text.parse::<CodeVerifier>().is_err(), "{text:?}");
        }
        assert!("~".repeat(128).parse::<CodeVerifier>().is_ok());
    }
}
