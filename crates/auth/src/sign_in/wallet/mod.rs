//! Signing in, and adding a way in, with a wallet: EIP-4361 for Ethereum, its like for Solana.
//!
//! A signed message counts only if it is the very message that was given out: it is found by a digest of all of it.
//! The signature is checked off the database; spending the challenge is one statement in the transaction of what
//! follows from it.

mod contract;

use std::borrow::Cow;
use std::time::Duration;

use auth_api::{ErrorCode, SignInReply};
use domain::wallet::{ChainId, SignInMessage, WalletAddress, ethereum};
use domain::{AuthMethodId, ClientInfo, Digest, EventId, OneTimeSecret, PairingId, UserId};
use store::{LinkOutcome, NewLink, Profile, WalletChallenge, WalletPurpose, WayIn};
use web::ApiError;

pub use self::contract::EthereumRpc;
use super::{Planned, plan, reply};
use crate::pairing::page_url as pairing_page;
use crate::principal::Principal;
use crate::{AuthService, internal};

/// How long a challenge works.
pub(crate) const CHALLENGE_LIFETIME: Duration = Duration::from_mins(15);

/// What a challenge is made for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum For<'a> {
    /// Signing in.
    SignIn,
    /// Adding the wallet to this user's account.
    Link(&'a UserId),
    /// Signing in to the page of this program that waits.
    Pairing(&'a PairingId),
}

/// A message that was given out.
pub(crate) struct Challenge {
    pub(crate) message: String,
    pub(crate) nonce: String,
}

/// What somebody says a wallet has signed.
pub(crate) struct Signed<'a> {
    pub(crate) address: WalletAddress,
    pub(crate) message: &'a str,
    pub(crate) signature: &'a str,
}

impl<'a> For<'a> {
    const fn purpose(self) -> WalletPurpose {
        match self {
            Self::SignIn => WalletPurpose::SignIn,
            Self::Link(_) => WalletPurpose::Link,
            Self::Pairing(_) => WalletPurpose::Pairing,
        }
    }

    const fn user_id(self) -> Option<&'a UserId> {
        match self {
            Self::SignIn | Self::Pairing(_) => None,
            Self::Link(user_id) => Some(user_id),
        }
    }

    /// What the person reads in the wallet before signing.
    const fn statement(self) -> &'static str {
        match self {
            Self::SignIn => "Sign in with this wallet. This costs nothing and moves nothing.",
            Self::Pairing(_) => {
                "Sign in to decide about a program that wants to act in your name. This costs nothing and moves nothing."
            }
            Self::Link(_) => {
                "Add this wallet to your account as a way to sign in. This costs nothing and moves nothing."
            }
        }
    }
}

/// Reads `address`.
pub(crate) fn address(text: &str) -> Result<WalletAddress, ApiError> {
    text.parse().map_err(|error| ApiError::validation("address", error))
}

/// Makes a message for the wallet to sign. Wallets with and without an account get alike ones.
pub(crate) async fn challenge(
    auth: &AuthService,
    made_for: For<'_>,
    address: &WalletAddress,
    chain_id: Option<&str>,
) -> Result<Challenge, ApiError> {
    let chain_id = ChainId::new(address.chain(), chain_id).map_err(|error| ApiError::validation("chainId", error))?;
    let now = auth.clock.now();
    let expires_at = now.plus(CHALLENGE_LIFETIME);
    let nonce = auth.chance.with(|rng| OneTimeSecret::generate(rng)).expose().to_owned();
    let (domain, uri) = asking_page(auth, made_for);
    let message = SignInMessage {
        domain: &domain,
        address,
        statement: made_for.statement(),
        uri: &uri,
        chain_id: &chain_id,
        nonce: &nonce,
        issued_at: now,
        expires_at,
    };
    let message = message.to_string();
    let challenge = WalletChallenge {
        digest: digest(auth, made_for, &message),
        purpose: made_for.purpose(),
        user_id: made_for.user_id().cloned(),
        address: *address,
        chain_id: chain_id.as_str().to_owned(),
        message: message.clone(),
        expires_at,
    };
    auth.store.put_wallet_challenge(&challenge, now).await.map_err(internal)?;
    Ok(Challenge { message, nonce })
}

/// The page that asks the wallet, which compares it with what it says: the app's, or our own.
fn asking_page<'a>(auth: &'a AuthService, made_for: For<'_>) -> (Cow<'a, str>, Cow<'a, str>) {
    match made_for {
        For::SignIn | For::Link(_) => {
            (auth.config.sign_in_domain.as_str().into(), auth.config.sign_in_uri.as_str().into())
        }
        For::Pairing(id) => {
            let own = &auth.config.public_url;
            (own.authority().to_owned().into(), pairing_page(auth, id).into())
        }
    }
}

