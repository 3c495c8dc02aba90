//! The outbox of `afd dev`: mail and SMS stay on this machine, where the developer reads it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use domain::{Clock, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use secrecy::ExposeSecret;
use serde::Serialize;

use super::{Mail, MailError, Mailer, Sms, SmsError, SmsSender};

/// Keeps the last hundred messages in memory and calls `announce` with each.
#[derive(Clone)]
pub struct Outbox {
    mails: Arc<Mutex<VecDeque<OutboxMail>>>,
    clock: Arc<dyn Clock>,
    announce: fn(&OutboxMail),
}

/// A message as `GET /dev/outbox` shows it. It is in clear: the route exists only in `afd dev`.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxMail {
    /// `email` or `sms`.
    pub channel: &'static str,
    /// To whom.
    pub to: String,
    /// The subject line; an SMS has none.
    pub subject: String,
    /// The text.
    pub text: String,
    /// The same as HTML; an SMS has none.
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

    fn keep(&self, mail: OutboxMail) {
        (self.announce)(&mail);
        let mut mails = self.mails.lock().unwrap_or_else(PoisonError::into_inner);
        mails.push_front(mail);
        mails.truncate(KEPT);
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
        self.keep(mail);
        async { Ok(()) }.boxed()
    }
}

impl SmsSender for Outbox {
    fn send(&self, sms: Sms) -> BoxFuture<'_, Result<(), SmsError>> {
        self.keep(OutboxMail {
            channel: "sms",
            to: sms.to.to_string(),
            subject: String::new(),
            text: sms.text.expose_secret().to_owned(),
            html: String::new(),
            at: self.clock.now(),
        });
        async { Ok(()) }.boxed()
    }
}
