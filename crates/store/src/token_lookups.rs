//! Reading tokens by their secrets, many at once.
//!
//! What a read costs is mostly not the reading: a connection, a statement and, with SQLite, two ways between threads.
//! So those who ask while others are being answered wait for the next statement and share it.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use domain::{Digest, TokenSecretId};
use sqlx::AssertSqlSafe;
use tokio::sync::oneshot;

use crate::token_secrets::{FoundToken, found_token};
use crate::{Store, StoreError};

/// How many secrets a statement asks for. Each number is a statement to be prepared by every connection, so they are
/// few, and what is missing to the next of them is filled up with the last secret.
const SIZES: [usize; 4] = [1, 8, 32, 128];

/// Statements that are under way at a time. A second one keeps the database busy while the answer of the first is being
/// given out, and goes on when the first hangs; more would only make them smaller.
const UNDER_WAY: usize = 2;

static BY_DIGESTS: LazyLock<[Arc<str>; SIZES.len()]> = LazyLock::new(|| texts(found_token!("s.digest IN (")));
static BY_SECRETS: LazyLock<[Arc<str>; SIZES.len()]> = LazyLock::new(|| texts(found_token!("s.id IN (")));

fn texts(select: &str) -> [Arc<str>; SIZES.len()] {
    SIZES.map(|size| {
        let places: Vec<_> = (1..=size).map(|place| format!("${place}")).collect();
        format!("{select}{})", places.join(", ")).into()
    })
}

/// Questions that wait for a statement.
#[derive(Debug, Default)]
pub(crate) struct Lookups(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Question>,
    under_way: usize,
}

#[derive(Debug)]
struct Question {
    digest: Digest,
    answer: oneshot::Sender<Result<Option<FoundToken>, StoreError>>,
}

impl Lookups {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a question to the others; the turn, if it is the asker's to have them answered.
    fn ask(self: &Arc<Self>, question: Question) -> Option<Turn> {
        let mut queue = self.lock();
        queue.waiting.push(question);
        if queue.under_way == UNDER_WAY {
            return None;
        }
        queue.under_way += 1;
        Some(Turn { lookups: Arc::clone(self), is_over: false })
    }
}

/// The right, and the duty, to have questions answered until none is left.
struct Turn {
    lookups: Arc<Lookups>,
    is_over: bool,
}

impl Turn {
    /// The next questions, all put before now; none ends the turn.
    fn next(&mut self) -> Vec<Question> {
        let mut queue = self.lookups.lock();
        if queue.waiting.is_empty() {
            queue.under_way -= 1;
            self.is_over = true;
        }
        let largest = SIZES[SIZES.len() - 1].min(queue.waiting.len());
        let rest = queue.waiting.split_off(largest);
        mem::replace(&mut queue.waiting, rest)
    }
}

impl Drop for Turn {
    /// Its runtime has ended in the middle, or it has panicked. Nobody may wait for an answer that will not come: those
    /// whose question is dropped ask alone.
    fn drop(&mut self) {
        if !self.is_over {
            let mut queue = self.lookups.lock();
            queue.under_way -= 1;
            queue.waiting.clear();
        }
    }
}

impl Store {
    /// The token with a secret of this digest, as it was at some moment after this was called.
    ///
    /// It is read at once, or together with others when the statement before has been answered. A caller who goes away
    /// is nobody else's loss.
    pub async fn find_token_by_digest(&self, digest: &Digest) -> Result<Option<FoundToken>, StoreError> {
        let (answer, answered) = oneshot::channel();
        if let Some(turn) = self.lookups.ask(Question { digest: *digest, answer }) {
            tokio::spawn(self.clone().answer(turn));
        }
        match answered.await {
            Ok(answer) => answer,
            Err(_) => Ok(self.find_tokens(&BY_DIGESTS, &[digest.to_string()]).await?.pop()),
        }
    }

