//! The ways in. Each proves something in its own manner; what follows from a right proof is the same for all.

pub(crate) mod allowance;
pub(crate) mod code;
pub(crate) mod email;
pub(crate) mod email_link;
pub(crate) mod exchange;
pub(crate) mod oauth;
mod outcome;
pub(crate) mod sms;
pub(crate) mod wallet;

pub(crate) use code::{CODE_LIFETIME, MAX_ATTEMPTS};
pub(crate) use outcome::{Planned, disabled, mfa_digest, plan, plan_kept, reply};
pub use wallet::EthereumRpc;
