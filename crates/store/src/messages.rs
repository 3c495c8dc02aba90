//! How many messages were sent today: each costs money, or the sender's good name, so the count outlives the process.
//!
//! A message counts in several shares of the day at once. Those of newcomers are apart, so that whoever asks for many
//! messages to addresses and numbers that have never signed in leaves enough for those that have.

use sqlx::AnyConnection;

use crate::rows::{Columns, app};
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// By what a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// By e-mail.
    Mail,
    /// By SMS.
    Sms,
}

impl Channel {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Sms => "sms",
        }
    }
}

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Share {
    /// All of the channel.
    All,
    /// Those to numbers that have the first digits in common, whose digest this is.
    Block(String),
    /// Those to ways in that nobody has.
    Newcomers,
    /// Those of newcomers to this country.
    Country(String),
    /// Those of newcomers to such numbers.
    NewcomersOfBlock(String),
}

impl Share {
    const fn is_of_newcomers(&self) -> bool {
        match self {
            Self::All | Self::Block(_) => false,
            Self::Newcomers | Self::Country(_) | Self::NewcomersOfBlock(_) => true,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Block(digest) => format!("block:{digest}"),
            Self::Newcomers => "newcomers".to_owned(),
            Self::Country(code) => format!("country:{code}"),
            Self::NewcomersOfBlock(digest) => format!("newcomers:{digest}"),
        }
    }
}

/// In which shares a message counts, and how many of each are sent in a day.
#[derive(Debug, Clone)]
pub struct Allowance {
    /// By what it goes.
    pub channel: Channel,
    /// The day of UTC, since the epoch.
    pub day: i64,
    /// How many there are of all.
    pub all: u32,
    /// The other shares, and how many there are of each.
    pub shares: Vec<(Share, u32)>,
}

/// Whether a message may be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// It may, and has been counted.
    Counted {
        /// How many of the channel it makes today.
        today: u32,
        /// The shares whose last one it was.
        last_of: Vec<Share>,
        /// The share that newcomers wait for. Whoever asks must be told the same as a newcomer, or learns who is none.
        newcomers_wait: Option<Share>,
    },
    /// None was needed. Nothing was counted.
    Unneeded {
        /// As above.
        newcomers_wait: Option<Share>,
    },
    /// It is a newcomer's, and this share of theirs is used up. Nothing was counted.
    Newcomer(Share),
    /// Nobody's may, since this share is used up. Nothing was counted.
    Nobody(Share),
}

impl Allowed {
    /// Whether it may be sent.
    #[must_use]
    pub const fn is_counted(&self) -> bool {
        matches!(self, Self::Counted { .. })
    }
}

impl Store {
    /// Deletes at most `limit` counts of days before that one, and returns how many.
    pub async fn purge_message_days(&self, before: i64, limit: u32) -> Result<u64, StoreError> {
        transaction!(self, |tx| {
            let deleted = sqlx::query(
                // Twice, or PostgreSQL would look through all days for the ones that were found.
                "DELETE FROM message_days WHERE app_id = $1 AND day < $2 AND (channel, share, day) IN \
                 (SELECT channel, share, day FROM message_days WHERE app_id = $1 AND day < $2 ORDER BY day LIMIT $3)",
            )
            .bind(app())
            .bind(before)
            .bind(i64::from(limit))
            .execute(&mut *tx)
            .await?;
            Ok(deleted.rows_affected())
        })
    }
}

/// Counts one more message in all of its shares, or in none if one of them is used up.
pub(crate) async fn count(
    tx: &mut AnyConnection,
    allowance: &Allowance,
    is_newcomer: bool,
) -> Result<Allowed, StoreError> {
    let day = Day::look(tx, allowance).await?;
    if let Some(share) = day.nobody {
        return Ok(Allowed::Nobody(share));
    }
    if let Some(share) = day.newcomers_wait.clone().filter(|_| is_newcomer) {
        return Ok(Allowed::Newcomer(share));
    }
    let (mut today, mut last_of) = (0, Vec::new());
    for (share, cap, sent) in day.shares {
        if share.is_of_newcomers() && !is_newcomer {
            continue;
        }
        add(tx, allowance, &share, 1).await?;
        if share == Share::All {
            today = sent + 1;
        }
        if sent + 1 == cap {
            last_of.push(share);
        }
    }
    Ok(Allowed::Counted { today, last_of, newcomers_wait: day.newcomers_wait })
}

/// What whoever asks is told where no message is needed: the same as somebody who needs one, or it would tell whether there
/// was one before.
pub(crate) async fn look(tx: &mut AnyConnection, allowance: &Allowance) -> Result<Allowed, StoreError> {
    let day = Day::look(tx, allowance).await?;
    Ok(match day.nobody {
        Some(share) => Allowed::Nobody(share),
        None => Allowed::Unneeded { newcomers_wait: day.newcomers_wait },
    })
}

/// What a day has come to.
struct Day {
    /// Each share, how many of it are sent in a day, and how many were.
    shares: Vec<(Share, u32, u32)>,
    /// The first that is used up for all.
    nobody: Option<Share>,
    /// The first that is used up for newcomers.
    newcomers_wait: Option<Share>,
}

impl Day {
    /// Looks at the day, which stays as it is until the end of the transaction.
    async fn look(tx: &mut AnyConnection, allowance: &Allowance) -> Result<Self, StoreError> {
        // Whoever looks holds this row, so what is read next stays true.
        let all = add(tx, allowance, &Share::All, 0).await?;
        let mut shares = vec![(Share::All, allowance.all, all)];
        for (share, cap) in &allowance.shares {
            shares.push((share.clone(), *cap, sent(tx, allowance, share).await?));
        }
        let first = |of_newcomers: bool| {
            let mut used_up = shares.iter().filter(|(_, cap, sent)| sent >= cap).map(|(share, ..)| share);
            used_up.find(|share| share.is_of_newcomers() == of_newcomers).cloned()
        };
        let (nobody, newcomers_wait) = (first(false), first(true));
        Ok(Self { shares, nobody, newcomers_wait })
    }
}

/// Adds so many to a share of the day, and returns how many there are now.
async fn add(tx: &mut AnyConnection, allowance: &Allowance, share: &Share, more: u32) -> Result<u32, StoreError> {
    let row = sqlx::query(
        "INSERT INTO message_days (app_id, day, channel, share, sent) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (app_id, day, channel, share) DO UPDATE SET sent = message_days.sent + excluded.sent \
         RETURNING sent",
    )
    .bind(app())
    .bind(allowance.day)
    .bind(allowance.channel.as_str())
    .bind(share.name())
    .bind(i64::from(more))
    .fetch_one(tx)
    .await?;
    row.count("sent")
}

async fn sent(tx: &mut AnyConnection, allowance: &Allowance, share: &Share) -> Result<u32, StoreError> {
    let row =
        sqlx::query("SELECT sent FROM message_days WHERE app_id = $1 AND day = $2 AND channel = $3 AND share = $4")
            .bind(app())
            .bind(allowance.day)
            .bind(allowance.channel.as_str())
            .bind(share.name())
            .fetch_optional(tx)
            .await?;
    row.map_or(Ok(0), |row| row.count("sent"))
}
