//! The end of the audit chain as it is noted outside of the database.
//!
//! Links have no key: whoever can write to the database can compute them all anew, and the chain's end with them. A
//! note of the end that is kept where they cannot write shows it. The note is signed by a key of its own, so that a
//! note that was changed where it is kept shows as well.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{Chance, Timestamp};

/// The first word of a note.
const FORMAT: &str = "afd-audit-head";
/// Names the kind of the key.
const KEY_KIND: &str = "ed25519:";
/// What comes before the 32 bytes of a private key in PKCS #8 (RFC 8410 §7), as openssl writes it.
const PRIVATE_DER: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// What comes before the 32 bytes of a public key (RFC 8410 §4).
const PUBLIC_DER: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// Where the chain ended at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    /// The number of the last event; 0 when there was none.
    pub seq: i64,
    /// Its link: SHA-256 in hexadecimal.
    pub link: String,
    /// When it was read.
    pub at: Timestamp,
}

/// The private key that signs notes. It cannot be printed by accident.
pub struct AuditKey(SigningKey);

/// The public key that verifies them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPublicKey(VerifyingKey);

/// A note: one line of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedAuditHead {
    /// What is noted.
    pub head: AuditHead,
    /// By whom, as the note says itself.
    pub key: AuditPublicKey,
    signature: Signature,
}

/// Text that is no note, or none that its key has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuditHeadError {
    /// It has not the form of one.
    #[error("is not a line that afd audit head has printed")]
    Malformed,
    /// It was changed since it was signed.
    #[error("was changed: its signature is not that of its key")]
    Unsigned,
}

/// A file that holds no Ed25519 key in PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not an Ed25519 key in PEM, as openssl genpkey -algorithm ed25519 makes it")]
pub struct AuditKeyError;

impl AuditKey {
    /// A new key.
    #[must_use]
    pub fn generate(chance: &Chance) -> Self {
        let mut seed = [0u8; 32];
        chance.with(|rng| rng.fill_bytes(&mut seed));
        Self(SigningKey::from_bytes(&seed))
    }

    /// Reads PKCS #8 in PEM.
    pub fn from_pem(pem: &SecretString) -> Result<Self, AuditKeyError> {
        let der = der(pem.expose_secret(), "PRIVATE KEY").ok_or(AuditKeyError)?;
        let seed = der.strip_prefix(&PRIVATE_DER).and_then(|seed| seed.try_into().ok()).ok_or(AuditKeyError)?;
        Ok(Self(SigningKey::from_bytes(seed)))
    }

    /// Writes PKCS #8 in PEM.
    #[must_use]
    pub fn to_pem(&self) -> SecretString {
        let der = [PRIVATE_DER.as_slice(), &self.0.to_bytes()].concat();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64.encode(der)).into()
    }

    /// Its other half.
    #[must_use]
    pub fn public(&self) -> AuditPublicKey {
        AuditPublicKey(self.0.verifying_key())
    }

    /// Signs.
    #[must_use]
    pub fn sign(&self, head: AuditHead) -> SignedAuditHead {
        let key = self.public();
        let signature = self.0.sign(signed_text(&head, &key).as_bytes());
        SignedAuditHead { head, key, signature }
    }
}

impl AuditPublicKey {
    /// Reads a public key in PEM, or takes that of a private one.
    pub fn from_pem(pem: &SecretString) -> Result<Self, AuditKeyError> {
        if let Ok(key) = AuditKey::from_pem(pem) {
            return Ok(key.public());
        }
        let der = der(pem.expose_secret(), "PUBLIC KEY").ok_or(AuditKeyError)?;
        let bytes = der.strip_prefix(&PUBLIC_DER).and_then(|bytes| bytes.try_into().ok()).ok_or(AuditKeyError)?;
        VerifyingKey::from_bytes(bytes).map(Self).map_err(|_| AuditKeyError)
    }
}

impl fmt::Display for AuditPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KEY_KIND}{}", BASE64URL.encode(self.0.as_bytes()))
    }
}

impl fmt::Display for SignedAuditHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", signed_text(&self.head, &self.key), BASE64URL.encode(self.signature.to_bytes()))
    }
}

