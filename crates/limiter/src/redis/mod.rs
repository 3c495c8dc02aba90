//! The limiter of many processes, and what each of them does while Redis cannot be reached.

mod call_times;
mod lane;
mod link;
mod script;
mod target;

use std::num::NonZeroU32;
use std::time::Duration;

use domain::{Chance, Limit, Timestamp};
use futures_util::future::join_all;

use crate::memory::MemoryLimiter;
use crate::{CopyVerdict, Evidence, Level, LimiterState, Marked, Occupied, Quota, Verdict};
use script::{Answer, Proof, Question};

pub(crate) use call_times::CallTimes;
pub use link::Redis;
pub use target::RedisUrlError;

/// How to use Redis.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// How long a request waits for Redis before it goes on without.
    pub timeout: Duration,
    /// Each process admits this share of a limit while Redis cannot be reached, but at least one request. With `n`
    /// processes no window admits more than the limit and `n` such shares.
    pub fallback_divisor: NonZeroU32,
    /// Whose clock moves the windows.
    pub timekeeper: Timekeeper,
    /// Where nonces come from.
    pub chance: Chance,
}

/// Whose clock moves the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timekeeper {
    /// Redis's, so that the processes' clocks need not agree.
    Redis,
    /// The `now` of each call, for tests that state the time.
    Caller,
}

/// Counts in Redis, and keeps in mind what it has admitted, for the time when Redis cannot be reached.
pub(crate) struct SharedLimiter {
    redis: Redis,
    /// What this process has admitted, and the marks it has heard of.
    own: MemoryLimiter,
}

/// A key that nobody has read yet has no other.
const NO_NONCE: [u8; 8] = [0; 8];

/// Redis has not answered; who needs to know more has been told in the log.
struct NoAnswer;

impl SharedLimiter {
    pub(crate) fn new(redis: &Redis, bytes: usize) -> Self {
        Self { redis: redis.clone(), own: MemoryLimiter::new(bytes) }
    }

    pub(crate) async fn admit(&self, key: &str, limit: Limit, now: Timestamp) -> Verdict {
        match self.count(key, limit, Proof::None, now).await {
            Ok(Answer::Counted { verdict, .. }) => verdict,
            Ok(Answer::Stale) | Err(NoAnswer) => self.own.admit(key, self.share_of(limit), now).await,
        }
    }

    pub(crate) async fn admit_levels(&self, levels: &[Level], now: Timestamp) -> Verdict {
        let coarser = levels.get(1..).unwrap_or_default();
        let looking = coarser.iter().map(|Level { key, limit }| self.peek(key, *limit, now));
        let looked = join_all(looking).await;
        // Whichever has nothing left says when it will have.
        let full = coarser.iter().zip(looked).rev().find(|(_, quota)| quota.remaining == 0).map(|(level, _)| level);
        let mut tightest = Verdict::Unsaved;
        for Level { key, limit } in full.into_iter().chain(levels) {
            match (self.admit(key, *limit, now).await, tightest) {
                (Verdict::Admitted(quota), Verdict::Admitted(least)) if least.remaining <= quota.remaining => {}
                (Verdict::Admitted(quota), _) => tightest = Verdict::Admitted(quota),
                (not @ (Verdict::Refused { .. } | Verdict::Unsaved), _) => return not,
            }
        }
        tightest
    }

    pub(crate) fn occupied(&self) -> Occupied {
        self.own.occupied()
    }

    pub(crate) async fn admit_copy(
        &self,
        id: &str,
        version: i64,
        evidence: Evidence,
        limit: Limit,
        now: Timestamp,
    ) -> CopyVerdict {
        let can_be_trusted = evidence.is_confirmed
            && evidence.connection == self.redis.connection()
            && !self.own.is_stale(id, version, now);
        if !can_be_trusted {
            return CopyVerdict::Stale;
        }
        match self.count(id, limit, Proof::Copy { version, nonce: evidence.nonce }, now).await {
            Ok(Answer::Counted { verdict, .. }) => CopyVerdict::Counted(verdict),
            Ok(Answer::Stale) | Err(NoAnswer) => CopyVerdict::Stale,
        }
    }

