//! The links beside one-time codes: another secret for the same row, so that whoever uses one of them ends both. Wrong
//! guesses at the code do nothing to the link, or a stranger could keep the owner of a mailbox out.

use domain::{Digest, Timestamp};
use sqlx::AnyConnection;

use crate::codes::CodePurpose;
use crate::exchange::{self, NewExchangeCode};
use crate::rows::{Columns, app};
use crate::sign_in::{self, NewSignIn, Profile, SignInOutcome, WayIn};
use crate::transaction::transaction;
use crate::{Store, StoreError, mail_links};

/// What somebody shows who has followed a link.
#[derive(Debug, Clone)]
pub struct LinkSecret {
    /// What it is to be good for.
    pub purpose: CodePurpose,
    /// The keyed digest of its token.
    pub digest: Digest,
}

/// What became of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TradedLink<T> {
    /// It was right, and it and its code are spent.
    Right(T),
    /// It is too old.
    Expired,
    /// There is none such, or it or its code has been used.
    NoLink,
}

impl Store {
    /// Spends the link and signs in. `template` says all about the sign-in except by whom: its way in is not looked
    /// at, the link's takes its place.
    pub async fn redeem_link(
        &self,
        link: &LinkSecret,
        template: &NewSignIn,
    ) -> Result<TradedLink<SignInOutcome>, StoreError> {
        transaction!(self, |tx| {
            let way_in = match spend(tx, link, template.at).await? {
                TradedLink::Right(way_in) => way_in,
                TradedLink::Expired => return Ok(TradedLink::Expired),
                TradedLink::NoLink => return Ok(TradedLink::NoLink),
            };
            let sign_in = NewSignIn { way_in, profile: Profile::default(), ..template.clone() };
            sign_in::complete(tx, &sign_in).await.map(TradedLink::Right)
        })
    }

    /// Spends the link for an exchange code of this digest.
    pub async fn trade_link(
        &self,
        link: &LinkSecret,
        digest: &Digest,
        expires_at: Timestamp,
        at: Timestamp,
    ) -> Result<TradedLink<()>, StoreError> {
        transaction!(self, |tx| {
            let way_in = match spend(tx, link, at).await? {
                TradedLink::Right(way_in) => way_in,
                TradedLink::Expired => return Ok(TradedLink::Expired),
                TradedLink::NoLink => return Ok(TradedLink::NoLink),
            };
            let challenge = mail_links::challenge_of(tx, &link.digest).await?;
            let code = NewExchangeCode { digest: *digest, way_in, profile: Profile::default(), challenge, expires_at };
            exchange::insert(tx, &code, at).await.map(TradedLink::Right)
        })
    }
}

/// Checking and spending are one statement: of any number of parallel calls one gets past it.
async fn spend(tx: &mut AnyConnection, link: &LinkSecret, at: Timestamp) -> Result<TradedLink<WayIn>, StoreError> {
    let spent = sqlx::query(
        "UPDATE one_time_codes SET consumed_at = $1 \
         WHERE link_digest = $2 AND app_id = $3 AND purpose = $4 \
         AND consumed_at IS NULL AND expires_at > $1 RETURNING subject",
    )
    .bind(at.as_millis())
    .bind(link.digest.to_string())
    .bind(app())
    .bind(link.purpose.as_str())
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(row) = spent {
        return Ok(TradedLink::Right(link.purpose.way_in(&row.text("subject")?)));
    }
    let row = sqlx::query(
        "SELECT id FROM one_time_codes \
         WHERE link_digest = $1 AND app_id = $2 AND purpose = $3 AND consumed_at IS NULL",
    )
    .bind(link.digest.to_string())
    .bind(app())
    .bind(link.purpose.as_str())
    .fetch_optional(tx)
    .await?;
    // What is there and has not been spent is too old.
    Ok(row.map_or(TradedLink::NoLink, |_| TradedLink::Expired))
}
