//! The ways in. Each proves something in its own manner; what follows from a right proof is the same for all.

pub(crate) mod email;
mod outcome;
pub(crate) mod wallet;

pub(crate) use outcome::{Planned, plan, reply};
pub use wallet::EthereumRpc;
