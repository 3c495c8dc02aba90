//! What is asked of Redis: one script a question, one key a script.

use std::sync::LazyLock;
use std::time::Duration;

use ::redis::{Cmd, ErrorKind, RedisResult, Script, Value, from_redis_value};
use domain::{Limit, Timestamp};

use super::Timekeeper;
use crate::{Quota, Verdict};

/// All keys of ours begin so; others may use the same Redis.
const PREFIX: &str = "afd:";

/// Lua's numbers are doubles. No version comes near; `i64::MAX`, which is above all of them, stays above.
const MAX_EXACT: i64 = 1 << 53;
/// Six numbers, a letter and a nonce.
const PACKED: usize = 6 * 8 + 1 + 8;

/// A script, known to Redis by its digest.
pub(super) struct Code {
    pub(super) text: &'static str,
    digest: LazyLock<String>,
}

macro_rules! code {
    ($name:ident, $($file:literal),+) => {
        pub(super) static $name: Code = Code {
            text: concat!($(include_str!($file)),+),
            digest: LazyLock::new(|| Script::new($name.text).get_hash().to_owned()),
        };
    };
}
code!(ADMIT, "state.lua", "proof.lua", "window.lua", "admit.lua");
code!(PEEK, "state.lua", "window.lua", "peek.lua");
code!(MARK, "state.lua", "window.lua", "mark.lua");

/// A script with its key and arguments. Questions that are equal can be asked as one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    key: String,
    /// In milliseconds; `None` for what it was.
    window: Option<i64>,
    now: Option<i64>,
    matter: Matter,
}

#[derive(Debug, PartialEq, Eq)]
enum Matter {
    /// May a request go on?
    Admit { limit: u32, proof: Proof },
    /// How many may?
    Peek,
    /// Nobody is to trust a copy below the version for so many milliseconds.
    Mark { version: i64, lasting: i64 },
}

/// What is asked about a credential's copy in the same breath.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nothing; the key is no credential's.
    None,
    /// Whether a copy of this version, confirmed with this nonce, is to be trusted.
    Copy { version: i64, nonce: [u8; 8] },
    /// The nonce; this one if there is none yet.
    Read { nonce: [u8; 8] },
}

/// What Redis says to all who ask the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply {
    /// How many of them are admitted; `None` if their copy is stale.
    admitted: Option<u32>,
    /// With those who are admitted.
    counted: u32,
    reset: Duration,
    retry: Duration,
    nonce: [u8; 8],
}

/// What it says to one of them.
pub(super) enum Answer {
    Counted { verdict: Verdict, nonce: [u8; 8] },
    Stale,
}

impl Question {
    fn new(key: &str, window: Option<Duration>, matter: Matter, keeper: Timekeeper, now: Timestamp) -> Self {
        let now = match keeper {
            Timekeeper::Redis => None,
            Timekeeper::Caller => Some(now.as_millis()),
        };
        Self { key: [PREFIX, key].concat(), window: window.map(millis), now, matter }
    }

    pub(super) fn admit(key: &str, limit: Limit, proof: Proof, keeper: Timekeeper, now: Timestamp) -> Self {
        Self::new(key, Some(limit.window), Matter::Admit { limit: limit.count, proof }, keeper, now)
    }

    pub(super) fn peek(key: &str, limit: Limit, keeper: Timekeeper, now: Timestamp) -> Self {
        Self::new(key, Some(limit.window), Matter::Peek, keeper, now)
    }

    pub(super) fn mark(id: &str, version: i64, lasting: Duration, keeper: Timekeeper, now: Timestamp) -> Self {
        Self::new(id, None, Matter::Mark { version, lasting: millis(lasting) }, keeper, now)
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// By the script's digest, as long as Redis knows it. So many ask.
    pub(super) fn by_digest(&self, askers: usize) -> Cmd {
        self.command("EVALSHA", &self.code().digest, askers)
    }

    /// With the script's text, which Redis then knows.
    pub(super) fn by_text(&self, askers: usize) -> Cmd {
        self.command("EVAL", self.code().text, askers)
    }

    fn code(&self) -> &'static Code {
        match self.matter {
            Matter::Admit { .. } => &ADMIT,
            Matter::Peek => &PEEK,
            Matter::Mark { .. } => &MARK,
        }
    }

