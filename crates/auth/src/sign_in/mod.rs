//! The ways in. Each proves something in its own manner; what follows from a right proof is the same for all.

pub(crate) mod email;
pub(crate) mod exchange;
pub(crate) mod oauth;
mod outcome;
pub(crate) mod wallet;

pub(crate) use outcome::{Planned, plan, plan_kept, reply};
pub use wallet::EthereumRpc;
