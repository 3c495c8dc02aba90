//! One allocation for all who hold equal scopes.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{Scope, Scopes};

/// Sets that are kept in mind at most. What is kept of one that nobody holds any more is its list without the texts,
/// half a KiB at most, until [`ScopePool::sweep`].
const CAPACITY: usize = 4_096;

/// Hands out one copy of equal scopes for as long as somebody holds it. Most tokens of an installation have one of a few
/// sets, and all JWTs that were narrowed from a token have what they were asked for with.
#[derive(Default)]
pub struct ScopePool {
    /// By a hash that nobody can choose.
    sets: Mutex<HashMap<u64, Weak<[Scope]>>>,
    hasher: RandomState,
}

impl ScopePool {
    /// The same scopes: somebody else's copy, if there is one.
    #[must_use]
    pub fn share(&self, scopes: Scopes) -> Scopes {
        let hash = self.hasher.hash_one(&scopes);
        let mut sets = self.lock();
        match sets.get(&hash).and_then(Weak::upgrade) {
            Some(held) if held == scopes.0 => return Scopes(held),
            // The first of those with this hash.
            Some(_) => return scopes,
            None => {}
        }
        if sets.len() < CAPACITY || sets.contains_key(&hash) {
            sets.insert(hash, Arc::downgrade(&scopes.0));
        }
        scopes
    }

    /// Forgets the sets that nobody holds any more.
    pub fn sweep(&self) {
        let mut sets = self.lock();
        sets.retain(|_, set| set.strong_count() > 0);
        sets.shrink_to_fit();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Weak<[Scope]>>> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(text: &str) -> Scopes {
        text.parse().unwrap()
    }

    #[test]
    fn equal_scopes_are_one_allocation_while_somebody_holds_them() {
        let pool = ScopePool::default();
        let first = pool.share(scopes("a:b c"));
        assert!(Arc::ptr_eq(&pool.share(scopes("a:b c")).0, &first.0));
        assert!(!Arc::ptr_eq(&pool.share(scopes("c a:b")).0, &first.0), "the order counts");
        pool.sweep();
        assert_eq!(pool.lock().len(), 1);
        drop(first);
        assert_eq!(pool.share(scopes("a:b c")), scopes("a:b c"), "nobody's copy");
        pool.sweep();
        let sets = pool.lock();
        assert_eq!((sets.len(), sets.capacity()), (0, 0));
    }

    #[test]
    fn a_full_pool_shares_what_it_knows_and_grows_no_more() {
        let pool = ScopePool::default();
        let known = pool.share(scopes("known"));
        let held: Vec<_> = (0..2 * CAPACITY).map(|number| pool.share(scopes(&format!("s{number}")))).collect();
        assert_eq!(pool.lock().len(), CAPACITY);
        assert!(Arc::ptr_eq(&pool.share(scopes("known")).0, &known.0));
        drop(held);
        pool.sweep();
        assert_eq!(pool.lock().len(), 1);
    }
}
