//! The ways in.

pub(crate) mod email;