    /// The tokens with these secrets, in any order; those that are gone are missing.
    pub async fn find_tokens_by_secrets(&self, ids: &[TokenSecretId]) -> Result<Vec<FoundToken>, StoreError> {
        let mut all = Vec::with_capacity(ids.len());
        for some in ids.chunks(SIZES[SIZES.len() - 1]) {
            let ids: Vec<_> = some.iter().map(ToString::to_string).collect();
            all.append(&mut self.find_tokens(&BY_SECRETS, &ids).await?);
        }
        Ok(all)
    }

    async fn answer(self, mut turn: Turn) {
        loop {
            let questions = turn.next();
            if questions.is_empty() {
                return;
            }
            let digests: Vec<_> = questions.iter().map(|question| question.digest.to_string()).collect();
            match self.find_tokens(&BY_DIGESTS, &digests).await {
                Ok(found) => {
                    let found: HashMap<_, _> =
                        found.into_iter().map(|found| (*found.secret.digest.as_bytes(), found)).collect();
                    for Question { digest, answer } in questions {
                        let _ = answer.send(Ok(found.get(digest.as_bytes()).cloned()));
                    }
                }
                // Those who came meanwhile as well: they have waited for a database that does not answer, and would
                // wait as long again.
                Err(error) if error.is_unavailable() => {
                    let error = Arc::new(error);
                    let waiting = mem::take(&mut turn.lookups.lock().waiting);
                    for Question { answer, .. } in questions.into_iter().chain(waiting) {
                        let _ = answer.send(Err(StoreError::Shared(Arc::clone(&error))));
                    }
                }
                // One row that cannot be read must not be everybody's failure; each asks alone.
                Err(_) => drop(questions),
            }
        }
    }

    /// The tokens with these secrets, at most as many as one statement asks for.
    async fn find_tokens(
        &self,
        texts: &[Arc<str>; SIZES.len()],
        secrets: &[String],
    ) -> Result<Vec<FoundToken>, StoreError> {
        let Some(last) = secrets.last() else { return Ok(Vec::new()) };
        let place = SIZES.iter().position(|&size| size >= secrets.len()).expect("nobody asks for more at once");
        let mut query = sqlx::query(AssertSqlSafe(Arc::clone(&texts[place])));
        for secret in secrets {
            query = query.bind(secret.as_str());
        }
        for _ in secrets.len()..SIZES[place] {
            query = query.bind(last.as_str());
        }
        query.fetch_all(self.reader()).await?.iter().map(FoundToken::from_row).collect()
    }
}

#[cfg(test)]
mod tests {
    use domain::DigestKey;

    use super::*;

    fn question(lookups: &Arc<Lookups>) -> (Option<Turn>, oneshot::Receiver<Result<Option<FoundToken>, StoreError>>) {
        let (answer, answered) = oneshot::channel();
        let digest = DigestKey::derive(&[7; 32], "tests").digest(&["x"]);
        (lookups.ask(Question { digest, answer }), answered)
    }

    #[test]
    fn those_who_ask_while_others_are_answered_wait_for_the_next_statement() {
        let lookups = Arc::new(Lookups::default());
        let mut turns = Vec::new();
        for _ in 0..UNDER_WAY {
            let mut turn = question(&lookups).0.expect("too few are under way");
            assert_eq!(turn.next().len(), 1, "nobody waits when there is nobody to wait for");
            turns.push(turn);
        }
        let largest = SIZES[SIZES.len() - 1];
        for _ in 0..largest + 5 {
            assert!(question(&lookups).0.is_none());
        }
        let mut turn = turns.remove(0);
        assert_eq!([turn.next().len(), turn.next().len(), turn.next().len()], [largest, 5, 0]);
        assert!(question(&lookups).0.is_some(), "the turn is over");
    }

    #[test]
    fn a_turn_that_ends_in_the_middle_leaves_nobody_waiting() {
        let lookups = Arc::new(Lookups::default());
        let (turn, _) = question(&lookups);
        let mut turns: Vec<_> = (1..UNDER_WAY).map(|_| question(&lookups).0.unwrap()).collect();
        let (none, mut waits) = question(&lookups);
        assert!(none.is_none());
        drop(turn);
        assert!(matches!(waits.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        turns.push(question(&lookups).0.expect("there is room for another turn"));
    }
}
