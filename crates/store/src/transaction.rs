//! Write transactions.

/// How often a transaction that lost against another one runs again before the caller hears of it.
pub(crate) const MAX_RETRIES: u32 = 5;

/// `transaction!(store, |tx| { …; Ok(value) })`: runs the block in a write transaction and commits when it ends in
/// `Ok`, also by an early `return Ok(…)`. Anything else rolls back, and so does dropping the future. After a conflict
/// the block runs again, so it must not consume what it captures.
///
/// A macro because the compiler cannot yet prove that the future of an `AsyncFn(&mut AnyConnection)` parameter is
/// `Send` (rust-lang/rust#100013), and handlers need futures that are.
macro_rules! transaction {
    ($store:expr, |$tx:ident| $work:block) => {{
        let mut retries = 0;
        loop {
            let outcome: Result<_, $crate::StoreError> = async {
                let mut transaction = $store.begin().await?;
                let $tx: &mut sqlx::AnyConnection = &mut transaction;
                let value: Result<_, $crate::StoreError> = async { $work }.await;
                // Rolling back happens when `transaction` is dropped.
                let value = value?;
                transaction.commit().await?;
                Ok(value)
            }
            .await;
            match outcome {
                Err(error) if error.is_conflict() && retries < $crate::transaction::MAX_RETRIES => retries += 1,
                outcome => break outcome,
            }
        }
    }};
}
pub(crate) use transaction;