    fn command(&self, name: &str, script: &str, askers: usize) -> Cmd {
        let mut command = ::redis::cmd(name);
        command.arg(script).arg(1).arg(&self.key).arg(self.packed(askers).as_slice());
        command
    }

    /// As `state.lua` unpacks it.
    fn packed(&self, askers: usize) -> [u8; PACKED] {
        let asked = i64::try_from(askers).unwrap_or(i64::MAX);
        let (limit, known, lasting, how, shown) = match self.matter {
            Matter::Admit { limit, proof: Proof::None } => (limit, 0, 0, b'-', [0; 8]),
            Matter::Admit { limit, proof: Proof::Copy { version, nonce } } => (limit, version, 0, b'c', nonce),
            Matter::Admit { limit, proof: Proof::Read { nonce } } => (limit, 0, 0, b'r', nonce),
            Matter::Peek => (0, 0, 0, b'-', [0; 8]),
            Matter::Mark { version, lasting } => (0, version, lasting, b'-', [0; 8]),
        };
        let numbers = [self.window.unwrap_or(0), self.now.unwrap_or(-1), limit.into(), asked, known, lasting];
        let mut packed = [0; PACKED];
        let (doubles, texts) = packed.split_at_mut(8 * numbers.len());
        for (place, number) in doubles.as_chunks_mut().0.iter_mut().zip(numbers) {
            *place = double(number).to_le_bytes();
        }
        texts[0] = how;
        texts[1..].copy_from_slice(&shown);
        packed
    }
}

impl Reply {
    /// Reads a script's reply. Redis counts in durations, so that nobody's clock has to agree with anybody's.
    pub(super) fn read(reply: Value) -> RedisResult<Self> {
        let packed: Vec<u8> = from_redis_value(reply)?;
        let read = || {
            let (admitted, packed) = packed.split_first_chunk()?;
            let (counted, packed) = packed.split_first_chunk()?;
            let (reset, packed) = packed.split_first_chunk()?;
            let (retry, nonce) = packed.split_first_chunk()?;
            Some(Self {
                admitted: u32::try_from(i32::from_le_bytes(*admitted)).ok(),
                counted: u32::from_le_bytes(*counted),
                reset: Duration::from_millis(u64::from_le_bytes(*reset)),
                retry: Duration::from_millis(u64::from_le_bytes(*retry)),
                nonce: nonce.try_into().ok()?,
            })
        };
        read().ok_or_else(|| (ErrorKind::UnexpectedReturnType, "not what the script replies").into())
    }

    /// What the `nth` of those who asked is told, from 0: as if they had asked one after the other.
    pub(super) fn to(self, nth: u32, limit: Limit, now: Timestamp) -> Answer {
        let Some(admitted) = self.admitted else { return Answer::Stale };
        let admitted_later = admitted.saturating_sub(nth.saturating_add(1));
        let quota = Quota {
            limit: limit.count,
            remaining: limit.count.saturating_sub(self.counted.saturating_sub(admitted_later)),
            reset_at: now.plus(self.reset),
        };
        let verdict = if nth < admitted {
            Verdict::Admitted(quota)
        } else {
            Verdict::Refused { quota, retry_at: now.plus(self.retry) }
        };
        Answer::Counted { verdict, nonce: self.nonce }
    }
}

#[expect(clippy::cast_precision_loss, reason = "times, counts and versions that occur are far below 2^53")]
fn double(number: i64) -> f64 {
    number.clamp(-MAX_EXACT, MAX_EXACT) as f64
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
