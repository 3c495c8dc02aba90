//! People are told what happens to their accounts. What is to be told is in the database since it happened, see
//! `store::Notice`; here the mails are written and sent, by whichever instance comes first.

mod device;
mod undo;
mod words;

use std::time::Duration;

use domain::{EventId, OneTimeSecret};
use futures_util::{StreamExt as _, stream};
use secrecy::SecretString;
use store::{Addressee, Attempt, NewClaim, StoreError};

use crate::AuthService;
use crate::background::BATCH;
use crate::metrics::Telling;
use crate::notify::{Mailer, SecurityMail};

pub(crate) use device::digest as device;
pub(crate) use undo::{Ended, undo};
pub(crate) use words::{Told, ToldEvent};

/// How long the link in a mail works.
const UNDO_LIFETIME: Duration = Duration::from_hours(72);
/// For so long nobody else sends what somebody has taken: longer than any mail server is waited for.
const LEASE: Duration = Duration::from_mins(2);
/// After so long a notice that could not be sent is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_hours(24);
/// Before the second attempt; twice as long before each further one …
const FIRST_WAIT: Duration = Duration::from_mins(1);
/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// Mails that are on their way at once.
const AT_ONCE: usize = 8;
/// How many are looked up together, and how often, before the end of the process gets its turn.
const ROUND: u32 = 64;
const ROUNDS: u32 = 8;

impl AuthService {
    /// Sends what is due; where the installation tells nobody, discards it.
    ///
    /// # Errors
    /// When the database cannot be read or written. What was not sent is still there.
    pub async fn send_notices(&self) -> Result<(), StoreError> {
        let Some(mailer) = self.mailer.as_ref().filter(|_| self.config.security_mails) else {
            while self.store.discard_notices(self.clock.now(), BATCH).await? == u64::from(BATCH) {}
            return Ok(());
        };
        for _ in 0..ROUNDS {
            let due = self.store.due_notices(self.clock.now(), ROUND).await?;
            if due.is_empty() {
                break;
            }
            let telling = due.into_iter().map(|to| self.tell(mailer.as_ref(), to));
            let told: Vec<_> = stream::iter(telling).buffer_unordered(AT_ONCE).collect().await;
            let mut has_failed = false;
            for outcome in told {
                has_failed |= !outcome?;
            }
            // The mail server is as it is for the next as well; another instance may be at the rest.
            if has_failed {
                break;
            }
        }
        Ok(())
    }

    /// Tells one addressee what there is to tell; `false` when the mail could not be sent.
    async fn tell(&self, mailer: &dyn Mailer, to: Addressee) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let (id, secret) = self.chance.with(|rng| (EventId::generate(rng), OneTimeSecret::generate(rng)));
        let claim = NewClaim {
            id,
            at: now,
            until: now.plus(LEASE),
            undo: undo::digest(self, &secret),
            undo_until: now.plus(UNDO_LIFETIME),
        };
        let Some(claimed) = self.store.claim_notices(&to, &claim).await? else { return Ok(true) };
        let link = claimed.can_undo.then(|| SecretString::from(String::from(undo::url(self, &secret))));
        let sent = match to.recipient.parse() {
            Ok(address) => {
                let told = words::told(&claimed.notices, self.templates.product());
                let hours = UNDO_LIFETIME.as_secs() / 3600;
                let mail = SecurityMail { to: &address, told: &told, undo: link.as_ref(), hours };
                match self.templates.security(&mail) {
                    Ok(mail) => mailer.send(mail).await.map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            }
            // Older programs may have taken for an address what this one does not.
            Err(_) => Err("the address is malformed".to_owned()),
        };
        let Err(error) = sent else {
            self.metrics.telling(Telling::Sent, 1);
            self.store.finish_notices(&claimed, Attempt::Sent).await?;
            return Ok(true);
        };
        tracing::warn!(error, user_id = %to.user_id, attempts = claimed.attempts, "a security mail could not be sent");
        self.metrics.telling(Telling::Failed, 1);
        let wait = FIRST_WAIT.saturating_mul(1 << claimed.attempts.saturating_sub(1).min(10)).min(LONGEST_WAIT);
        let attempt = Attempt::Failed { given_up_before: now.minus(GIVEN_UP_AFTER), again_at: now.plus(wait) };
        let given_up = self.store.finish_notices(&claimed, attempt).await?;
        if given_up > 0 {
            self.metrics.telling(Telling::GivenUp, given_up);
            tracing::error!(given_up, user_id = %to.user_id, "somebody could not be told what happened to their account");
        }
        Ok(false)
    }
}
