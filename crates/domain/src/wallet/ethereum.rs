//! Ethereum: addresses (EIP-55), `personal_sign` (EIP-191), and who signed.

use std::fmt;
use std::str::FromStr;

use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use sha3::{Digest as _, Keccak256};

use super::WalletAddressError;

/// An account's address, 20 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EthereumAddress([u8; 20]);

/// The length of the signature of a key: r, s and v, one after the other.
pub const SIGNATURE_LENGTH: usize = 65;

impl EthereumAddress {
    /// The address's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// The last 20 bytes of the hash of the public key's coordinates.
    fn of(key: &VerifyingKey) -> Self {
        let point = key.to_sec1_point(false);
        let hash = keccak256(&point.as_bytes()[1..]);
        let mut address = [0u8; 20];
        address.copy_from_slice(&hash[12..]);
        Self(address)
    }
}

impl FromStr for EthereumAddress {
    type Err = WalletAddressError;

    /// All lower or all upper case says nothing about typing errors; mixed case is EIP-55's checksum and must be right.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        let digits = digits.ok_or(WalletAddressError::Malformed)?;
        let bytes = decode_hex(digits).ok_or(WalletAddressError::Malformed)?;
        let address = Self(bytes.try_into().map_err(|_| WalletAddressError::Malformed)?);
        let mixed = digits.bytes().any(|digit| digit.is_ascii_lowercase())
            && digits.bytes().any(|digit| digit.is_ascii_uppercase());
        if mixed && address.to_string()[2..] != *digits {
            return Err(WalletAddressError::Checksum);
        }
        Ok(address)
    }
}

impl fmt::Display for EthereumAddress {
    /// EIP-55: a letter is upper case where the hash of the lower-case digits has a nibble of 8 or more at its place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = encode_hex(&self.0);
        let hash = keccak256(digits.as_bytes());
        f.write_str("0x")?;
        for (place, digit) in digits.char_indices() {
            let byte = hash[place / 2];
            let nibble = if place % 2 == 0 { byte >> 4 } else { byte & 0x0f };
            let digit = if nibble >= 8 { digit.to_ascii_uppercase() } else { digit };
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// What a wallet signs when asked to `personal_sign` the message (EIP-191, version 0x45).
#[must_use]
pub fn personal_message_hash(message: &str) -> [u8; 32] {
    let mut hasher = Keccak256::new();
    hasher.update(b"\x19Ethereum Signed Message:\n");
    hasher.update(message.len().to_string());
    hasher.update(message);
    hasher.finalize().into()
}

/// The bytes, as Ethereum's programs write them: `0x` and lower-case digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    format!("0x{}", encode_hex(bytes))
}

/// The bytes of hexadecimal digits with or without `0x`. `None` for anything else.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    decode_hex(digits)
}

/// Whose key made the signature, 65 bytes with a last one of 0, 1, 27 or 28; `None` when nobody's did.
///
/// A signature with a high s (EIP-2) is nobody's: every wallet writes the low one, and so no second signature of the
/// same meaning can be made of one.
#[must_use]
pub fn recover_signer(hash: &[u8; 32], signature: &[u8]) -> Option<EthereumAddress> {
    if signature.len() != SIGNATURE_LENGTH {
        return None;
    }
    let (r_and_s, v) = signature.split_at(SIGNATURE_LENGTH - 1);
    let is_y_odd = match v {
        [0 | 27] => false,
        [1 | 28] => true,
        _ => return None,
    };
    let signature = Signature::from_slice(r_and_s).ok()?;
    if signature.normalize_s() != signature {
        return None;
    }
    // An r beyond the field's order occurs once in 2¹²⁸ signatures, and v cannot tell it.
    let key = VerifyingKey::recover_from_prehash(hash, &signature, RecoveryId::new(is_y_odd, false)).ok()?;
    Some(EthereumAddress::of(&key))
}

fn keccak256(data: &[u8]) -> [u8; 32] {
    Keccak256::digest(data).into()
}

/// Lower-case digits.
fn encode_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        text.extend([byte >> 4, byte & 0x0f].map(|nibble| char::from(b"0123456789abcdef"[usize::from(nibble)])));
        text
    })
}

