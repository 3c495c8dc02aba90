//! The outbox of `afd dev`: mail stays on this machine, where the developer reads it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use domain::{Clock, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use secrecy::ExposeSecret;
use serde::Serialize;

use super::{Mail, MailError, Mailer};

/// Keeps the last hundred mails in memory and calls `announce` with each.
#[derive(Clone)]
pub struct Outbox {
    mails: Arc<Mutex<VecDeque<OutboxMail>>>,
    clock: Arc<dyn Clock>,
    announce: fn(&OutboxMail),
}

/// A mail as `GET /dev/outbox` shows it. It is in clear: the route exists only in `afd dev`.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxMail {
    /// Always `email` so far.
    pub channel: &'static str,
    /// To whom.
    pub to: String,
    /// The subject line.
    pub subject: String,
    /// The text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
    /// When it was sent.
    pub at: Timestamp,
}

const KEPT: usize = 100;

impl Outbox {
    /// An empty outbox; `announce` shows each mail to the developer.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, announce: fn(&OutboxMail)) -> Self {
        Self { mails: Arc::default(), clock, announce }
    }

    /// The mails, newest first.
    #[must_use]
    pub fn mails(&self) -> Vec<OutboxMail> {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Mailer for Outbox {
    fn send(&self, mail: Mail) -> BoxFuture<'_, Result<(), MailError>> {
        let mail = OutboxMail {
            channel: "email",
            to: mail.to.to_string(),
            subject: mail.subject,
            text: mail.text.expose_secret().to_owned(),
            html: mail.html.expose_secret().to_owned(),
            at: self.clock.now(),
        };
        (self.announce)(&mail);
        let mut mails = self.mails.lock().unwrap_or_else(PoisonError::into_inner);
        mails.push_front(mail);
        mails.truncate(KEPT);
        async { Ok(()) }.boxed()
    }
}
