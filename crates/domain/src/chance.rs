//! Randomness as a parameter.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rand::{CryptoRng, SeedableRng as _};

/// A source of randomness that several tasks share: the operating system's in production, a seeded one in tests.
#[derive(Clone)]
pub struct Chance(Arc<Mutex<Box<dyn CryptoRng + Send>>>);

impl Chance {
    /// Shares `rng`.
    #[must_use]
    pub fn new(rng: impl CryptoRng + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(rng))))
    }

    /// The operating system's randomness.
    #[must_use]
    pub fn of_the_system() -> Self {
        Self::new(rand::rand_core::UnwrapErr(rand::rngs::SysRng))
    }

    /// A source that is seeded by this one once, for what has to be unique and need not be kept secret: it asks the
    /// operating system for nothing more.
    #[must_use]
    pub fn seeded(&self) -> Self {
        let mut seed = [0; 32];
        self.with(|rng| rng.fill_bytes(&mut seed));
        Self::new(rand::rngs::StdRng::from_seed(seed))
    }

    /// Draws with `draw`.
    pub fn with<T>(&self, draw: impl FnOnce(&mut (dyn CryptoRng + Send)) -> T) -> T {
        draw(&mut **self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chance")
    }
}
