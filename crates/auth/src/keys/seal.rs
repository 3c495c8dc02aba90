//! Secrets that the database keeps for us, unreadable without the seal key.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use domain::{DigestKey, DigestKeyId};
use secrecy::{ExposeSecret, SecretSlice, SecretString};

/// AES-256-GCM under a key derived from a secret. What is sealed is bound to its name: moved to another row, it does
/// not open.
pub(crate) struct Seal {
    key: RandomizedNonceKey,
    id: DigestKeyId,
}

const NONCE_LENGTH: usize = 12;

impl Seal {
    pub(crate) fn new(secret: &SecretString) -> Self {
        let derived = DigestKey::derive(secret.expose_secret().as_bytes(), "seal");
        let key = RandomizedNonceKey::new(&AES_256_GCM, derived.digest(&["aes-256-gcm"]).as_bytes())
            .expect("the digest has the key's length");
        Self { key, id: derived.id().clone() }
    }

    /// Names the key that seals, beside what it sealed.
    pub(crate) fn id(&self) -> &DigestKeyId {
        &self.id
    }

    pub(crate) fn seal(&self, name: &str, secret: &SecretSlice<u8>) -> String {
        let mut sealed = secret.expose_secret().to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(name.as_bytes()), &mut sealed)
            .expect("a short text under a fresh nonce can always be sealed");
        format!("{}.{}", BASE64.encode(nonce.as_ref()), BASE64.encode(sealed))
    }

    /// `None` when it was sealed under another key or name, or was changed.
    pub(crate) fn open(&self, name: &str, sealed: &str) -> Option<SecretSlice<u8>> {
        let (nonce, sealed) = sealed.split_once('.')?;
        let nonce: [u8; NONCE_LENGTH] = BASE64.decode(nonce).ok()?.try_into().ok()?;
        let mut bytes = BASE64.decode(sealed).ok()?;
        let aad = Aad::from(name.as_bytes());
        let opened = self.key.open_in_place(Nonce::assume_unique_for_key(nonce), aad, &mut bytes).ok()?;
        Some(opened.to_vec().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_under_its_key_and_name() {
        let seal = Seal::new(&"an example secret of at least 32 bytes".into());
        let other = Seal::new(&"another example secret of 32 bytes.....".into());
        let sealed = seal.seal("k1", &b"secret".to_vec().into());

        assert_eq!(seal.open("k1", &sealed).unwrap().expose_secret(), b"secret");
        assert!(seal.open("k2", &sealed).is_none());
        assert!(other.open("k1", &sealed).is_none());
        assert!(seal.open("k1", &sealed.replace('.', "")).is_none());
        assert!(seal.open("k1", "").is_none());
        assert_ne!(seal.seal("k1", &b"secret".to_vec().into()), sealed, "every sealing has its own nonce");
    }
}
