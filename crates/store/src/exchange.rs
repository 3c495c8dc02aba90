//! One-time codes that a browser carries to an app, which exchanges them for a session.

use domain::{CodeChallenge, Digest, Timestamp};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use crate::rows::{Columns, app};
use crate::sign_in::{self, MethodType, NewSignIn, Profile, SignInOutcome, WayIn};
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// An exchange code that is about to be handed to a browser.
#[derive(Debug, Clone)]
pub struct NewExchangeCode {
    /// Its keyed digest; the code itself is not kept.
    pub digest: Digest,
    /// What has been proved.
    pub way_in: WayIn,
    /// What the provider vouches for, for an account that does not exist yet.
    pub profile: Profile,
    /// What its receiver has to know the verifier of.
    pub challenge: Option<CodeChallenge>,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// What became of an exchange code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangeOutcome {
    /// It was right and is spent.
    Right(SignInOutcome),
    /// It was right, and not for whoever came with it: they have not the verifier. It is spent, since somebody else has it.
    NotTheirs,
    /// It is too old.
    Expired,
    /// There is none such, or it has been used.
    NoCode,
}

/// What an exchange code stood for.
pub(crate) struct Exchanged {
    pub(crate) way_in: WayIn,
    pub(crate) profile: Profile,
    challenge: Option<CodeChallenge>,
}

impl Store {
    /// Keeps an exchange code.
    pub async fn put_exchange_code(&self, code: &NewExchangeCode, at: Timestamp) -> Result<(), StoreError> {
        transaction!(self, |tx| { insert(tx, code, at).await })
    }

    /// Spends the code and signs in by what it stands for. `template` says all about the sign-in except by whom: its
    /// way in and profile are not looked at, the code's take their place. `challenge` is that of the verifier that came
    /// with it, and none must come where none was asked for: whoever sends one has begun something else than what the
    /// code came from (RFC 9700 §2.1.1).
    pub async fn redeem_exchange_code(
        &self,
        digest: &Digest,
        challenge: Option<&CodeChallenge>,
        template: &NewSignIn,
    ) -> Result<ExchangeOutcome, StoreError> {
        transaction!(self, |tx| {
            let Some(Exchanged { way_in, profile, challenge: asked }) = spend(tx, digest, template.at).await? else {
                return why_not_redeemed(tx, digest, template.at).await;
            };
            if asked.as_ref() != challenge {
                return Ok(ExchangeOutcome::NotTheirs);
            }
            let sign_in = NewSignIn { way_in, profile, ..template.clone() };
            sign_in::complete(tx, &sign_in).await.map(ExchangeOutcome::Right)
        })
    }

    /// Deletes at most `limit` exchange codes that expired before `over_before`, and returns how many.
    pub async fn purge_exchange_codes(&self, over_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.purge(
            "DELETE FROM exchange_codes WHERE digest IN \
                 (SELECT digest FROM exchange_codes WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
            over_before,
            limit,
        )
        .await
    }
}

/// Uses a code up. Checking and spending are one statement: of any number of parallel calls one gets past it.
pub(crate) async fn spend(
    tx: &mut AnyConnection,
    digest: &Digest,
    at: Timestamp,
) -> Result<Option<Exchanged>, StoreError> {
    let spent = sqlx::query(
        "UPDATE exchange_codes SET consumed_at = $1 \
         WHERE digest = $2 AND app_id = $3 AND consumed_at IS NULL AND expires_at > $1 \
         RETURNING type, provider, identifier, email, display_name, avatar_url, code_challenge",
    )
    .bind(at.as_millis())
    .bind(digest.to_string())
    .bind(app())
    .fetch_optional(tx)
    .await?;
    spent
        .map(|row| {
            let challenge = row.opt_parsed("code_challenge")?;
            Ok(Exchanged { way_in: way_in(&row)?, profile: profile(&row)?, challenge })
        })
        .transpose()
}

/// Keeps an exchange code in the transaction of whatever spent the proof.
pub(crate) async fn insert(tx: &mut AnyConnection, code: &NewExchangeCode, at: Timestamp) -> Result<(), StoreError> {
    let NewExchangeCode { digest, way_in, profile, challenge, expires_at } = code;
    sqlx::query(
        "INSERT INTO exchange_codes (digest, app_id, type, provider, identifier, email, display_name, avatar_url, \
         created_at, expires_at, code_challenge) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(digest.to_string())
    .bind(app())
    .bind(way_in.method.as_str())
    .bind(way_in.provider.as_deref().unwrap_or_default())
    .bind(way_in.identifier.as_str())
    .bind(profile.email.as_deref())
    .bind(profile.display_name.as_deref())
    .bind(profile.avatar_url.as_deref())
    .bind(at.as_millis())
    .bind(expires_at.as_millis())
    .bind(challenge.map(|challenge| challenge.to_string()))
    .execute(tx)
    .await?;
    Ok(())
}

async fn why_not_redeemed(
    tx: &mut AnyConnection,
    digest: &Digest,
    at: Timestamp,
) -> Result<ExchangeOutcome, StoreError> {
    let row =
        sqlx::query("SELECT expires_at FROM exchange_codes WHERE digest = $1 AND app_id = $2 AND consumed_at IS NULL")
            .bind(digest.to_string())
            .bind(app())
            .fetch_optional(tx)
            .await?;
    Ok(match row {
        Some(row) if row.time("expires_at")? <= at => ExchangeOutcome::Expired,
        _ => ExchangeOutcome::NoCode,
    })
}

fn way_in(row: &AnyRow) -> Result<WayIn, StoreError> {
    let method = MethodType::from_name(&row.text("type")?).ok_or(StoreError::Malformed { column: "type" })?;
    let provider = row.opt_text("provider")?.filter(|provider| !provider.is_empty());
    Ok(WayIn { method, provider, identifier: row.text("identifier")? })
}

fn profile(row: &AnyRow) -> Result<Profile, StoreError> {
    Ok(Profile {
        email: row.opt_text("email")?,
        display_name: row.opt_text("display_name")?,
        avatar_url: row.opt_text("avatar_url")?,
    })
}
