//! For tests only: a clock that stands still, a mail server and SMS gateways that keep what they get, an OAuth provider, wallets' libraries, a
//! browser, private PostgreSQL and Redis servers, service JWTs with any claims, and real processes. What cannot go on panics: a test that
//! cannot go on has failed.

#![expect(clippy::missing_panics_doc, reason = "everything here panics when a test cannot go on")]

mod browser;
mod node;
mod oauth_provider;
mod otlp;
mod postgres;
mod process;
mod redis;
mod service_jwt;
mod sms;
mod smtp;
mod time;
mod until;

pub use browser::{Browser, Focus, Sight};
pub use jsonwebtoken::Algorithm;
pub use node::{
    WalletSignature, authenticator_code, read_sign_in_message, sign_with_wallet, test_clients, verify_by_jwks,
};
pub use oauth_provider::{OAuthFault, OAuthProvider, OAuthStep};
pub use otlp::{Span, TraceSink};
pub use postgres::Postgres;
pub use process::{Afd, Finished, Launch, free_port};
pub use redis::{MovingSlot, Redis, RedisCluster};
pub use service_jwt::{ServiceJwt, service_jwt};
pub use sms::{HTTPSMS_KEY, ReceivedSms, SmsBehaviour, SmsSink, TWILIO_SID, TWILIO_TOKEN};
pub use smtp::{ReceivedMail, SmtpBehaviour, SmtpSink};
pub use time::{TestClock, seeded_chance};
pub use until::until;
