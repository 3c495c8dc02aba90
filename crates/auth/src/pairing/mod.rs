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
pub(crate) use page::{
    SignedIn, admit_second, decide_by_form, make_account, sign_in, sign_in_as, sign_in_by_wallet, sign_in_second,
};
pub(crate) use poll::{Poll, poll};
pub(crate) use start::{Started, start};

/// How long a pairing works, from its start to the token.
pub(crate) const LIFETIME: Duration = Duration::from_mins(10);
/// A program that asks no more often than this is never refused.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The page on which somebody decides about the pairing.
pub(crate) fn page_url(auth: &AuthService, id: &PairingId) -> String {
    format!("{}/login/{id}", auth.config.public_url.as_str().trim_end_matches('/'))
}

/// Bound to the pairing: the secret of one is worthless for another.
fn poll_digest(auth: &AuthService, id: &PairingId, secret: &str) -> Digest {
    auth.code_digests.digest(&["pairing.poll", id.as_str(), secret])
}
