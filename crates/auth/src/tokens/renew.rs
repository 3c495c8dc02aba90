//! Copies in use are read again before their time is over, many in one statement, so that no request waits for it.
//!
//! Why that is as safe as reading them when they are asked for: `docs/decisions/0023-tokens-are-read-many-at-once-and-ahead.md`.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use store::StoreError;

use super::cache::Credential;
use super::cache_key::CacheKey;
use super::validate::Validator;

/// Copies that are read with one look at the clock and at what has been forgotten meanwhile: those of one statement.
const TOGETHER: usize = 128;

/// Copies that wait at most. Those that come when so many do are read when somebody asks.
const CAPACITY: usize = 16_384;

/// Copies that are due, each once.
#[derive(Default)]
pub(super) struct Renewals(Mutex<Vec<(CacheKey, Arc<Credential>)>>);

impl Renewals {
    pub(super) fn ask_for(&self, key: CacheKey, copy: Arc<Credential>) {
        let mut due = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if due.len() < CAPACITY {
            due.push((key, copy));
        }
    }

    fn take(&self) -> Vec<(CacheKey, Arc<Credential>)> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Validator {
    /// Reads again what is due. Where that fails nothing is lost: the copies end when they would have, and whoever asks
    /// next reads.
    pub(crate) async fn renew_copies(&self) -> Result<(), StoreError> {
        for due in self.renewals.take().chunks(TOGETHER) {
            self.renew(due).await?;
        }
        Ok(())
    }

    async fn renew(&self, due: &[(CacheKey, Arc<Credential>)]) -> Result<(), StoreError> {
        // Both before the reading, from when on the new copies count as old.
        let (generation, now) = (self.cache.generation(), self.clock.steady());
        let secrets: Vec<_> = due.iter().filter_map(|(_, copy)| copy.secret_id.clone()).collect();
        let found = self.store.find_tokens_by_secrets(&secrets).await?;
        let found: HashMap<_, _> = found.into_iter().map(|found| (found.secret.id.clone(), found)).collect();
        for (key, copy) in due {
            let found = copy.secret_id.as_ref().and_then(|secret| found.get(secret)).cloned();
            match found.map(|found| self.token_credential(found, None, now)) {
                Some(Ok(renewed)) => {
                    let renewed = Credential {
                        // Known before the reading, and looked at by the limiter at every use.
                        evidence: copy.evidence,
                        window: self.limiter.place_of(&copy.window_key),
                        ..renewed
                    };
                    self.cache.put(key, Arc::new(renewed), generation);
                }
                // Gone, or its owner may not come in: whoever asks next is told so by the database.
                Some(Err(_)) | None => self.cache.forget(key),
            }
        }
        Ok(())
    }
}
