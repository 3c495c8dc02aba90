//! Tokens that were imported from an older system: any form, no checksum.
//!
//! Whether a text could be one is answered from memory, so that garbage goes on dying before any lookup: the process
//! knows 64 bits of the digest of every imported secret. Of a table of a million, one text in 2⁴⁴ that is none gets
//! past it to the database, which decides; nobody without the seal key can find such a text.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use domain::{Digest, DigestKey, older_token, token};
use store::{OlderSecret, OlderSecretPlace, SecretTrace, Store, StoreError};

/// What is known of the imported secrets whose form is not ours: some 18 bytes for each, and 128 KiB.
pub(crate) struct OlderTokens(RwLock<Known>);

#[derive(Default)]
struct Known {
    /// The last batch of an import that has been read, and the last secret.
    batch: i64,
    place: OlderSecretPlace,
    digests: HashSet<u64>,
    /// Of secrets that were sealed under another key, and are found by their hints and their hashes.
    hints: Hints,
}

/// Secrets that are read in one statement.
const PAGE: u32 = 2_000;

impl OlderTokens {
    pub(crate) async fn load(store: &Store, key: &DigestKey) -> Result<Self, StoreError> {
        let older = Self(RwLock::default());
        older.refresh(store, key).await?;
        Ok(older)
    }

    /// Learns what has been imported since the last time. What is gone since stays until the next start: the database
    /// decides about it. Returns whether there was anything new.
    pub(crate) async fn refresh(&self, store: &Store, key: &DigestKey) -> Result<bool, StoreError> {
        // Before the secrets: a batch that is committed in between is read now and looked for in vain the next time.
        let batch = store.last_import().await?;
        let mut place = {
            let known = self.read();
            if known.batch == batch {
                return Ok(false);
            }
            known.place.clone()
        };
        loop {
            let page = store.older_secrets(&place, key.id(), PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            let mut known = self.write();
            for OlderSecret { place, digest_start, foreign_hint } in page {
                match foreign_hint {
                    None => drop(known.digests.insert(digest_start)),
                    Some(hint) => known.hints.insert(&hint)?,
                }
                known.place = place;
            }
            if is_last {
                known.batch = batch;
                return Ok(true);
            }
            place = known.place.clone();
        }
    }

    /// Whether the text, which is not of our form, could be an imported token.
    pub(super) fn may_hold(&self, presented: &str, key: &DigestKey) -> bool {
        let known = self.read();
        if known.digests.is_empty() && known.hints.is_empty() || older_token::check(presented).is_err() {
            return false;
        }
        known.digests.contains(&shortened(&key.digest(&[presented])))
            || !known.hints.is_empty() && known.hints.contain(older_token::hint_bits(presented))
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which of the 2²⁰ hints there are, a bit each.
#[derive(Default)]
struct Hints(Vec<u64>);

impl Hints {
    fn insert(&mut self, hint: &str) -> Result<(), StoreError> {
        let bits = u32::from_str_radix(hint, 16).ok().filter(|bits| *bits < 1 << 20);
        let bits = bits.ok_or(StoreError::Malformed { column: "hint" })?;
        self.0.resize((1 << 20) / 64, 0);
        self.0[bits as usize / 64] |= 1 << (bits % 64);
        Ok(())
    }

    fn contain(&self, bits: u32) -> bool {
        self.0.get(bits as usize / 64).is_some_and(|word| word & 1 << (bits % 64) != 0)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn shortened(digest: &Digest) -> u64 {
    let (first, _) = digest.as_bytes().split_first_chunk().expect("a digest has 32 bytes");
    u64::from_be_bytes(*first)
}

/// By what the rows are found that a token may belong to when no digest matches.
pub(super) fn trace(presented: &str) -> SecretTrace {
    if token::is_well_formed(presented) {
        SecretTrace::Prefix(token::prefix(presented).to_owned())
    } else {
        SecretTrace::Hint(older_token::hint(presented))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hint_is_a_bit_of_its_own() {
        let mut hints = Hints::default();
        assert!(hints.is_empty() && !hints.contain(0));
        for hint in ["00000", "0003f", "00040", "abcde", "fffff"] {
            hints.insert(hint).unwrap();
        }
        let there: Vec<u32> = (0..1 << 20).filter(|bits| hints.contain(*bits)).collect();
        assert_eq!(there, [0, 0x3f, 0x40, 0xabcde, 0xfffff]);
        for hint in ["100000", "", "xyz", "-1"] {
            assert!(hints.insert(hint).is_err(), "{hint}");
        }
        assert_eq!(hints.0.len() * 8, 128 * 1024);
    }

    #[test]
    fn a_tokens_hint_is_found_by_its_text() {
        let mut hints = Hints::default();
        hints.insert(&older_token::hint("an older token")).unwrap();
        assert!(hints.contain(older_token::hint_bits("an older token")));
        assert!(!hints.contain(older_token::hint_bits("another token")));
    }
}
