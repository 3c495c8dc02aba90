//! Mail by SMTP.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::AsyncSmtpTransport;
use lettre::{AsyncTransport, Message, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};

use super::{Mail, MailError, Mailer};

/// Sends through one SMTP server over a small pool of connections.
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

const TIMEOUT: Duration = Duration::from_secs(10);

impl Smtp {
    /// Reads `smtp://user:password@host:port` (`smtps://` for TLS from the first byte, `?tls=required` for STARTTLS)
    /// and a sender such as `Alternate Futures <no-reply@example.com>`. Connects to nothing yet.
    ///
    /// # Errors
    /// A sentence about what is wrong with the URL or the sender; it does not repeat the URL, which holds a password.
    pub fn new(url: &SecretString, from: &str) -> Result<Self, &'static str> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose_secret())
            .map_err(|_| "must be a URL such as smtps://user:password@mail.example.com")?
            .timeout(Some(TIMEOUT))
            .build();
        let from = from.parse().map_err(|_| "must be an address such as Alternate Futures <no-reply@example.com>")?;
        Ok(Self { transport, from })
    }

    async fn deliver(&self, mail: Mail) -> Result<(), MailError> {
        let to = mail.to.as_str().parse().map_err(MailError::new)?;
        let body = MultiPart::alternative_plain_html(
            mail.text.expose_secret().to_owned(),
            mail.html.expose_secret().to_owned(),
        );
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(mail.subject)
            .message_id(None)
            .multipart(body)
            .map_err(MailError::new)?;
        self.transport.send(message).await.map_err(MailError::new)?;
        Ok(())
    }
}

impl Mailer for Smtp {
    fn send(&self, mail: Mail) -> BoxFuture<'_, Result<(), MailError>> {
        async move { tokio::time::timeout(TIMEOUT, self.deliver(mail)).await.map_err(|_| MailError::new("timed out"))? }
            .boxed()
    }
}
