//! The keys of the auth service: who signs what, and under what secrets are kept.
//!
//! | key | from | for |
//! |---|---|---|
//! | service JWTs | `JWT_SECRET` (during a rotation a list) | HS256, verified here, signed by the backend |
//! | access and narrowed JWTs | key pairs kept sealed in the database | EdDSA, published at `/.well-known/jwks.json` |
//! | refresh JWTs | `JWT_REFRESH_SECRET` | HS256 |
//! | token digests, seals | `TOKEN_SEAL_KEY`, else `JWT_SECRET` | finding tokens; keeping private keys and second factors |
//! | code digests | `JWT_REFRESH_SECRET` | finding and comparing codes, links and states, which live minutes |
//!
//! During a rotation of `JWT_SECRET` instances with different lists answer side by side. Whatever one of them makes,
//! the others have to recognise: so all secrets of the list verify, find and open, and codes do not depend on it.

mod claims;
mod jws;
mod refresh;
mod reseal;
mod ring;
mod rotate;
mod seal;
mod service;

pub(crate) use claims::{Claims, NarrowedClaims, Narrowing, SessionClaims};
pub(crate) use refresh::RefreshKey;
pub(crate) use reseal::reseal;
pub(crate) use ring::{JwkSet, JwtError, KeyRing, Signed};
pub use rotate::{OldKeys, rotate_signing_keys};
pub(crate) use seal::Seal;
pub(crate) use service::{ServiceCall, ServiceKeys};

/// The `iss` claim of all JWTs that this service signs.
pub(crate) const ISSUER: &str = auth_api::AUTH_SERVICE;
/// The `aud` claim of the JWTs of people's sessions.
pub(crate) const SESSION_AUDIENCE: &str = "alternatefutures-app";
