//! Messages that wallets were asked to sign.

use domain::wallet::WalletAddress;
use domain::{Digest, Timestamp, UserId};
use sqlx::AnyConnection;

use crate::audit::NewEvent;
use crate::methods::{self, LinkOutcome, NewLink};
use crate::rows::{Columns, app};
use crate::sign_in::{self, NewSignIn, SignInOutcome, WayIn};
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// What a challenge is good for; one made for one purpose is worthless for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalletPurpose {
    /// Signing in.
    SignIn,
    /// Adding the wallet to an account.
    Link,
    /// Proving again, in a session, who one is.
    Reauthenticate,
    /// Signing in to the page of a program that waits to be let in.
    Pairing,
}

impl WalletPurpose {
    /// The purpose's name in the database, and in the digests of its challenges.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Link => "link",
            Self::Reauthenticate => "reauthenticate",
            Self::Pairing => "pairing",
        }
    }
}

/// A message that a wallet is to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletChallenge {
    /// The keyed digest of the purpose and the message.
    pub digest: Digest,
    /// What it is good for.
    pub purpose: WalletPurpose,
    /// To whose account the wallet is to be added, or who proves again who they are; nobody with
    /// [`WalletPurpose::SignIn`].
    pub user_id: Option<UserId>,
    /// The wallet.
    pub address: WalletAddress,
    /// The network that the message names.
    pub chain_id: String,
    /// The whole message.
    pub message: String,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// A challenge that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundChallenge {
    /// The challenge.
    pub challenge: WalletChallenge,
    /// Whether it has led to something already.
    pub is_spent: bool,
}

