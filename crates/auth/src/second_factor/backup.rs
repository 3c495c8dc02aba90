//! Backup codes: ten random base32 digits, 50 bits, each good once.

use domain::{Digest, DigestKey, UserId};
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::totp::base32;
use crate::AuthService;

/// How many somebody has to begin with.
const COUNT: usize = 10;
const LENGTH: usize = 10;

/// A backup code without hyphens and in lower case.
pub(crate) struct BackupCode(SecretString);

impl BackupCode {
    /// Reads what a person typed or pasted: case, spaces and hyphens do not matter.
    pub(super) fn read(text: &str) -> Option<Self> {
        let typed = text.chars().filter(|c| !c.is_whitespace() && *c != '-').take(LENGTH + 1);
        let code: String = typed.map(|c| c.to_ascii_lowercase()).collect();
        let is_one = code.len() == LENGTH && code.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'));
        is_one.then(|| Self(code.into()))
    }

    /// What is kept of it, bound to whose it is, and to the secret of the second factor that it stands in for: that one
    /// outlives every change of the service's own keys.
    pub(super) fn digest(&self, factor: &SecretSlice<u8>, user_id: &UserId) -> Digest {
        let key = DigestKey::derive(factor.expose_secret(), "backup codes");
        key.digest(&[user_id.as_str(), self.0.expose_secret()])
    }

    /// As people see it.
    pub(super) fn show(&self) -> String {
        let (first, second) = self.0.expose_secret().split_at(LENGTH / 2);
        format!("{first}-{second}")
    }
}

/// New ones.
pub(super) fn generate(auth: &AuthService) -> Vec<BackupCode> {
    let code = |_| {
        // Seven bytes are 56 bits; the first 50 make the ten digits.
        let mut bytes = [0u8; 7];
        auth.chance.with(|rng| rng.fill_bytes(&mut bytes));
        let mut code = base32(&bytes).to_ascii_lowercase();
        code.truncate(LENGTH);
        BackupCode(code.into())
    };
    (0..COUNT).map(code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_codes_may_differ_in_case_and_hyphens() {
        for text in ["abcde-fgh27", "ABCDEFGH27", " abc-de fgh27\n"] {
            assert_eq!(BackupCode::read(text).unwrap().show(), "abcde-fgh27", "{text:?}");
        }
        for text in ["", "abcde-fgh2", "abcde-fgh277", "abcde-fgh28", "äbcde-fgh2"] {
            assert!(BackupCode::read(text).is_none(), "{text:?}");
        }
    }
}