    pub(crate) async fn admit_read(
        &self,
        id: &str,
        before: Evidence,
        limit: Limit,
        now: Timestamp,
    ) -> (Verdict, Evidence) {
        let proposed = self.redis.new_nonce();
        let connection = self.redis.connection();
        match self.count(id, limit, Proof::Read { nonce: proposed }, now).await {
            Ok(Answer::Counted { verdict, nonce }) => {
                let is_confirmed = nonce != NO_NONCE && before.nonce == nonce;
                (verdict, Evidence { nonce, is_confirmed, connection })
            }
            Ok(Answer::Stale) | Err(NoAnswer) => {
                (self.own.admit(id, self.share_of(limit), now).await, Evidence::default())
            }
        }
    }

    pub(crate) async fn peek(&self, key: &str, limit: Limit, now: Timestamp) -> Quota {
        let own = self.own.peek(key, self.share_of(limit), now);
        if self.redis.is_cautious(limit.window) && own.remaining == 0 {
            return own;
        }
        let question = Question::peek(key, limit, self.redis.timekeeper(), now);
        match self.redis.ask(question, limit, now).await {
            Some(Answer::Counted { verdict: Verdict::Admitted(quota) | Verdict::Refused { quota, .. }, .. }) => quota,
            // Redis keeps its windows itself.
            Some(Answer::Counted { verdict: Verdict::Unsaved, .. } | Answer::Stale) | None => own,
        }
    }

    pub(crate) async fn mark_stale(&self, id: &str, version: i64, lasting: Duration, now: Timestamp) -> Marked {
        self.mark_stale_here(id, version, lasting, now);
        let question = Question::mark(id, version, lasting, self.redis.timekeeper(), now);
        match self.redis.ask(question, Limit::per_minute(1), now).await {
            Some(_) => Marked::Everywhere,
            None => Marked::HereOnly,
        }
    }

    pub(crate) fn mark_stale_here(&self, id: &str, version: i64, lasting: Duration, now: Timestamp) {
        self.own.mark_stale(id, version, now.plus(lasting));
    }

    pub(crate) fn sweep(&self, now: Timestamp) {
        self.own.sweep(now);
    }

    pub(crate) fn state(&self) -> LimiterState {
        if self.redis.is_up() { LimiterState::InRedis } else { LimiterState::Fallback }
    }

    pub(crate) fn call_times(&self) -> CallTimes {
        self.redis.call_times()
    }

    /// What this process grants by itself.
    fn share_of(&self, limit: Limit) -> Limit {
        Limit { count: (limit.count / self.redis.fallback_divisor()).max(1), ..limit }
    }

    /// Counts in Redis, and in mind what Redis has admitted.
    ///
    /// For one window after Redis came back without its memory, this process grants no more than its share in
    /// addition: what Redis has forgotten must not be admitted once more.
    async fn count(&self, key: &str, limit: Limit, proof: Proof, now: Timestamp) -> Result<Answer, NoAnswer> {
        let share = self.share_of(limit);
        let is_cautious = self.redis.is_cautious(limit.window);
        if is_cautious && let refused @ Verdict::Refused { .. } = self.own.admit(key, share, now).await {
            return Ok(Answer::Counted { verdict: refused, nonce: NO_NONCE });
        }
        let question = Question::admit(key, limit, proof, self.redis.timekeeper(), now);
        let answer = self.redis.ask(question, limit, now).await.ok_or(NoAnswer)?;
        if !is_cautious && let Answer::Counted { verdict: Verdict::Admitted(_), .. } = answer {
            self.own.record(key, share, now);
        }
        Ok(answer)
    }
}
