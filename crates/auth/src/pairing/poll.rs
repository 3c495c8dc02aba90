//! A program asks how far its pairing is, and fetches its token.

use std::collections::BTreeMap;

use domain::audit::Actor;
use domain::token::TokenSecret;
use domain::{ClientInfo, EventId, PairingId, Timestamp, TokenId};
use store::{CreationOutcome, MintOutcome, NewEvent, PollOutcome, Token};
use web::ApiError;

use super::{POLL_INTERVAL, poll_digest};
use crate::tokens::{creation_limits, ensure_may_create, new_secret, refused};
use crate::{AuthService, internal};

/// How far a pairing is.
pub(crate) enum Poll {
    /// Nobody has decided.
    Pending,
    /// The token; this is the one time that it is told.
    Token(Box<Token>, TokenSecret),
    /// Somebody has refused.
    Denied,
    /// The pairing's time is over.
    Expired,
    /// The token has been fetched.
    Used,
    /// The program asked too soon.
    TooSoon { retry_at: Timestamp },
    /// The secret is not that of the pairing.
    WrongSecret,
    /// There is no such pairing.
    Unknown,
    /// Somebody has approved who cannot have one more token.
    Refused(ApiError),
}

/// Tells how far the pairing is. Once it is approved, creates its token: in one transaction with marking the pairing
/// as used, so that there is exactly one, and only for somebody who knows the secret.
pub(crate) async fn poll(
    auth: &AuthService,
    client: &ClientInfo,
    id: &PairingId,
    secret: &str,
) -> Result<Poll, ApiError> {
    let digest = poll_digest(auth, id, secret);
    let now = auth.clock.now();
    let user_id = match auth.store.poll_pairing(id, &digest, POLL_INTERVAL, now).await.map_err(internal)? {
        PollOutcome::Approved(user_id) => user_id,
        PollOutcome::Pending => return Ok(Poll::Pending),
        PollOutcome::Denied => return Ok(Poll::Denied),
        PollOutcome::Expired => return Ok(Poll::Expired),
        PollOutcome::Used => return Ok(Poll::Used),
        PollOutcome::TooSoon { retry_at } => return Ok(Poll::TooSoon { retry_at }),
        PollOutcome::WrongSecret => return Ok(Poll::WrongSecret),
        PollOutcome::Unknown => return Ok(Poll::Unknown),
    };
    // The database decides below; asking first spares those who are over a limit, and us, a bcrypt hash a second.
    if let Err(refusal) = ensure_may_create(auth, &user_id, now).await? {
        return Ok(Poll::Refused(refusal));
    }
    let (token_secret, kept) = new_secret(auth).await?;
    let (token_id, event_id) = auth.chance.with(|rng| (TokenId::generate(rng), EventId::generate(rng)));
    let event = NewEvent {
        id: event_id,
        at: auth.clock.now(),
        actor: Actor::default(),
        client: client.clone(),
        metadata: BTreeMap::new(),
    };
    let limits = creation_limits(auth);
    let minted = auth.store.mint_for_pairing(id, &digest, &token_id, &kept, &limits, &event).await.map_err(internal)?;
    Ok(match minted {
        MintOutcome::Minted(token) => Poll::Token(token, token_secret),
        // The account is gone or shut, or the session by which it was approved has ended.
        MintOutcome::Refused(
            CreationOutcome::NoUser | CreationOutcome::CallerGone | CreationOutcome::CallerReplaced,
        ) => Poll::Denied,
        MintOutcome::Refused(refusal) => Poll::Refused(refused(&refusal, now)),
        MintOutcome::NotApproved => Poll::Used,
    })
}
