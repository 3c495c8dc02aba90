//! By what the cache finds a presented credential.

use std::hash::{Hash, Hasher};

use domain::Digest;

/// Where the cache keeps a presented credential.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct CacheKey([u8; 32]);

impl CacheKey {
    pub(super) fn of(digest: &Digest) -> Self {
        Self(*digest.as_bytes())
    }

    /// In which of so many shards, a power of two, the copy is or would be. The cache within looks at the first bytes of
    /// the digest.
    pub(super) fn shard(&self, shards: usize) -> usize {
        let [.., first, second] = self.0;
        usize::from(u16::from_ne_bytes([first, second])) & (shards - 1)
    }
}

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (first, _) = self.0.split_first_chunk().expect("a digest has 32 bytes");
        state.write_u64(u64::from_ne_bytes(*first));
    }
}

/// Eight bytes of a digest under a secret key are a hash that nobody can choose.
#[derive(Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, _: &[u8]) {
        unreachable!("a key is hashed as one number");
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
