//! What is sealed under an older key of a rotation is sealed anew, so that the older key can be dropped after it. What
//! no key opens is said so.

use store::{SealedIn, Store, StoreError};

use super::Seal;

/// As many in one transaction.
const BATCH: usize = 200;

/// Seals anew, under the first of `seals`, whatever the others open. What none of them opens is left as it is.
///
/// # Errors
/// When the database cannot be read or written.
pub(crate) async fn reseal(store: &Store, seals: &[Seal]) -> Result<(), StoreError> {
    let [present, older @ ..] = seals else { return Ok(()) };
    let (mut anew, mut lost) = (Vec::new(), 0);
    for foreign in store.list_foreign_seals(present.id()).await? {
        if let Some(secret) = older.iter().find_map(|seal| seal.open(&foreign.name, &foreign.sealed)) {
            let sealed = present.seal(&foreign.name, &secret);
            anew.push((foreign, sealed));
        } else if foreign.kept_in == SealedIn::SecondFactor {
            lost += 1;
        }
    }
    for batch in anew.chunks(BATCH) {
        store.reseal(batch, present.id()).await?;
    }
    if !anew.is_empty() {
        tracing::info!(count = anew.len(), "secrets of an older seal key were sealed anew");
    }
    if lost > 0 {
        tracing::warn!(
            count = lost,
            "second factors were sealed under a secret that is not configured: whoever has one cannot sign in. Add the old \
             secret to the end of TOKEN_SEAL_KEY or JWT_SECRET, or reset them: afd user reset-second-factor"
        );
    }
    Ok(())
}
