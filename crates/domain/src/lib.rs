//! What the words of this product mean: ids, the token grammar, names, scopes, e-mail addresses, one-time codes,
//! limits, audit event types, time. Nothing here does I/O or waits; time and randomness are parameters.

mod allowed_ips;
mod asker;
pub mod audit;
pub mod audit_head;
mod base62;
mod chance;
mod client;
mod clock;
mod code;
mod code_challenge;
mod country;
mod digest;
mod duration;
mod email;
mod id;
mod limit;
pub mod older_token;
mod one_time_secret;
mod phone;
mod scope;
mod sent_code;
pub mod token;
mod token_name;
mod user_code;
pub mod wallet;

pub use allowed_ips::{AllowedIps, AllowedIpsError, Network};
pub use asker::{ClaimedName, Neighbourhood};
pub use chance::Chance;
pub use client::ClientInfo;
pub use clock::{Clock, Moment, SystemClock, Timestamp, TimestampError};
pub use code::{MalformedCode, OneTimeCode};
pub use code_challenge::{CodeChallenge, CodeVerifier, MalformedCodeChallenge, MalformedCodeVerifier};
pub use country::{Countries, Country, CountryError};
pub use digest::{Digest, DigestKey, DigestKeyId, MalformedDigest, MalformedDigestKeyId};
pub use duration::{DurationError, parse_duration};
pub use email::{EmailAddress, EmailAddressError};
pub use id::{
    AppId, AuthMethodId, CodeId, EventId, KeyId, MalformedId, PairingId, SessionId, TokenId, TokenSecretId, UserId,
};
pub use limit::{Limit, LimitError};
pub use older_token::OlderTokenError;
pub use one_time_secret::{MalformedOneTimeSecret, OneTimeSecret};
pub use phone::{PhoneNumber, PhoneNumberError};
pub use scope::{Scope, ScopeError, ScopePool, Scopes};
pub use sent_code::{CodeShape, MalformedSentCode, SentCode};
pub use token_name::{TokenName, TokenNameError};
pub use user_code::{MalformedUserCode, UserCode};
