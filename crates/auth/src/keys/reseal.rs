//! What is sealed under an older key of a rotation is sealed anew, so that the older key can be dropped after it.

use store::{Store, StoreError};

use super::Seal;

/// As many in one transaction.
const BATCH: usize = 200;

/// Seals anew, under the first of `seals`, whatever the others open. What none of them opens is left as it is.
///
/// # Errors
/// When the database cannot be read or written.
pub(crate) async fn reseal(store: &Store, seals: &[Seal]) -> Result<(), StoreError> {
    let [present, older @ ..] = seals else { return Ok(()) };
    if older.is_empty() {
        return Ok(());
    }
    let mut anew = Vec::new();
    for foreign in store.list_foreign_seals(present.id()).await? {
        if let Some(secret) = older.iter().find_map(|seal| seal.open(&foreign.name, &foreign.sealed)) {
            let sealed = present.seal(&foreign.name, &secret);
            anew.push((foreign, sealed));
        }
    }
    for batch in anew.chunks(BATCH) {
        store.reseal(batch, present.id()).await?;
    }
    if !anew.is_empty() {
        tracing::info!(count = anew.len(), "secrets of an older seal key were sealed anew");
    }
    Ok(())
}
