//! Tokens that were imported from an older system: any form, no checksum.
//!
//! Whether a text could be one is answered from memory, so that garbage goes on dying before any lookup: the process
//! knows 64 bits of the digest of every imported secret. Of a table of a million, one text in 2⁴⁴ that is none gets
//! past it to the database, which decides; nobody without the seal key can find such a text.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use domain::{Digest, DigestKey, older_token, token};
use store::{OlderSecret, SecretTrace, Store, StoreError};

/// What is known of the imported secrets whose form is not ours.
pub(crate) struct OlderTokens(RwLock<Known>);

#[derive(Default)]
struct Known {
    /// The last batch of an import that has been read.
    generation: i64,
    digests: HashSet<u64>,
    /// Of secrets that were sealed under another key, and are found by their hints and their hashes.
    hints: HashSet<String>,
}

impl OlderTokens {
    pub(crate) async fn load(store: &Store, key: &DigestKey) -> Result<Self, StoreError> {
        let older = Self(RwLock::default());
        older.refresh(store, key).await?;
        Ok(older)
    }

    /// Learns what has been imported since the last time. What is gone since stays until the next start: the database
    /// decides about it. Returns whether there was anything new.
    pub(crate) async fn refresh(&self, store: &Store, key: &DigestKey) -> Result<bool, StoreError> {
        let before = self.0.read().unwrap_or_else(PoisonError::into_inner).generation;
        let news = store.older_secrets(before).await?;
        if news.generation == before {
            return Ok(false);
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.generation = news.generation;
        for OlderSecret { digest, seal_key, hint } in news.secrets {
            if seal_key == *key.id() {
                known.digests.insert(shortened(&digest));
            } else {
                known.hints.insert(hint);
            }
        }
        Ok(true)
    }

    /// Whether the text, which is not of our form, could be an imported token.
    pub(super) fn may_hold(&self, presented: &str, key: &DigestKey) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if known.digests.is_empty() && known.hints.is_empty() || older_token::check(presented).is_err() {
            return false;
        }
        known.digests.contains(&shortened(&key.digest(&[presented])))
            || !known.hints.is_empty() && known.hints.contains(&older_token::hint(presented))
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
