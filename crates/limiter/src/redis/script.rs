//! What is asked of Redis: one script a question, one key a script.

use std::sync::LazyLock;
use std::time::Duration;

use ::redis::{Cmd, RedisResult, Script, Value, from_redis_value};
use domain::{Limit, Timestamp};

use super::Timekeeper;
use crate::{Quota, Verdict};

/// All keys of ours begin so; others may use the same Redis.
const PREFIX: &str = "afd:";

/// Lua's numbers are doubles. No version comes near; `i64::MAX`, which is above all of them, stays above.
const MAX_VERSION: i64 = 1 << 53;

/// A script, known to Redis by its digest.
pub(super) struct Code {
    pub(super) text: &'static str,
    digest: LazyLock<String>,
}

macro_rules! code {
    ($name:ident, $file:literal) => {
        pub(super) static $name: Code = Code {
            text: concat!(include_str!("window.lua"), include_str!($file)),
            digest: LazyLock::new(|| Script::new($name.text).get_hash().to_owned()),
        };
    };
}
code!(ADMIT, "admit.lua");
code!(PEEK, "peek.lua");
code!(MARK, "mark.lua");

/// A script with its key and arguments.
pub(super) struct Question {
    code: &'static Code,
    key: String,
    /// In milliseconds; `None` for what it was.
    window: Option<u64>,
    now: Option<i64>,
    arguments: Vec<Vec<u8>>,
}

/// What is asked about a credential's copy in the same breath.
#[derive(Clone, Copy)]
pub(super) enum Proof {
    /// Nothing; the key is no credential's.
    None,
    /// Whether a copy of this version, confirmed with this nonce, is to be trusted.
    Copy { version: i64, nonce: [u8; 8] },
    /// The nonce; this one if there is none yet.
    Read { nonce: [u8; 8] },
}

/// What Redis says.
pub(super) enum Answer {
    Counted { verdict: Verdict, nonce: [u8; 8] },
    Stale,
}

impl Question {
    fn new(code: &'static Code, key: &str, window: Option<Duration>, keeper: Timekeeper, now: Timestamp) -> Self {
        let now = match keeper {
            Timekeeper::Redis => None,
            Timekeeper::Caller => Some(now.as_millis()),
        };
        let window = window.map(|window| u64::try_from(window.as_millis()).unwrap_or(u64::MAX));
        Self { code, key: format!("{PREFIX}{key}"), window, now, arguments: Vec::new() }
    }

    pub(super) fn admit(key: &str, limit: Limit, proof: Proof, keeper: Timekeeper, now: Timestamp) -> Self {
        let mut question = Self::new(&ADMIT, key, Some(limit.window), keeper, now);
        question.arguments.push(limit.count.to_string().into());
        match proof {
            Proof::None => question.arguments.push(Vec::new()),
            Proof::Copy { version, nonce } => {
                question.arguments.extend([b"copy".to_vec(), clamp(version).to_string().into(), nonce.to_vec()]);
            }
            Proof::Read { nonce } => question.arguments.extend([b"read".to_vec(), nonce.to_vec()]),
        }
        question
    }

    pub(super) fn peek(key: &str, limit: Limit, keeper: Timekeeper, now: Timestamp) -> Self {
        Self::new(&PEEK, key, Some(limit.window), keeper, now)
    }

    pub(super) fn mark(id: &str, version: i64, lasting: Duration, keeper: Timekeeper, now: Timestamp) -> Self {
        let mut question = Self::new(&MARK, id, None, keeper, now);
        question.arguments.extend([clamp(version).to_string().into(), lasting.as_millis().to_string().into()]);
        question
    }

    /// By the script's digest, as long as Redis knows it.
    pub(super) fn by_digest(&self) -> Cmd {
        self.command("EVALSHA", &self.code.digest)
    }

    /// With the script's text, which Redis then knows.
    pub(super) fn by_text(&self) -> Cmd {
        self.command("EVAL", self.code.text)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = ::redis::cmd(name);
        command.arg(script).arg(1).arg(&self.key);
        command.arg(self.window.map_or_else(String::new, |window| window.to_string()));
        command.arg(self.now.map_or_else(String::new, |now| now.to_string()));
        for argument in &self.arguments {
            command.arg(argument.as_slice());
        }
        command
    }
}

impl Answer {
    /// Reads a script's reply. Redis counts in durations, so that nobody's clock has to agree with anybody's.
    pub(super) fn read(reply: Value, limit: Limit, now: Timestamp) -> RedisResult<Self> {
        let (outcome, counted, reset, retry, nonce): (i64, u64, u64, u64, Vec<u8>) = from_redis_value(reply)?;
        let quota = Quota {
            limit: limit.count,
            remaining: limit.count.saturating_sub(u32::try_from(counted).unwrap_or(u32::MAX)),
            reset_at: now.plus(Duration::from_millis(reset)),
        };
        let nonce = nonce.try_into().unwrap_or_default();
        Ok(match outcome {
            0 => Self::Counted {
                verdict: Verdict::Refused { quota, retry_at: now.plus(Duration::from_millis(retry)) },
                nonce,
            },
            1 => Self::Counted { verdict: Verdict::Admitted(quota), nonce },
            _ => Self::Stale,
        })
    }
}

fn clamp(version: i64) -> i64 {
    version.clamp(-MAX_VERSION, MAX_VERSION)
}
