//! What a copy of a credential takes in memory.

use std::sync::Arc;

use domain::AllowedIps;
use quick_cache::Weighter;

use super::cache::Credential;
use super::cache_key::CacheKey;
use super::usage::Use;

/// Bytes of a copy and of its place in the cache. It counts scopes in full, although equal ones are shared: an estimate
/// that is too high keeps the promise.
#[derive(Clone)]
pub(super) struct Bytes;

/// Of the cache's tables for each copy: a slot of some 72 bytes and 5 of the index, both up to twice as many as are used,
/// and half as many again for those that have left and are still remembered.
const TABLES: usize = 2 * (72 + 5) * 3 / 2;

/// The counts of an `Arc`.
const COUNTS: usize = 16;

impl Weighter<CacheKey, Arc<Credential>> for Bytes {
    fn weight(&self, _: &CacheKey, copy: &Arc<Credential>) -> u64 {
        let id = copy.id.as_str().len();
        let own = [
            COUNTS + size_of::<Credential>(),
            id,
            copy.user_id.as_str().len(),
            copy.window_key.len(),
            copy.scopes.bytes() + COUNTS,
            copy.description.len(),
            copy.email.as_deref().map_or(0, str::len),
            copy.secret_id.as_ref().map_or(0, |id| id.as_str().len()),
            copy.allowed_ips.as_ref().map_or(0, AllowedIps::bytes),
            copy.signed.as_deref().map_or(0, |signed| COUNTS + signed.bytes()),
            COUNTS + size_of::<Use>(),
            id,
        ];
        (TABLES + own.into_iter().map(allocated).sum::<usize>()) as u64
    }
}

/// What an allocator takes for so many bytes: sizes go in steps of an eighth, of 16 bytes at least.
fn allocated(bytes: usize) -> usize {
    (bytes + bytes / 8).next_multiple_of(16)
}