impl Store {
    /// Keeps a challenge.
    pub async fn put_wallet_challenge(&self, challenge: &WalletChallenge, at: Timestamp) -> Result<(), StoreError> {
        transaction!(self, |tx| {
            sqlx::query(
                "INSERT INTO wallet_challenges (digest, app_id, purpose, user_id, chain, chain_id, address, message, \
                 created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            )
            .bind(challenge.digest.to_string())
            .bind(app())
            .bind(challenge.purpose.as_str())
            .bind(challenge.user_id.as_ref().map(UserId::as_str))
            .bind(challenge.address.chain().as_str())
            .bind(challenge.chain_id.as_str())
            .bind(challenge.address.to_string())
            .bind(challenge.message.as_str())
            .bind(at.as_millis())
            .bind(challenge.expires_at.as_millis())
            .execute(&mut *tx)
            .await?;
            Ok(())
        })
    }

    /// The challenge with this digest that was made for this purpose and, where one is named, for this user, spent and
    /// expired or not.
    pub async fn find_wallet_challenge(
        &self,
        digest: &Digest,
        purpose: WalletPurpose,
        user_id: Option<&UserId>,
    ) -> Result<Option<FoundChallenge>, StoreError> {
        // No user's id is empty.
        let row = sqlx::query(
            "SELECT user_id, chain_id, address, message, expires_at, consumed_at FROM wallet_challenges \
             WHERE app_id = $1 AND digest = $2 AND purpose = $3 AND COALESCE(user_id, '') = $4",
        )
        .bind(app())
        .bind(digest.to_string())
        .bind(purpose.as_str())
        .bind(user_id.map_or("", UserId::as_str))
        .fetch_optional(self.reader())
        .await?;
        row.map(|row| {
            let challenge = WalletChallenge {
                digest: *digest,
                purpose,
                user_id: row.opt_parsed("user_id")?,
                address: row.parsed("address")?,
                chain_id: row.text("chain_id")?,
                message: row.text("message")?,
                expires_at: row.time("expires_at")?,
            };
            Ok(FoundChallenge { challenge, is_spent: row.opt_time("consumed_at")?.is_some() })
        })
        .transpose()
    }

    /// Spends a challenge whose signature has been checked and signs in by its wallet. `None`, and nothing has
    /// happened, when it is another wallet's, for another purpose, spent or expired.
    pub async fn sign_in_by_wallet(
        &self,
        digest: &Digest,
        sign_in: &NewSignIn,
    ) -> Result<Option<SignInOutcome>, StoreError> {
        let spending = Spending {
            digest,
            purpose: WalletPurpose::SignIn,
            user_id: None,
            chain: sign_in.way_in.provider.as_deref().unwrap_or_default(),
            address: &sign_in.way_in.identifier,
            at: sign_in.at,
        };
        transaction!(self, |tx| {
            if !spend(tx, &spending).await? {
                return Ok(None);
            }
            sign_in::complete(tx, sign_in).await.map(Some)
        })
    }

    /// Spends a challenge whose signature has been checked and adds its wallet to the account that it was made for.
    /// `None`, and nothing has happened, when it is another wallet's, another user's, for another purpose, spent or
    /// expired.
    pub async fn link_wallet(
        &self,
        digest: &Digest,
        link: &NewLink,
        event: &NewEvent,
    ) -> Result<Option<LinkOutcome>, StoreError> {
        let spending = Spending {
            digest,
            purpose: WalletPurpose::Link,
            user_id: Some(&link.user_id),
            chain: link.way_in.provider.as_deref().unwrap_or_default(),
            address: &link.way_in.identifier,
            at: event.at,
        };
        transaction!(self, |tx| {
            if !spend(tx, &spending).await? {
                return Ok(None);
            }
            methods::link(self, tx, link, event).await.map(Some)
        })
    }

    /// Deletes at most `limit` challenges that expired before `over_before`, and returns how many.
    pub async fn purge_wallet_challenges(&self, over_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.purge(
            "DELETE FROM wallet_challenges WHERE digest IN \
                 (SELECT digest FROM wallet_challenges WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
            over_before,
            limit,
        )
        .await
    }
}

/// Uses up a challenge of a pairing's page, by the wallet that signs in.
pub(crate) async fn spend_for_pairing(
    tx: &mut AnyConnection,
    digest: &Digest,
    sign_in: &NewSignIn,
) -> Result<bool, StoreError> {
    let spending = Spending {
        digest,
        purpose: WalletPurpose::Pairing,
        user_id: None,
        chain: sign_in.way_in.provider.as_deref().unwrap_or_default(),
        address: &sign_in.way_in.identifier,
        at: sign_in.at,
    };
    spend(tx, &spending).await
}

/// Which challenge is used up, and by what wallet.
struct Spending<'a> {
    digest: &'a Digest,
    purpose: WalletPurpose,
    user_id: Option<&'a UserId>,
    chain: &'a str,
    address: &'a str,
    at: Timestamp,
}

/// Uses up a challenge that was made to prove again who this user is.
pub(crate) async fn spend_to_reauthenticate(
    tx: &mut AnyConnection,
    digest: &Digest,
    user_id: &UserId,
    way_in: &WayIn,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let spending = Spending {
        digest,
        purpose: WalletPurpose::Reauthenticate,
        user_id: Some(user_id),
        chain: way_in.provider.as_deref().unwrap_or_default(),
        address: &way_in.identifier,
        at,
    };
    spend(tx, &spending).await
}

/// Uses a challenge up. Looking and marking are one statement: of any number of parallel replays one gets past it.
async fn spend(tx: &mut AnyConnection, spending: &Spending<'_>) -> Result<bool, StoreError> {
    let row = sqlx::query(
        "UPDATE wallet_challenges SET consumed_at = $1 \
         WHERE app_id = $2 AND digest = $3 AND purpose = $4 AND COALESCE(user_id, '') = $5 AND chain = $6 \
         AND address = $7 AND consumed_at IS NULL AND expires_at > $1 RETURNING digest",
    )
    .bind(spending.at.as_millis())
    .bind(app())
    .bind(spending.digest.to_string())
    .bind(spending.purpose.as_str())
    .bind(spending.user_id.map_or("", UserId::as_str))
    .bind(spending.chain)
    .bind(spending.address)
    .fetch_optional(tx)
    .await?;
    Ok(row.is_some())
}
