//! The auth service as a library: people sign in, get sessions and mint personal access tokens; it hashes, validates,
//! limits, revokes and audits them. `afd` composes it with a configuration, a database and a way to send mail.
//!
//! Start reading at [`http`] for the path of a request, at [`tokens`] for what the product is about.

mod account;
mod addresses;
mod asker;
mod audit;
mod background;
mod config;
mod guessing;
mod hashing;
mod http;
mod keys;
mod look;
mod metrics;
mod notices;
mod notify;
mod operator;
mod pairing;
mod principal;
mod second_factor;
mod service;
mod sessions;
mod sign_in;
mod tokens;
mod trust;
mod windows;

pub use background::Background;
pub use config::{Config, Limits, Reauth, Secrets};
pub use http::{App, app, openapi};
pub use keys::{OldKeys, rotate_signing_keys};
pub use notify::{
    HttpSms, Mail, MailError, Mailer, Outbox, OutboxMail, Resend, Sms, SmsError, SmsSender, Smtp, TemplateError,
    Templates, Twilio,
};
pub use operator::{Issuer, IssuerError, OldToken, Operator, WishedToken, opens_factor};
pub use service::{AuthService, Parts};
pub use sign_in::EthereumRpc;
pub use sign_in::oauth::{AllowedRedirects, OAuth, OAuthProvider, ProviderName, RedirectError};
pub use tokens::LeakPolicy;
pub use trust::TRUST;

pub(crate) use service::{internal, no_list, unreadable};
