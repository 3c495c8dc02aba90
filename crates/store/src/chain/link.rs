//! What a link is over: the whole definition, for whoever checks the chain with another program.

use domain::Chance;
use sha2::{Digest as _, Sha256};
use sqlx::any::AnyRow;

use crate::StoreError;
use crate::rows::Columns;

/// Names the formula of [`link_after`] within what it hashes. There is one: a row that could say by which of several
/// formulas it wants to be checked could ask for the weakest.
const FORMAT: &str = "afd.audit.3";

/// SHA-256, in hexadecimal, over the link before, a line feed, and the event as a JSON array: the format, its place in
/// the chain, and its columns in this order, with the digest of its particulars in the place of those.
pub(super) fn link_after(
    previous: &str,
    seq: i64,
    row: &AnyRow,
    particulars_digest: &str,
) -> Result<String, StoreError> {
    let content = serde_json::json!([
        FORMAT,
        seq,
        row.text("id")?,
        row.text("app_id")?,
        row.opt_text("user_id")?,
        row.text("type")?,
        row.int("at")?,
        row.opt_text("actor_session_id")?,
        row.opt_text("actor_token_id")?,
        row.opt_text("actor_service")?,
        particulars_digest,
    ]);
    Ok(sha256(previous, &content))
}

/// From where and with what something happened: what can be erased.
pub(super) struct Particulars {
    ip: Option<String>,
    user_agent: Option<String>,
    request_id: Option<String>,
    metadata: String,
}

impl Particulars {
    pub(super) fn of(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            ip: row.opt_text("ip")?,
            user_agent: row.opt_text("user_agent")?,
            request_id: row.opt_text("request_id")?,
            metadata: row.text("metadata")?,
        })
    }

    /// What is left of them when they are erased.
    pub(super) fn none() -> Self {
        Self { ip: None, user_agent: None, request_id: None, metadata: "{}".to_owned() }
    }

    pub(super) fn are_none(&self) -> bool {
        self.ip.is_none() && self.user_agent.is_none() && self.request_id.is_none() && self.metadata == "{}"
    }

    /// SHA-256, in hexadecimal, over the salt, a line feed, and a JSON array of these columns.
    pub(super) fn digest(&self, salt: &str) -> String {
        sha256(salt, &serde_json::json!([self.ip, self.user_agent, self.request_id, self.metadata]))
    }
}

/// Whether every column is of the type that it has to be. SQLite stores whatever it is given.
pub(super) fn is_readable(row: &AnyRow) -> bool {
    const NULLABLE: [&str; 7] = [
        "user_id",
        "actor_session_id",
        "actor_token_id",
        "actor_service",
        "link",
        "particulars_salt",
        "particulars_digest",
    ];
    ["id", "app_id", "type"].iter().all(|column| row.text(column).is_ok())
        && ["at", "seq"].iter().all(|column| row.int(column).is_ok())
        && NULLABLE.iter().all(|column| row.opt_text(column).is_ok())
        && Particulars::of(row).is_ok()
}

/// Whether the row's particulars are those that were sealed, or erased. Whether they may be erased is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is what was sealed in this place after that link.
    Whole,
    /// It is, but for its particulars, which are erased.
    Erased,
    /// It is not.
    Broken,
}

/// How the row fits into this place, after this link.
pub(super) fn fit(previous: &str, seq: i64, row: &AnyRow) -> Result<Fit, StoreError> {
    let Some(digest) = row.opt_text("particulars_digest")? else { return Ok(Fit::Broken) };
    let particulars = Particulars::of(row)?;
    let fit = match row.opt_text("particulars_salt")? {
        Some(salt) if particulars.digest(&salt) == digest => Fit::Whole,
        None if particulars.are_none() && row.opt_text("user_id")?.is_some() => Fit::Erased,
        _ => Fit::Broken,
    };
    let follows = row.opt_text("link")? == Some(link_after(previous, seq, row, &digest)?);
    Ok(if follows { fit } else { Fit::Broken })
}

/// 128 random bits.
pub(super) fn new_salt(chance: &Chance) -> String {
    let mut salt = [0u8; 16];
    chance.with(|rng| rng.fill_bytes(&mut salt));
    hex(&salt)
}

fn sha256(first: &str, content: &serde_json::Value) -> String {
    hex(&Sha256::new().chain_update(first).chain_update("\n").chain_update(content.to_string()).finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}
