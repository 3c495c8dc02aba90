//! Letting programs in that have no browser of their own: a program starts a pairing, a person approves or denies it,
//! and the program, which has been asking meanwhile, fetches its token. `/auth/cli/*` and RFC 8628 device authorization
//! are two faces of this one engine.

mod decide;
mod page;
mod poll;
mod start;

use std::time::Duration;

use domain::{Digest, PairingId};

use crate::AuthService;

pub(crate) use decide::{approval, decide};
pub(crate) use page::{SignedIn, admit_second, decide_by_form, sign_in, sign_in_second};
pub(crate) use poll::{Poll, poll};
pub(crate) use start::{Started, start};

/// How long a pairing works, from its start to the token.
pub(crate) const LIFETIME: Duration = Duration::from_mins(10);
/// A program that asks no more often than this is never refused.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Bound to the pairing: the secret of one is worthless for another.
fn poll_digest(auth: &AuthService, id: &PairingId, secret: &str) -> Digest {
    auth.code_digests.digest(&["pairing.poll", id.as_str(), secret])
}
