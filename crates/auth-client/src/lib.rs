//! The auth service as seen from another Rust program: the service JWT (contract §4), validation of credentials, and
//! the calls a program makes on behalf of a user.
//!
//! Whatever goes wrong on the way, a timeout, half a body, a page of HTML, comes out as [`Unavailable`] and never as
//! "valid". Nothing about credentials is remembered between calls: every validation asks the service.

mod breaker;
mod client;
mod end_user;
#[cfg(test)]
mod fake;
mod metrics;
mod operations;
mod service_jwt;
mod transport;
mod validate;

pub use client::{AuthClient, AuthClientConfig, SetupError};
pub use end_user::{Credential, EndUser};
pub use transport::{CallError, Unavailable};
pub use validate::{Limited, Valid, Validation};
