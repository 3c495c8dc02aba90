//! What is done with a validator's memory beside the validations.

use std::collections::HashSet;

use domain::{Chance, UserId};
use store::StoreError;

use super::validate::Validator;

impl Validator {
    /// Removes what is over from memory: a part of it with each call.
    pub(crate) fn sweep_some(&self) {
        self.cache.sweep_some(self.clock.steady());
        self.scopes.sweep();
    }

    /// How many copies there are, and how many bytes they take.
    pub(crate) fn cache_size(&self) -> (usize, u64) {
        self.cache.size()
    }

    /// How many credentials wait for their last use to be written down.
    pub(crate) fn uses_waiting(&self) -> usize {
        self.usage.len()
    }

    /// Forgets every copy of these users' credentials.
    pub(crate) fn forget_owned_by(&self, owners: &HashSet<UserId>) {
        self.cache.forget_owned_by(owners);
    }

    /// Forgets every copy: something changed the database behind this process's back.
    pub(crate) fn forget_all(&self) {
        self.cache.clear();
    }

    /// Writes down when and from where those credentials were used that have waited longest for it.
    pub(crate) async fn flush_some_usage(&self, chance: &Chance) -> Result<(), StoreError> {
        self.usage.flush(&self.store, chance).await?;
        while self.usage.has_many() {
            self.usage.flush(&self.store, chance).await?;
        }
        Ok(())
    }

    /// The same for all of them.
    pub(crate) async fn flush_usage(&self, chance: &Chance) -> Result<(), StoreError> {
        while self.usage.len() > 0 {
            self.usage.flush(&self.store, chance).await?;
        }
        Ok(())
    }
}