fn decode_hex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    digits.chunks_exact(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use k256::ecdsa::SigningKey;

    use super::*;

    /// The first account of Hardhat's and Anvil's well-known test mnemonic.
    const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    const ADDRESS: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

    fn sign(message: &str) -> Vec<u8> {
        let key = SigningKey::from_slice(&decode_hex(KEY).unwrap()).unwrap();
        let (signature, id) = key.sign_prehash_recoverable(&personal_message_hash(message));
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(27 + id.to_byte());
        bytes
    }

    fn signer(message: &str, signature: &[u8]) -> Option<String> {
        recover_signer(&personal_message_hash(message), signature).map(|address| address.to_string())
    }

    /// The test cases of EIP-55.
    #[test]
    fn addresses_are_spelled_as_eip_55_has_it() {
        for address in [
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
            "0xde709f2102306220921060314715629080e2fb77",
            "0x27b1fdb04752bbc536007a920d24acb045561c26",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            let spellings = [
                address.to_owned(),
                address.to_lowercase(),
                address.to_uppercase(),
                format!("0x{}", address[2..].to_uppercase()),
            ];
            for text in spellings {
                assert_eq!(text.parse::<EthereumAddress>().unwrap().to_string(), address, "{text}");
            }
        }
    }

    #[test]
    fn a_wrong_case_is_a_typing_error() {
        for text in ["0xd1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"] {
            assert_eq!(text.parse::<EthereumAddress>(), Err(WalletAddressError::Checksum), "{text}");
        }
        let long = format!("{ADDRESS}00");
        for text in [&ADDRESS[..41], &ADDRESS[..40], &long, &ADDRESS[2..], "0xg39fd6e51aad88f6f4ce6ab8827279cfffb92266"]
        {
            assert_eq!(text.parse::<EthereumAddress>(), Err(WalletAddressError::Malformed), "{text}");
        }
    }

    /// `cast wallet sign --private-key KEY hello`, and the same by ethers and viem.
    #[test]
    fn the_signer_is_recovered() {
        let signature = sign("hello");
        assert_eq!(signer("hello", &signature).as_deref(), Some(ADDRESS));
        assert_ne!(signer("hello ", &signature).as_deref(), Some(ADDRESS));
    }

    #[test]
    fn v_may_be_written_either_way_and_no_other() {
        let mut signature = sign("hello");
        let parity = signature[64] - 27;
        for v in 0..=255 {
            signature[64] = v;
            let recovered = signer("hello", &signature);
            assert_eq!(recovered.is_some(), matches!(v, 0 | 1 | 27 | 28), "{v}");
            assert_eq!(recovered.as_deref() == Some(ADDRESS), v == parity || v == parity + 27, "{v}");
        }
    }

    #[test]
    fn the_twin_with_a_high_s_is_refused() {
        // The order of secp256k1, less s.
        const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
        let order = decode_hex(ORDER).unwrap();
        let mut signature = sign("hello");
        let mut borrow = 0i16;
        for place in (0..32).rev() {
            let mut difference = i16::from(order[place]) - i16::from(signature[32 + place]) - borrow;
            borrow = i16::from(difference < 0);
            difference += 256 * borrow;
            signature[32 + place] = u8::try_from(difference).unwrap();
        }
        for v in [27, 28] {
            signature[64] = v;
            assert_eq!(signer("hello", &signature), None);
        }
    }

    #[test]
    fn no_other_length_and_no_nonsense_is_a_signature() {
        let right = sign("hello");
        for length in (0..=200).filter(|length| *length != SIGNATURE_LENGTH) {
            let bytes: Vec<u8> = right.iter().copied().cycle().take(length).collect();
            assert_eq!(signer("hello", &bytes), None, "{length}");
        }
        for byte in [0x00, 0xff] {
            let mut bytes = vec![byte; SIGNATURE_LENGTH];
            bytes[64] = 27;
            assert_eq!(signer("hello", &bytes), None);
            // Either half alone.
            bytes[..32].copy_from_slice(&right[..32]);
            assert_eq!(signer("hello", &bytes), None);
            let mut bytes = right.clone();
            bytes[..32].fill(byte);
            assert_eq!(signer("hello", &bytes), None);
        }
    }

    #[test]
    fn signatures_are_read_with_and_without_their_prefix() {
        for text in ["0x00ff", "00ff", "0X00FF", "00fF"] {
            assert_eq!(from_hex(text), Some(vec![0, 255]), "{text}");
        }
        for text in ["0x0", "f", "0xzz", "0x0x00", "ä", "+1", "0x 1"] {
            assert_eq!(from_hex(text), None, "{text}");
        }
    }
}
