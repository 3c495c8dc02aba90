//! Keyed digests: how secrets are found and compared without being kept.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// HMAC-SHA-256 under a [`DigestKey`], written as 64 hexadecimal characters. Comparison takes constant time.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Digest {}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest([REDACTED])")
    }
}

/// Text that is not 64 hexadecimal characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a digest")]
pub struct MalformedDigest;

impl FromStr for Digest {
    type Err = MalformedDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.as_bytes();
        let mut digest = [0u8; 32];
        if bytes.len() != 64 {
            return Err(MalformedDigest);
        }
        for (out, pair) in digest.iter_mut().zip(bytes.chunks_exact(2)) {
            let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(MalformedDigest);
            *out = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).map_err(|_| MalformedDigest)?;
        }
        Ok(Self(digest))
    }
}

/// A key for digests of one purpose. Keys of different purposes derived from one secret are independent: a digest
/// made for one is worthless for another.
#[derive(Clone)]
pub struct DigestKey {
    keyed: Hmac<Sha256>,
    id: DigestKeyId,
}

/// Names a key without telling anything about it; stored beside what was made with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DigestKeyId(String);

const KEY_ID_LENGTH: usize = 16;

impl DigestKeyId {
    /// The id's text, 16 hexadecimal characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Text that is not 16 hexadecimal characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not the id of a digest key")]
pub struct MalformedDigestKeyId;

impl FromStr for DigestKeyId {
    type Err = MalformedDigestKeyId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = text.len() == KEY_ID_LENGTH
            && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if well_formed { Ok(Self(text.to_owned())) } else { Err(MalformedDigestKeyId) }
    }
}

impl fmt::Display for DigestKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl DigestKey {
    /// Derives the key of one purpose from a secret of at least 32 bytes.
    #[must_use]
    pub fn derive(secret: &[u8], purpose: &str) -> Self {
        let key =
            hmac(secret).chain_update(b"alternatefutures/digest-key/v1/").chain_update(purpose).finalize().into_bytes();
        let keyed = hmac(&key);
        let mut id = Digest(keyed.clone().chain_update(b"key id").finalize().into_bytes().into()).to_string();
        id.truncate(KEY_ID_LENGTH);
        Self { keyed, id: DigestKeyId(id) }
    }

    /// The digest of the parts. Each part is preceded by its length, so that `ab`,`c` and `a`,`bc` differ.
    #[must_use]
    pub fn digest(&self, parts: &[&str]) -> Digest {
        let mut mac = self.keyed.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        Digest(mac.finalize().into_bytes().into())
    }

    /// This key's name.
    #[must_use]
    pub const fn id(&self) -> &DigestKeyId {
        &self.id
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DigestKey({})", self.id)
    }
}

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"an example secret of at least 32 bytes";

    #[test]
    fn purposes_and_secrets_make_different_keys() {
        let tokens = DigestKey::derive(SECRET, "tokens");
        let codes = DigestKey::derive(SECRET, "codes");
        let other = DigestKey::derive(b"another example secret of 32 bytes", "tokens");

        assert_ne!(tokens.digest(&["x"]), codes.digest(&["x"]));
        assert_ne!(tokens.digest(&["x"]), other.digest(&["x"]));
        assert_ne!(tokens.id(), codes.id());
        assert_eq!(tokens.digest(&["x"]), DigestKey::derive(SECRET, "tokens").digest(&["x"]));
    }

    /// Published by C2SP/wycheproof; see `tests/published/README.md`.
    #[test]
    fn hmac_makes_wycheproofs_tags() {
        let groups: serde_json::Value =
            serde_json::from_str(include_str!("../tests/published/wycheproof_hmac_sha256.json")).unwrap();
        let hex = |value: &serde_json::Value| crate::wallet::ethereum::from_hex(value.as_str().unwrap()).unwrap();
        let mut count = 0;
        for test in groups.as_array().unwrap().iter().flat_map(|group| group["tests"].as_array().unwrap()) {
            let made = hmac(&hex(&test["key"])).chain_update(hex(&test["msg"])).finalize().into_bytes();
            let tag = hex(&test["tag"]);
            assert_eq!(made.starts_with(&tag), test["result"] == "valid", "{test}");
            count += 1;
        }
        assert_eq!(count, 174);
    }

    #[test]
    fn parts_do_not_run_together() {
        let key = DigestKey::derive(SECRET, "codes");
        assert_ne!(key.digest(&["ab", "c"]), key.digest(&["a", "bc"]));
    }

    #[test]
    fn the_keys_name_survives_its_text_form() {
        let key = DigestKey::derive(SECRET, "codes");
        assert_eq!(key.id().as_str().parse(), Ok(key.id().clone()));
        for text in ["", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF", "0123456789abcdeg"] {
            assert_eq!(text.parse::<DigestKeyId>(), Err(MalformedDigestKeyId), "{text:?}");
        }
    }

    #[test]
    fn survives_its_text_form_and_is_not_printed_in_debug() {
        let digest = DigestKey::derive(SECRET, "codes").digest(&["x"]);
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(format!("{digest:?}"), "Digest([REDACTED])");
        assert_eq!("zz".repeat(32).parse::<Digest>(), Err(MalformedDigest));
        assert_eq!("aa".parse::<Digest>(), Err(MalformedDigest));
    }
}
