//! One copy for each of several groups of threads.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Copies of each thing. Two threads that share one only wait for each other's cache line.
const STRIPES: usize = 8;

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Something that threads use all the time and need not share: each has a copy of its own, or shares it with few.
#[derive(Debug, Default)]
pub struct Striped<T>([Stripe<T>; STRIPES]);

/// As far apart as the processor fetches memory, so that one thread's use does not slow another's.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe<T>(T);

impl<T> Striped<T> {
    /// Copies that `make` makes.
    pub fn new(mut make: impl FnMut() -> T) -> Self {
        Self(std::array::from_fn(|_| Stripe(make())))
    }

    /// The copy of this thread.
    pub fn mine(&self) -> &T {
        let mine = MINE.with(|mine| {
            if mine.get() == usize::MAX {
                mine.set(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
            }
            mine.get()
        });
        &self.0[mine % STRIPES].0
    }

    /// All copies.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|stripe| &stripe.0)
    }
}
