//! Programs that wait for somebody to let them in: pairing of command lines, and RFC 8628 device authorization.
//!
//! A pairing is pending, then approved or denied, and once approved it is used. Each step is one guarded `UPDATE`, so
//! that of any number of parallel ones exactly one happens. The token comes into being only with the last step, in its
//! transaction; until then there is none that could leak.

mod decision;

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use domain::{ClientInfo, Digest, PairingId, Scopes, Timestamp, TokenId, TokenName, UserCode, UserId};
use sqlx::any::AnyRow;

pub(crate) use self::decision::decide;
pub use self::decision::{Approval, Decision, DecisionOutcome};
use crate::audit::NewEvent;
use crate::rows::{Columns, app, ip};
use crate::shown::{Shown, Standing, standing};
use crate::tokens::{self, CreationLimits, CreationOutcome, NewToken, NewTokenSecret, Token};
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// A program that asks to be let in.
#[derive(Debug, Clone)]
pub struct NewPairing {
    /// Its id, which is in the address of the page.
    pub id: PairingId,
    /// The keyed digest of the secret with which the program fetches its token.
    pub poll_digest: Digest,
    /// What people compare or type.
    pub user_code: UserCode,
    /// What the program calls itself; the token's name unless whoever approves gives it another one.
    pub name: TokenName,
    /// What the token may do.
    pub scopes: Scopes,
    /// The machine that asks.
    pub client: ClientInfo,
    /// When it asks.
    pub at: Timestamp,
    /// When the pairing stops working.
    pub expires_at: Timestamp,
}

/// A pairing as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairing {
    /// Its id.
    pub id: PairingId,
    /// What people compare or type.
    pub user_code: UserCode,
    /// What the program calls itself.
    pub name: TokenName,
    /// What the token may do.
    pub scopes: Scopes,
    /// From where the program asked.
    pub ip: Option<IpAddr>,
    /// What it says it is.
    pub user_agent: Option<String>,
    /// When it asked.
    pub created_at: Timestamp,
    /// When the pairing stops working.
    pub expires_at: Timestamp,
    /// How far it is.
    pub status: PairingStatus,
}

/// How far a pairing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairingStatus {
    /// Nobody has decided.
    Pending,
    /// Somebody has let the program in, which has not fetched its token yet.
    Approved,
    /// Somebody has refused.
    Denied,
    /// The token has been fetched.
    Used,
}

impl PairingStatus {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Used => "used",
        }
    }
}

impl FromStr for PairingStatus {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Pending, Self::Approved, Self::Denied, Self::Used]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(())
    }
}

/// What a program that asks how far its pairing is gets to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PollOutcome {
    /// Nobody has decided.
    Pending,
    /// The token can be minted, for this user.
    Approved(UserId),
    /// Somebody has refused.
    Denied,
    /// The pairing's time is over.
    Expired,
    /// The token has been fetched.
    Used,
    /// It asked too soon after the last time; this was not counted.
    TooSoon {
        /// When it may ask again.
        retry_at: Timestamp,
    },
    /// The secret is not that of the pairing.
    WrongSecret,
    /// There is no such pairing.
    Unknown,
}

/// What became of fetching the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MintOutcome {
    /// The token exists; the pairing is used.
    Minted(Box<Token>),
    /// The user cannot have the token now; the pairing stays approved.
    Refused(CreationOutcome),
    /// The pairing is not, or no longer, approved.
    NotApproved,
}

/// The columns of [`Pairing`], and those of the decision.
macro_rules! pairing_columns {
    () => {
        "id, poll_digest, user_code, name, scopes, ip, user_agent, created_at, expires_at, status, user_id, \
         token_name, token_expires_at, token_scopes, last_polled_at, session_id"
    };
}

impl Pairing {
    fn from_row(row: &AnyRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.parsed("id")?,
            user_code: row.parsed("user_code")?,
            name: row.parsed("name")?,
            scopes: row.parsed("scopes")?,
            ip: row.opt_parsed("ip")?,
            user_agent: row.opt_text("user_agent")?,
            created_at: row.time("created_at")?,
            expires_at: row.time("expires_at")?,
            status: row.parsed("status")?,
        })
    }
}

impl Store {
    /// Keeps a new pairing; `false` when another one has its user code, and nothing was kept.
    pub async fn start_pairing(&self, new: &NewPairing) -> Result<bool, StoreError> {
        transaction!(self, |tx| {
            let inserted = sqlx::query(
                "INSERT INTO pairings (id, app_id, poll_digest, user_code, name, scopes, ip, user_agent, created_at, \
                 expires_at, status) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'pending') \
                 ON CONFLICT (app_id, user_code) DO NOTHING",
            )
            .bind(new.id.as_str())
            .bind(app())
            .bind(new.poll_digest.to_string())
            .bind(new.user_code.as_str())
            .bind(new.name.as_str())
            .bind(new.scopes.to_string())
            .bind(ip(&new.client))
            .bind(new.client.user_agent.as_deref())
            .bind(new.at.as_millis())
            .bind(new.expires_at.as_millis())
            .execute(&mut *tx)
            .await?;
            Ok(inserted.rows_affected() == 1)
        })
    }

    /// The pairing with this id, however far it is.
    pub async fn find_pairing(&self, id: &PairingId) -> Result<Option<Pairing>, StoreError> {
        let row = find(self.reader(), id).await?;
        row.as_ref().map(Pairing::from_row).transpose()
    }