impl FromStr for SignedAuditHead {
    type Err = AuditHeadError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || AuditHeadError::Malformed;
        let words: Vec<&str> = text.trim().split(' ').collect();
        let [FORMAT, seq, link, at, key, signature] = words.as_slice() else { return Err(malformed()) };
        let key = key.strip_prefix(KEY_KIND).and_then(|key| BASE64URL.decode(key).ok());
        let key = key.and_then(|key| VerifyingKey::from_bytes(key.as_slice().try_into().ok()?).ok());
        let signature = BASE64URL.decode(signature).ok().and_then(|bytes| Signature::from_slice(&bytes).ok());
        let note = Self {
            head: AuditHead {
                seq: seq.parse().map_err(|_| malformed())?,
                link: (*link).to_owned(),
                at: at.parse().map_err(|_| malformed())?,
            },
            key: AuditPublicKey(key.ok_or_else(malformed)?),
            signature: signature.ok_or_else(malformed)?,
        };
        // What is signed is what is written, to the letter.
        if note.to_string() != text.trim() {
            return Err(malformed());
        }
        let signed = signed_text(&note.head, &note.key);
        note.key.0.verify_strict(signed.as_bytes(), &note.signature).map_err(|_| AuditHeadError::Unsigned)?;
        Ok(note)
    }
}

/// All of the line but the signature.
fn signed_text(head: &AuditHead, key: &AuditPublicKey) -> String {
    format!("{FORMAT} {} {} {} {key}", head.seq, head.link, head.at)
}

/// What is between the lines that PEM begins and ends with.
fn der(pem: &str, label: &str) -> Option<Vec<u8>> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let body = pem.trim().strip_prefix(&begin)?.strip_suffix(&end)?;
    let body: String = body.split_ascii_whitespace().collect();
    BASE64.decode(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The private key of RFC 8410 §10.3, and its public key (§10.1).
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                           -----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
                          -----END PUBLIC KEY-----\n";

    fn note() -> SignedAuditHead {
        let head = AuditHead { seq: 57, link: "9f".repeat(32), at: Timestamp::from_millis(1_762_603_200_000) };
        AuditKey::from_pem(&PRIVATE.into()).unwrap().sign(head)
    }

    #[test]
    fn keys_are_those_of_rfc_8410() {
        let key = AuditKey::from_pem(&PRIVATE.into()).unwrap();
        assert_eq!(key.to_pem().expose_secret(), PRIVATE);
        assert_eq!(AuditPublicKey::from_pem(&PUBLIC.into()).unwrap(), key.public());
        assert_eq!(AuditPublicKey::from_pem(&PRIVATE.into()).unwrap(), key.public());
        for text in ["", "x", &PRIVATE.replace("MC4C", "MC4D"), &PUBLIC.replace("MCow", "MCox"), &PRIVATE[..80]] {
            assert_eq!(AuditPublicKey::from_pem(&text.into()), Err(AuditKeyError), "{text}");
        }
        assert!(AuditKey::from_pem(&PUBLIC.into()).is_err());
        let (one, two) = (AuditKey::generate(&Chance::of_the_system()), AuditKey::generate(&Chance::of_the_system()));
        assert_ne!(one.public(), two.public());
    }

    #[test]
    fn a_note_is_read_back_and_no_letter_of_it_can_be_changed() {
        let line = note().to_string();
        assert_eq!(line.parse(), Ok(note()));
        assert_eq!(format!(" {line}\n").parse(), Ok(note()));
        assert!(line.starts_with("afd-audit-head 57 9f9f"), "{line}");
        for at in 0..line.len() {
            for letter in ["a", ""] {
                let changed = format!("{}{letter}{}", &line[..at], &line[at + 1..]);
                assert!(changed == line || changed.parse::<SignedAuditHead>().is_err(), "{changed}");
            }
        }
        let other = AuditKey::generate(&Chance::of_the_system()).sign(note().head);
        assert_ne!(other.key, note().key);
        let forged = SignedAuditHead { head: AuditHead { seq: 58, ..note().head }, ..note() };
        assert_eq!(forged.to_string().parse::<SignedAuditHead>(), Err(AuditHeadError::Unsigned));
    }
}
