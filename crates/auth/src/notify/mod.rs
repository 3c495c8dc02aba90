//! Messages to people. Nothing here is written before what they are about has been committed.

mod asked;
mod http_sms;
mod outbox;
mod resend;
mod sms_api;
mod smtp;
mod templates;
mod twilio;

use std::fmt;
use std::net::IpAddr;

use domain::{EmailAddress, OneTimeCode, PhoneNumber};
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use store::LeakRemedy;

use crate::asker::Asker;
use crate::notices::Told;

pub(crate) use asked::Asked;
pub use http_sms::HttpSms;
pub use outbox::{Outbox, OutboxMail};
pub use resend::Resend;
pub use smtp::Smtp;
pub use templates::{TemplateError, Templates};
pub use twilio::Twilio;

/// A mail ready to be sent. Its text carries a code, so it cannot be printed.
pub struct Mail {
    /// To whom.
    pub to: EmailAddress,
    /// The subject line. May carry a code: people read it off the notification, and it is worth nothing to whoever sees
    /// a locked screen and has not asked for it.
    pub subject: String,
    /// The text for readers that show no HTML.
    pub text: SecretString,
    /// The same as HTML.
    pub html: SecretString,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mail([REDACTED])")
    }
}

/// A mail could not be handed over; the text is for the log and holds no part of the mail.
#[derive(Debug, thiserror::Error)]
#[error("mail was not accepted: {0}")]
pub struct MailError(String);

impl MailError {
    fn new(cause: impl fmt::Display) -> Self {
        Self(cause.to_string())
    }
}

/// Hands mail over to whoever delivers it, within a bounded time.
pub trait Mailer: Send + Sync + 'static {
    /// Returns when the mail has been accepted for delivery.
    fn send(&self, mail: Mail) -> BoxFuture<'_, Result<(), MailError>>;
}

/// An SMS ready to be sent. Its text carries a code, so it cannot be printed.
pub struct Sms {
    /// To whom.
    pub to: PhoneNumber,
    /// What it says.
    pub text: SecretString,
}

impl fmt::Debug for Sms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sms([REDACTED])")
    }
}

/// An SMS could not be handed over; the text is for the log and holds no part of the SMS.
#[derive(Debug, thiserror::Error)]
#[error("the SMS was not accepted: {0}")]
pub struct SmsError(String);

impl SmsError {
    fn new(cause: impl fmt::Display) -> Self {
        Self(cause.to_string())
    }
}

/// Hands SMS over to whoever delivers them, within a bounded time.
pub trait SmsSender: Send + Sync + 'static {
    /// Returns when the SMS has been accepted for delivery.
    fn send(&self, sms: Sms) -> BoxFuture<'_, Result<(), SmsError>>;
}

/// What a mail says that proves an address which somebody adds to their account.
pub(crate) struct LinkMail<'a> {
    pub(crate) to: &'a EmailAddress,
    /// As people see it.
    pub(crate) code: &'a SecretString,
    pub(crate) minutes: u64,
}

/// What a mail says that confirms in a session that it is its user who asks.
pub(crate) struct ReauthMail<'a> {
    pub(crate) to: &'a EmailAddress,
    pub(crate) code: &'a OneTimeCode,
    pub(crate) minutes: u64,
    /// From where it was asked for.
    pub(crate) asked_from: Option<IpAddr>,
}

/// What a mail says about a token of the receiver's that was found in the open.
pub(crate) struct LeakMail<'a> {
    pub(crate) to: &'a EmailAddress,
    /// The token's name.
    pub(crate) token: &'a str,
    pub(crate) prefix: &'a str,
    /// What has been done.
    pub(crate) remedy: LeakRemedy,
    /// Where it was found, as somebody says.
    pub(crate) url: Option<&'a str>,
}

/// What a mail says with whose code somebody decides about a program that waits.
pub(crate) struct LetInMail<'a> {
    pub(crate) to: &'a EmailAddress,
    /// As people see it.
    pub(crate) code: &'a SecretString,
    /// What the program calls itself.
    pub(crate) program: &'a str,
    /// The machine that the program runs on.
    pub(crate) asked_by: &'a Asker,
    pub(crate) minutes: u64,
}

/// What a mail says about what happened to the receiver's account.
pub(crate) struct SecurityMail<'a> {
    pub(crate) to: &'a EmailAddress,
    pub(crate) told: &'a Told,
    /// The link by which they end all access, unless the account is gone.
    pub(crate) undo: Option<&'a SecretString>,
    pub(crate) hours: u64,
}

/// What a sign-in mail says.
pub(crate) struct SignInMail<'a> {
    pub(crate) to: &'a EmailAddress,
    /// As people see it.
    pub(crate) code: &'a SecretString,
    pub(crate) link: &'a SecretString,
    pub(crate) minutes: u64,
    /// Who asked for it.
    pub(crate) asked: &'a Asked,
}