/// Checks what a wallet has signed to sign in to the page of a program that waits; returns the digest of the challenge,
/// which is still to be spent.
pub(crate) async fn check_for_pairing(
    auth: &AuthService,
    id: &PairingId,
    signed: &Signed<'_>,
) -> Result<Digest, ApiError> {
    let digest = check(auth, For::Pairing(id), signed).await?;
    auth.admit_from_anywhere(&format!("wallet:{}", signed.address), auth.config.limits.strict).await?;
    Ok(digest)
}

/// Signs in with a signed challenge: a new session, and a new account if the wallet has none.
pub(crate) async fn sign_in(
    auth: &AuthService,
    client: &ClientInfo,
    signed: &Signed<'_>,
) -> Result<SignInReply, ApiError> {
    let digest = check(auth, For::SignIn, signed).await?;
    // By wallet, once it has signed: before, anybody could shut its owner out.
    auth.admit_from_anywhere(&format!("wallet:{}", signed.address), auth.config.limits.strict).await?;
    let Planned { sign_in, mfa_token } = plan(auth, client, WayIn::wallet(&signed.address), Profile::default());
    let outcome = auth.store.sign_in_by_wallet(&digest, &sign_in).await.map_err(internal)?;
    reply(auth, &mfa_token, outcome.ok_or_else(no_challenge)?)
}

/// Adds the wallet of a signed challenge to the caller's account, which the challenge was made for.
pub(crate) async fn link(auth: &AuthService, caller: &Principal, signed: &Signed<'_>) -> Result<LinkOutcome, ApiError> {
    let digest = check(auth, For::Link(&caller.user_id), signed).await?;
    let (method_id, event_id) = auth.chance.with(|rng| (AuthMethodId::generate(rng), EventId::generate(rng)));
    let link = NewLink { user_id: caller.user_id.clone(), method_id, way_in: WayIn::wallet(&signed.address) };
    let event = caller.event(event_id, auth.clock.now());
    auth.changing_user(&caller.user_id);
    auth.store.link_wallet(&digest, &link, &event).await.map_err(internal)?.ok_or_else(no_challenge)
}

/// Checks that the message is a challenge that waits, and that the wallet has signed it. Changes nothing: what follows
/// has to spend the challenge.
async fn check(auth: &AuthService, made_for: For<'_>, signed: &Signed<'_>) -> Result<Digest, ApiError> {
    let digest = digest(auth, made_for, signed.message);
    let found = auth
        .store
        .find_wallet_challenge(&digest, made_for.purpose(), made_for.user_id())
        .await
        .map_err(internal)?
        .filter(|found| found.challenge.message == signed.message && found.challenge.address == signed.address)
        .ok_or_else(no_challenge)?;
    if found.is_spent {
        return Err(no_challenge());
    }
    if found.challenge.expires_at <= auth.clock.now() {
        return Err(ApiError::new(ErrorCode::ChallengeExpired, "This challenge is too old; request a new one"));
    }
    check_signature(auth, &found.challenge, signed.signature).await.map(|()| digest)
}

async fn check_signature(auth: &AuthService, challenge: &WalletChallenge, signature: &str) -> Result<(), ApiError> {
    let address = match &challenge.address {
        WalletAddress::Solana(address) if address.has_signed(&challenge.message, signature) => return Ok(()),
        WalletAddress::Solana(_) => return Err(not_signed()),
        WalletAddress::Ethereum(address) => address,
    };
    let signature = ethereum::from_hex(signature).ok_or_else(not_signed)?;
    let hash = ethereum::personal_message_hash(&challenge.message);
    if ethereum::recover_signer(&hash, &signature).as_ref() == Some(address) {
        return Ok(());
    }
    // A contract's signature has any form; many have that of their owner's key.
    match &auth.config.ethereum {
        Some(rpc) => {
            if rpc.has_signed(&challenge.chain_id, address, &hash, &signature).await? {
                Ok(())
            } else {
                Err(not_signed())
            }
        }
        None if signature.len() > ethereum::SIGNATURE_LENGTH => Err(ApiError::new(
            ErrorCode::InvalidSignature,
            "This looks like the signature of a smart-contract wallet, and this installation cannot check those",
        )),
        None => Err(not_signed()),
    }
}

fn not_signed() -> ApiError {
    ApiError::new(ErrorCode::InvalidSignature, "This is not the wallet's signature of this message")
}

/// There never was one, or it has been used: it is the same to whoever has no right to it.
pub(crate) fn no_challenge() -> ApiError {
    ApiError::new(ErrorCode::InvalidSignature, "No challenge waits for this message; request a new one")
}

/// Bound to the purpose, and on a page to its program: the message of another's says something else already.
fn digest(auth: &AuthService, made_for: For<'_>, message: &str) -> Digest {
    let purpose = made_for.purpose().as_str();
    match made_for {
        For::SignIn | For::Link(_) => auth.code_digests.digest(&["wallet", purpose, message]),
        For::Pairing(id) => auth.code_digests.digest(&["wallet", purpose, id.as_str(), message]),
    }
}
