#![cfg_attr(feature = "axum", doc = include_str!("../README.md"))]
#![cfg_attr(not(feature = "axum"), doc = "The auth service as seen from another Rust program.")]

mod breaker;
#[cfg(feature = "axum")]
mod caller;
mod client;
mod connections;
mod end_user;
#[cfg(test)]
mod fake;
#[cfg(feature = "axum")]
mod layer;
#[cfg(feature = "axum")]
#[cfg(test)]
mod layer_tests;
mod metrics;
mod operations;
mod service_jwt;
mod transport;
mod validate;

pub use auth_api::{Bounds, CredentialKind, ErrorCode, Me, RateLimit, ValidReply};
#[cfg(feature = "axum")]
pub use caller::Caller;
pub use client::{AuthClient, AuthClientConfig, SetupError};
pub use connections::TransportError;
pub use domain::{Chance, ClientInfo, Clock, Scope, Scopes, SessionId, SystemClock, TokenId, UserId};
pub use end_user::{Credential, EndUser};
#[cfg(feature = "axum")]
pub use layer::{AuthLayer, Guarded};
pub use secrecy::SecretString;
pub use transport::{CallError, Unavailable};
pub use validate::{Limited, MAX_CREDENTIAL_LENGTH, Valid, Validation};
#[cfg(feature = "axum")]
pub use web::TrustedProxies;
