//! What one day has of mails and SMS that anybody can ask for, and who goes first when it is nearly used up.
//!
//! See `docs/decisions/0032-what-a-stranger-can-spend.md`.

use domain::{PhoneNumber, Timestamp};
use store::{Allowance, Allowed, Channel, Share};
use web::ApiError;

use crate::AuthService;
use crate::metrics::Message;

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// What whoever asked for a code is told, whether one is on its way or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// That it is.
    Sent,
    /// That it is if this is no newcomer: there is none for newcomers today. Those who are none are told the same, or the
    /// answer would say who has an account.
    SentUnlessNew,
}

impl Told {
    const fn of(newcomers_wait: Option<&Share>) -> Self {
        if newcomers_wait.is_some() { Self::SentUnlessNew } else { Self::Sent }
    }
}

/// What a mail counts in.
pub(crate) fn of_mail(auth: &AuthService, now: Timestamp) -> Allowance {
    let all = auth.config.limits.mails_per_day;
    Allowance { channel: Channel::Mail, day: day(now), all, shares: vec![(Share::Newcomers, of_newcomers(all))] }
}

/// What an SMS counts in.
pub(crate) fn of_sms(auth: &AuthService, phone: &PhoneNumber, now: Timestamp) -> Allowance {
    let limits = &auth.config.limits;
    let all = limits.sms_per_day;
    // Where nobody can read it: nearly all of a number.
    let block = auth.window_name(&format!("block:{}", phone.block()));
    let mut shares = vec![
        // For those who made numbers known with which they can then ask for as many as they like.
        (Share::Block(block.clone()), (all / 4).max(limits.sms_per_block)),
        (Share::Newcomers, of_newcomers(all)),
        (Share::NewcomersOfBlock(block), limits.sms_per_block),
    ];
    if let Some(country) = phone.mobile_in() {
        shares.push((Share::Country(country.to_string()), limits.new_sms_of_country()));
    }
    Allowance { channel: Channel::Sms, day: day(now), all, shares }
}

/// A third is kept for addresses and numbers that have signed in before.
pub(crate) const fn of_newcomers(all: u32) -> u32 {
    all - all / 3
}

/// Writes down what the day has come to, once for all instances, and says what whoever asked is told.
pub(crate) fn conclude(
    auth: &AuthService,
    allowance: &Allowance,
    allowed: &Allowed,
    now: Timestamp,
) -> Result<Told, ApiError> {
    let (setting, kind) = match allowance.channel {
        Channel::Mail => ("EMAIL_DAILY_CAP", "mails"),
        Channel::Sms => ("SMS_DAILY_CAP", "SMS"),
    };
    match allowed {
        Allowed::Counted { today, last_of, newcomers_wait } => {
            // The day's numbers are given out one by one, so each line is written once.
            if *today == allowance.all - allowance.all / 5 && *today < allowance.all {
                tracing::warn!(setting, cap = allowance.all, "four fifths of today's {kind} are sent");
            }
            for share in last_of {
                warn_of_end(share, setting, kind);
            }
            Ok(Told::of(newcomers_wait.as_ref()))
        }
        Allowed::Unneeded { newcomers_wait } => Ok(Told::of(newcomers_wait.as_ref())),
        Allowed::Newcomer(share) => {
            auth.metrics.message(allowance.channel, Message::of(share));
            Ok(Told::SentUnlessNew)
        }
        Allowed::Nobody(share) => {
            auth.metrics.message(allowance.channel, Message::of(share));
            let tomorrow = Timestamp::from_millis((allowance.day + 1) * DAY_MILLIS);
            let sentence = match allowance.channel {
                Channel::Mail => "No more mails are sent today; sign in another way",
                Channel::Sms => "No more SMS are sent today; sign in another way",
            };
            Err(ApiError::rate_limited(sentence, tomorrow, now))
        }
    }
}

/// When a message is handed over.
#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    /// Before the reply, which says how it went.
    Before,
    /// Behind it: whoever gets none is answered at once, and to wait for a gateway would tell who gets one.
    Behind,
}

impl When {
    pub(crate) const fn of(told: Told) -> Self {
        match told {
            Told::Sent => Self::Before,
            Told::SentUnlessNew => Self::Behind,
        }
    }
}

/// Hands a message over, and reports how that went.
pub(crate) async fn hand_over(
    when: When,
    sending: impl Future<Output = Result<(), ApiError>> + Send + 'static,
) -> Result<(), ApiError> {
    match when {
        When::Before => sending.await,
        When::Behind => {
            tokio::spawn(sending);
            Ok(())
        }
    }
}

fn warn_of_end(share: &Share, setting: &'static str, kind: &'static str) {
    match share {
        Share::All => tracing::warn!("{setting} is reached: no more {kind} are sent today"),
        Share::Newcomers => tracing::warn!(
            "two thirds of {setting} went to addresses or numbers that have never signed in: others of them get none today"
        ),
        Share::Country(country) => {
            tracing::warn!(country, "SMS_COUNTRY_DAILY_CAP is reached: new numbers of this country get none today");
        }
        Share::Block(_) | Share::NewcomersOfBlock(_) => {
            tracing::warn!("SMS_BLOCK_DAILY_CAP is reached for a block of ten thousand numbers");
        }
    }
}

fn day(now: Timestamp) -> i64 {
    now.as_millis().div_euclid(DAY_MILLIS)
}

/// The first day whose counts are still of use: clocks of two instances may differ by some.
pub(crate) fn first_day_kept(now: Timestamp) -> i64 {
    day(now) - 1
}
