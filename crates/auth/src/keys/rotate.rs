//! Making the next signing key when an operator wants it.

use domain::{Chance, KeyId, Timestamp};
use store::{Store, StoreError};

use super::Seal;
use super::ring::{KeyRing, OVERLAP};
use crate::Secrets;
use crate::look::until_all_know_of;

/// What becomes of the keys before the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldKeys {
    /// They verify for another 30 days, so that nobody notices.
    Overlap,
    /// They verify nothing any more, since somebody may hold one: people's sessions go on with their next refresh,
    /// narrowed tokens are dead.
    End,
}

/// Makes the next key pair that signs access and narrowed JWTs, and returns its id. Running instances find it within
/// a minute, or at the first JWT that it signed elsewhere. Where the keys before it are to end, no running instance
/// accepts a signature of theirs when this returns.
///
/// # Errors
/// When the database cannot be read or written.
pub async fn rotate_signing_keys(
    store: &Store,
    secrets: &Secrets,
    chance: Chance,
    now: Timestamp,
    old: OldKeys,
) -> Result<KeyId, StoreError> {
    let seals = secrets.sealing().map(Seal::new).collect();
    let ring = KeyRing::load(store.clone(), seals, chance, now).await?;
    let others_until = match old {
        OldKeys::Overlap => now.plus(OVERLAP),
        // Before any clock began: an instance whose clock is behind must not go on with them.
        OldKeys::End => Timestamp::from_millis(0),
    };
    let kid = ring.rotate(others_until, now).await?;
    if old == OldKeys::End {
        until_all_know_of(store).await?;
    }
    Ok(kid)
}
