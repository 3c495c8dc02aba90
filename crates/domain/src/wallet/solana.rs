//! Solana: addresses, and whether one signed.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use ed25519_dalek::{Signature, VerifyingKey};

use super::WalletAddressError;

/// An account's address: an ed25519 public key that somebody can sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SolanaAddress([u8; 32]);

/// 32 bytes of 255 take so many base58 characters, and no address more.
const MAX_ADDRESS_CHARACTERS: usize = 44;
/// 64 bytes, in base58 or base64.
const MAX_SIGNATURE_CHARACTERS: usize = 88;

/// Wallets' libraries differ in whether they pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl SolanaAddress {
    /// Whether `signature`, 64 bytes in base58 or base64, is this account's of the message.
    #[must_use]
    pub fn has_signed(&self, message: impl AsRef<[u8]>, signature: &str) -> bool {
        if signature.len() > MAX_SIGNATURE_CHARACTERS {
            return false;
        }
        // A text can be both; then only one of its readings is a signature.
        let readings = [bs58::decode(signature).into_vec().ok(), BASE64.decode(signature).ok()];
        readings.into_iter().flatten().any(|bytes| self.has_signed_bytes(message.as_ref(), &bytes))
    }

    fn has_signed_bytes(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = Signature::from_slice(signature) else { return false };
        // Strict: no second signature can be made of one, and no key of small order fits several messages.
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }
}

impl FromStr for SolanaAddress {
    type Err = WalletAddressError;

    /// Addresses that nobody can sign with are refused: those of programs, which are off the curve, and keys of small
    /// order, with which everybody can. So is the second spelling that a few keys have (RFC 8032 §5.1.3).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_ADDRESS_CHARACTERS {
            return Err(WalletAddressError::Malformed);
        }
        let bytes = bs58::decode(text).into_vec().map_err(|_| WalletAddressError::Malformed)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| WalletAddressError::Malformed)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| WalletAddressError::Malformed)?;
        let is_canonical = key.to_edwards().compress().to_bytes() == bytes;
        if key.is_weak() || !is_canonical {
            return Err(WalletAddressError::Malformed);
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for SolanaAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.0).into_string())
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;

    fn ann() -> (SigningKey, SolanaAddress) {
        let key = SigningKey::from_bytes(&[7; 32]);
        let address = bs58::encode(key.verifying_key().as_bytes()).into_string();
        (key, address.parse().unwrap())
    }

    #[test]
    fn an_address_has_one_spelling() {
        let (_, address) = ann();
        let text = address.to_string();
        assert_eq!(text.parse(), Ok(address));
        for other in [format!("1{text}"), format!(" {text}"), format!("{text}1"), format!("{text} ")] {
            assert_eq!(other.parse::<SolanaAddress>(), Err(WalletAddressError::Malformed), "{other}");
        }
    }

    #[test]
    fn keys_that_prove_nothing_are_no_addresses() {
        // The system program is the point of order 4; the neutral element; y = 2 is not on the curve; y = p + 3 is the
        // second spelling of y = 3.
        let mut neutral = [0u8; 32];
        neutral[0] = 1;
        let mut off_curve = [0u8; 32];
        off_curve[0] = 2;
        let mut second_spelling = [0xffu8; 32];
        (second_spelling[0], second_spelling[31]) = (0xed + 3, 0x7f);
        for bytes in [[0u8; 32], neutral, off_curve, second_spelling] {
            let text = bs58::encode(bytes).into_string();
            assert_eq!(text.parse::<SolanaAddress>(), Err(WalletAddressError::Malformed), "{text}");
        }
        let mut first_spelling = [0u8; 32];
        first_spelling[0] = 3;
        assert!(bs58::encode(first_spelling).into_string().parse::<SolanaAddress>().is_ok());
    }

    #[test]
    fn signatures_in_both_alphabets_are_right() {
        let (key, address) = ann();
        let signature = key.sign(b"hello").to_bytes();
        let padded = BASE64.encode(signature);
        for text in [bs58::encode(signature).into_string(), padded.trim_end_matches('=').to_owned(), padded] {
            assert!(address.has_signed("hello", &text), "{text}");
            assert!(!address.has_signed("hello ", &text), "{text}");
        }
    }

    #[test]
    fn no_other_length_and_no_nonsense_is_a_signature() {
        let (key, address) = ann();
        let right = key.sign(b"hello").to_bytes();
        for length in (0..=200).filter(|length| *length != 64) {
            let bytes: Vec<u8> = right.iter().copied().cycle().take(length).collect();
            for text in [bs58::encode(&bytes).into_string(), BASE64.encode(&bytes)] {
                assert!(!address.has_signed("hello", &text), "{length}");
            }
        }
        for text in ["", "=", "ä", "\0", "!!!!", "0OIl"] {
            assert!(!address.has_signed("hello", text), "{text:?}");
        }
    }

    #[test]
    fn nothing_else_can_be_made_of_a_signature() {
        // The group's order; s + order verifies where nobody looks (RFC 8032 §5.1.7).
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let (key, address) = ann();
        let mut signature = key.sign(b"hello").to_bytes();
        let mut carry = 0u16;
        for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            *byte = u8::try_from(sum & 0xff).unwrap();
            carry = sum >> 8;
        }
        assert!(!address.has_signed("hello", &bs58::encode(signature).into_string()));

        for place in 0..64 {
            let mut signature = key.sign(b"hello").to_bytes();
            signature[place] ^= 1;
            assert!(!address.has_signed("hello", &bs58::encode(signature).into_string()), "{place}");
        }
    }

    /// RFC 8032 §7.1, those of its messages that are text.
    #[test]
    fn the_vectors_of_rfc_8032_verify() {
        for (key, message, signature) in [
            (
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0\
                 595bbe24655141438e7a100b",
            ),
            (
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "r",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eae\
                 b4302aeeb00d291612bb0c00",
            ),
        ] {
            let bytes = |hex: &str| crate::wallet::ethereum::from_hex(hex).unwrap();
            let address: SolanaAddress = bs58::encode(bytes(key)).into_string().parse().unwrap();
            let signature = bytes(signature);
            assert!(address.has_signed(message, &bs58::encode(&signature).into_string()));
            assert!(!address.has_signed("other", &bs58::encode(&signature).into_string()));
            // Nonces of small order, with S as it is and 0: what lax verifiers take of some keys.
            let small = ["00".repeat(32), format!("01{}", "00".repeat(31)), format!("ec{}7f", "ff".repeat(30))];
            for nonce in small {
                for s in [&[0u8; 32][..], &signature[32..]] {
                    let forged = [&bytes(&nonce)[..], s].concat();
                    assert!(!address.has_signed(message, &bs58::encode(forged).into_string()), "{nonce}");
                }
            }
        }
    }
}
