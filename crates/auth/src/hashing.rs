//! bcrypt, which is slow by design, kept where its slowness hurts nobody else.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::num::NonZero;
use std::sync::Arc;

use domain::Chance;
use domain::token::TokenSecret;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use telemetry::Gauge;
use tokio::sync::Semaphore;

/// Makes and checks bcrypt hashes off the async threads, as many at a time as there are processors. More would only
/// make each of them slower.
pub(crate) struct Hasher {
    places: Arc<Semaphore>,
    cost: u32,
    chance: Chance,
    waiting: Waiting,
}

/// How many hashes wait for a processor or are being made; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting(Gauge);

impl Waiting {
    pub(crate) fn gauge(&self) -> Gauge {
        self.0.clone()
    }

    fn one_more(&self) -> Waiter {
        self.0.inc();
        Waiter(self.clone())
    }
}

/// One of those that wait; whoever goes away is counted no more.
struct Waiter(Waiting);

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.0.dec();
    }
}

/// The hash could not be made or checked; the text is for the log.
#[derive(Debug, thiserror::Error)]
#[error("bcrypt: {0}")]
pub(crate) struct HashError(String);

impl Hasher {
    pub(crate) fn new(cost: u32, chance: Chance, waiting: Waiting) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { places: Arc::new(Semaphore::new(processors)), cost, chance, waiting }
    }

    /// The verifier of record for a new token.
    pub(crate) async fn hash(&self, token: &TokenSecret) -> Result<String, HashError> {
        let token = token.clone();
        let cost = self.cost;
        let mut salt = [0u8; 16];
        self.chance.with(|rng| rng.fill_bytes(&mut salt));
        self.run(move || {
            bcrypt::hash_with_salt(&*hashed_text(token.expose()), cost, salt).map(|parts| parts.to_string())
        })
        .await
    }

    /// Whether the token is the one that was hashed. Takes as long as hashing; the comparison is constant-time. `turn` is
    /// held until the check is over, also when its caller has gone away.
    pub(crate) async fn verify(&self, token: &str, hash: String, turn: impl Send + 'static) -> Result<bool, HashError> {
        let token = SecretString::from(token);
        self.run(move || {
            let _turn = turn;
            bcrypt::verify(&*hashed_text(token.expose_secret()), &hash)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, bcrypt::BcryptError> + Send + 'static,
    ) -> Result<T, HashError> {
        let waiter = self.waiting.one_more();
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|error| HashError(error.to_string()))?;
        let result = tokio::task::spawn_blocking(move || {
            // Held by the thread that works, not by the request that waits: a caller who hangs up does not make room
            // for another hash beside the one that still runs.
            let _place = (place, waiter);
            work()
        })
        .await;
        result.map_err(|error| HashError(error.to_string()))?.map_err(|error| HashError(error.to_string()))
    }
}

/// What bcrypt is given. It looks at the first 72 bytes only; of a longer token, which only an older system can have
/// issued, it gets the SHA-256. The space keeps it apart from every token: none holds one.
fn hashed_text(token: &str) -> Cow<'_, str> {
    if token.len() <= 72 {
        return Cow::Borrowed(token);
    }
    let mut text = String::from("sha256 ");
    for byte in Sha256::digest(token.as_bytes()) {
        let _ = write!(text, "{byte:02x}");
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::token::Kind;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    #[tokio::test]
    async fn a_hash_knows_its_token_and_no_other() {
        let chance = Chance::new(ChaCha20Rng::seed_from_u64(1));
        let hasher = Hasher::new(4, chance.clone(), Waiting::default());
        let token = chance.with(|rng| TokenSecret::generate(Kind::Live, rng));
        let other = chance.with(|rng| TokenSecret::generate(Kind::Live, rng));
        let hash = hasher.hash(&token).await.unwrap();

        assert!(hash.starts_with("$2b$04$"), "{hash}");
        assert!(hasher.verify(token.expose(), hash.clone(), ()).await.unwrap());
        assert!(!hasher.verify(other.expose(), hash, ()).await.unwrap());
        assert!(hasher.verify(token.expose(), "no hash".to_owned(), ()).await.is_err());
    }
    #[tokio::test]
    async fn all_of_a_long_token_counts() {
        let hasher = Hasher::new(4, Chance::new(ChaCha20Rng::seed_from_u64(1)), Waiting::default());
        for length in [72, 73, 500] {
            let text = "x".repeat(length);
            let hash = hasher.hash(&TokenSecret::of_older_system(&text).unwrap()).await.unwrap();
            assert!(hasher.verify(&text, hash.clone(), ()).await.unwrap());
            let (other_end, longer) = (format!("{}y", &text[1..]), format!("{text}x"));
            for other in [&*other_end, &longer, &hashed_text(&longer)] {
                assert!(!hasher.verify(other, hash.clone(), ()).await.unwrap(), "{length}: {other}");
            }
        }
    }
}
