//! Which of several copies of a number a thread writes to.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Copies of each number. Two threads that share one only wait for each other's cache line.
pub(crate) const STRIPES: usize = 8;

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The copy of this thread.
pub(crate) fn mine() -> usize {
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
        }
        mine.get()
    })
}