    /// The pairing that waits under this code for somebody's decision.
    pub async fn find_pairing_by_user_code(
        &self,
        code: &UserCode,
        now: Timestamp,
    ) -> Result<Option<Pairing>, StoreError> {
        let row = sqlx::query(concat!(
            "SELECT ",
            pairing_columns!(),
            " FROM pairings WHERE app_id = $1 AND user_code = $2 AND status = 'pending' AND expires_at > $3"
        ))
        .bind(app())
        .bind(code.as_str())
        .bind(now.as_millis())
        .fetch_optional(self.reader())
        .await?;
        row.as_ref().map(Pairing::from_row).transpose()
    }

    /// How far the program's pairing is. Asking again within `interval` of the last time that counted is told apart
    /// and does not count; neither does asking with a wrong secret, or others could keep the program from asking.
    pub async fn poll_pairing(
        &self,
        id: &PairingId,
        secret: &Digest,
        interval: Duration,
        now: Timestamp,
    ) -> Result<PollOutcome, StoreError> {
        transaction!(self, |tx| {
            let Some(row) = find(&mut *tx, id).await? else { return Ok(PollOutcome::Unknown) };
            if row.parsed::<Digest>("poll_digest")? != *secret {
                return Ok(PollOutcome::WrongSecret);
            }
            // Checking and counting are one statement: of parallel polls one counts.
            let counted = sqlx::query(concat!(
                "UPDATE pairings SET last_polled_at = $1 WHERE id = $2 \
                 AND (last_polled_at IS NULL OR last_polled_at <= $3) RETURNING ",
                pairing_columns!()
            ))
            .bind(now.as_millis())
            .bind(id.as_str())
            .bind(now.minus(interval).as_millis())
            .fetch_optional(&mut *tx)
            .await?;
            let Some(row) = counted else {
                let Some(row) = find(&mut *tx, id).await? else { return Ok(PollOutcome::Unknown) };
                let last = row.opt_time("last_polled_at")?.unwrap_or(now);
                return Ok(PollOutcome::TooSoon { retry_at: last.plus(interval) });
            };
            progress(&row, now)
        })
    }

    /// Uses an approved pairing: creates its token, which has this id and secret, and writes `token.created`. Of
    /// parallel calls one creates a token; the others find the pairing used.
    pub async fn mint_for_pairing(
        &self,
        id: &PairingId,
        secret: &Digest,
        token_id: &TokenId,
        token_secret: &NewTokenSecret,
        limits: &CreationLimits,
        event: &NewEvent,
    ) -> Result<MintOutcome, StoreError> {
        transaction!(self, |tx| {
            let Some(row) = find(&mut *tx, id).await? else { return Ok(MintOutcome::NotApproved) };
            if row.parsed::<Digest>("poll_digest")? != *secret {
                return Ok(MintOutcome::NotApproved);
            }
            let PollOutcome::Approved(user_id) = progress(&row, event.at)? else {
                return Ok(MintOutcome::NotApproved);
            };
            if let Some(refusal) = tokens::refusal(tx, &user_id, limits, event.at).await? {
                return Ok(MintOutcome::Refused(refusal));
            }
            // Whoever has ended the session has ended what it let in.
            let approved_by = row.opt_parsed("session_id")?.map(Shown::Session);
            if standing(tx, approved_by.as_ref(), &user_id, event.at).await? == Standing::Gone {
                return Ok(MintOutcome::Refused(CreationOutcome::CallerGone));
            }
            let used = sqlx::query("UPDATE pairings SET status = 'used' WHERE id = $1 AND status = 'approved'")
                .bind(id.as_str())
                .execute(&mut *tx)
                .await?;
            if used.rows_affected() == 0 {
                return Ok(MintOutcome::NotApproved);
            }
            let token = NewToken {
                id: token_id.clone(),
                user_id,
                name: row.parsed("token_name")?,
                scopes: row.opt_parsed("token_scopes")?.map_or_else(|| row.parsed("scopes"), Ok)?,
                allowed_ips: None,
                expires_at: row.opt_time("token_expires_at")?,
                secret: token_secret.clone(),
            };
            let event = event.clone().with("pairingId", id.as_str());
            Ok(match tokens::add(tx, &token, &event).await? {
                CreationOutcome::Created(token) => MintOutcome::Minted(token),
                refusal => MintOutcome::Refused(refusal),
            })
        })
    }

    /// Deletes at most `limit` pairings whose time was over before `over_before`, with their forms, and returns how
    /// many.
    pub async fn purge_pairings(&self, over_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.purge(
            "DELETE FROM pairings WHERE id IN \
             (SELECT id FROM pairings WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
            over_before,
            limit,
        )
        .await
    }
}

async fn find(executor: impl sqlx::AnyExecutor<'_>, id: &PairingId) -> Result<Option<AnyRow>, StoreError> {
    let row = sqlx::query(concat!("SELECT ", pairing_columns!(), " FROM pairings WHERE app_id = $1 AND id = $2"))
        .bind(app())
        .bind(id.as_str())
        .fetch_optional(executor)
        .await?;
    Ok(row)
}

/// How far the pairing is, for the program. An approval whose token would be over already came to nothing.
fn progress(row: &AnyRow, now: Timestamp) -> Result<PollOutcome, StoreError> {
    let over = |end: Timestamp| end <= now;
    Ok(match row.parsed("status")? {
        PairingStatus::Used => PollOutcome::Used,
        PairingStatus::Denied => PollOutcome::Denied,
        _ if over(row.time("expires_at")?) || row.opt_time("token_expires_at")?.is_some_and(over) => {
            PollOutcome::Expired
        }
        PairingStatus::Pending => PollOutcome::Pending,
        PairingStatus::Approved => PollOutcome::Approved(row.parsed("user_id")?),
    })
}
