//! The ways in. Each proves something in its own manner; what follows from a right proof is the same for all.

pub(crate) mod code;
pub(crate) mod email;
pub(crate) mod email_link;
pub(crate) mod exchange;
mod outcome;
pub(crate) mod sms;

pub(crate) use code::{CODE_LIFETIME, MAX_ATTEMPTS};
pub(crate) use outcome::{Planned, plan, plan_kept, reply};
