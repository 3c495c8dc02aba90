//! One-time codes.

use std::time::Duration;

use domain::audit::EventType;
use domain::{CodeId, CodeShape, Digest, Timestamp, UserId};
use sqlx::AnyConnection;

use crate::audit::{NewEvent, record};
use crate::flows::{self, Admitted, Flow, GUESSES_PER_CODE, GUESSES_PER_YEAR};
use crate::messages::{self, Allowance, Allowed};
use crate::rows::{Columns, app};
use crate::sign_in::{self, MethodType, NewSignIn, SignInOutcome, WayIn};
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// A code that works for less than this is not enough for whoever asks for one now: another is sent, whatever the
/// quota. Otherwise a stranger who uses up a mailbox's quota would leave its owner without any.
pub const ENOUGH_TIME: Duration = Duration::from_mins(5);

/// What a code is good for; one made for one purpose is worthless for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodePurpose {
    /// Signing in by e-mail.
    SignInByEmail,
    /// Signing in by SMS.
    SignInBySms,
}

impl CodePurpose {
    /// The purpose's name in the database and in digests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignInByEmail => "sign_in.email",
            Self::SignInBySms => "sign_in.sms",
        }
    }

    /// The account that a code for this subject opens.
    pub(crate) fn way_in(self, subject: &str) -> WayIn {
        let method = match self {
            Self::SignInByEmail => MethodType::Email,
            Self::SignInBySms => MethodType::Sms,
        };
        WayIn { method, provider: None, identifier: subject.to_owned() }
    }
}

/// A request for a code, and the code that is sent if one is.
#[derive(Debug, Clone)]
pub struct NewCode {
    /// Its id.
    pub id: CodeId,
    /// What it is good for.
    pub purpose: CodePurpose,
    /// To whom it goes: the normalised address or number.
    pub subject: String,
    /// The keyed digest of the purpose and the subject, under which guesses are counted.
    pub subject_digest: Digest,
    /// The keyed digest of the id of the flow that begins.
    pub flow: Digest,
    /// The keyed digest of the code if it is of six digits; the code itself is not kept.
    pub digits: Digest,
    /// The keyed digest of the code if it is of ten characters.
    pub characters: Digest,
    /// The keyed digest of the link's token, if a link is sent with it. Whoever uses one of the two ends both; guesses
    /// at the code do nothing to the link.
    pub link_digest: Option<Digest>,
    /// When it and the flow stop working.
    pub expires_at: Timestamp,
    /// Whether the subject's quota of messages has room. If not, the code that was sent last does as long as it can.
    pub has_room: bool,
    /// Whether every code is to be of ten characters at present.
    pub is_guarded: bool,
    /// Whether the subject is one of any number of names of a mailbox, whose quota it shares.
    pub is_alias: bool,
}

/// What became of a request for a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptCode {
    /// Which of the two codes was kept and is to be sent; `None` when the one that was sent last will do, or none may be
    /// sent.
    pub shape: Option<CodeShape>,
    /// Whose code it is, if one was kept and the subject has an account.
    pub user_id: Option<UserId>,
    /// What the day has come to.
    pub allowed: Allowed,
}

/// A code that somebody typed.
#[derive(Debug, Clone)]
pub struct Redemption {
    /// What it is to be good for.
    pub purpose: CodePurpose,
    /// The keyed digest of what was typed.
    pub digest: Digest,
    /// Which of the two shapes was typed.
    pub shape: CodeShape,
    /// The keyed digest of the purpose and the subject.
    pub subject_digest: Digest,
    /// Whose guesses this one counts with.
    pub flow: Flow,
    /// Whether it is written down if it is wrong.
    pub is_noted: bool,
    /// What follows when it is right. The subject is the way in's identifier.
    pub sign_in: NewSignIn,
}

/// What became of a typed code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodeOutcome {
    /// It was right and is spent.
    Right(SignInOutcome),
    /// It is not right, whether there is one that would be or not.
    Wrong {
        /// How many more guesses of this flow will be looked at.
        attempts_remaining: u32,
    },
    /// The flow has no guesses left, or was not begun; or this was the code, which has been guessed at too often.
    TooManyAttempts,
    /// The flow, or the code that was typed, is too old.
    Expired,
}

/// The code that was sent last.
pub(crate) struct Sent {
    id: String,
    digest: Digest,
    guesses: u32,
    is_long: bool,
    is_spent: bool,
    expires_at: Timestamp,
}

impl Sent {
    fn works(&self, at: Timestamp) -> bool {
        !self.is_spent && self.expires_at > at
    }

    /// Whether no guess at it is compared any more.
    fn is_dead(&self, wrong_this_year: u32) -> bool {
        !self.is_long && (self.guesses >= GUESSES_PER_CODE || wrong_this_year >= GUESSES_PER_YEAR)
    }
}

impl Store {
    /// Begins a flow, and keeps a code for it unless the one that was sent last will do, or none may be sent; the one
    /// before is gone then. Writes `code.requested` of a subject with an account for a code that is kept.
    pub async fn put_code(
        &self,
        code: &NewCode,
        event: &NewEvent,
        allowance: &Allowance,
    ) -> Result<KeptCode, StoreError> {
        transaction!(self, |tx| {
            let sent = lock_sent(tx, code.purpose, &code.subject).await?;
            flows::insert(tx, &code.flow, &code.subject_digest, code.expires_at).await?;
            let wrong_this_year = flows::wrong_this_year(tx, &code.subject_digest, event.at).await?;
            let will_do = |sent: &Sent| sent.works(event.at.plus(ENOUGH_TIME)) && !sent.is_dead(wrong_this_year);
            let user_id = sign_in::find_user_id(tx, &code.purpose.way_in(&code.subject)).await?;
            // A name that nobody has signed in by gets none past the quota: there are as many names as somebody thinks of.
            let is_made_up = code.is_alias && user_id.is_none();
            if !code.has_room && (is_made_up || sent.as_ref().is_some_and(will_do)) {
                let allowed = messages::look(tx, allowance).await?;
                return Ok(KeptCode { shape: None, user_id: None, allowed });
            }
            let is_long = code.is_guarded
                || wrong_this_year + GUESSES_PER_CODE > GUESSES_PER_YEAR
                || flows::is_guarded(tx, &code.subject_digest, event.at).await?;
            let allowed = messages::count(tx, allowance, user_id.is_none()).await?;
            if !allowed.is_counted() {
                return Ok(KeptCode { shape: None, user_id: None, allowed });
            }
            let shape = if is_long { CodeShape::TenCharacters } else { CodeShape::SixDigits };
            insert(tx, code, shape, event.at).await?;
            if let Some(user_id) = &user_id {
                record(tx, EventType::CodeRequested, Some(user_id), event).await?;
            }
            Ok(KeptCode { shape: Some(shape), user_id, allowed })
        })
    }

    /// Counts a guess, compares, and signs in if the code is right. The guess counts, and a wrong one is written down
    /// as `sign_in.failed`, whether there is an account or a code or neither: a stranger shall not tell by the time
    /// that it takes.
    pub async fn redeem_code(&self, redemption: &Redemption) -> Result<CodeOutcome, StoreError> {
        transaction!(self, |tx| {
            if let Some(refusal) = spend(tx, redemption).await? {
                return Ok(refusal);
            }
            sign_in::complete(tx, &redemption.sign_in).await.map(CodeOutcome::Right)
        })
    }
}

/// Counts a guess, compares, and spends the code if it is right; else why it is not.
///
/// Whoever guesses at a code holds its row to the end of the transaction, so that of any number of parallel guesses
/// each sees all that were counted before it. That row comes before the flow's: in the other order two could wait for each
/// other.
pub(crate) async fn spend(tx: &mut AnyConnection, redemption: &Redemption) -> Result<Option<CodeOutcome>, StoreError> {
    let sign_in = &redemption.sign_in;
    let sent = lock_sent(tx, redemption.purpose, &sign_in.way_in.identifier).await?;
    let epoch =
        sent.as_ref().map_or_else(String::new, |sent| format!("{}{}", sent.id, if sent.is_spent { "!" } else { "" }));
    let attempts_remaining = match flows::admit(tx, redemption, &epoch).await? {
        Admitted::Yes { attempts_remaining } => attempts_remaining,
        Admitted::TooOften => return Ok(Some(CodeOutcome::TooManyAttempts)),
        Admitted::TooLate => return Ok(Some(CodeOutcome::Expired)),
    };
    let wrong_this_year = flows::wrong_this_year(tx, &redemption.subject_digest, sign_in.at).await?;
    let sent = sent.filter(|sent| !sent.is_spent);
    if let Some(sent) = sent.as_ref().filter(|sent| sent.digest == redemption.digest) {
        // Whoever has the code learns why it is of no use; whoever guesses does not come here.
        if !sent.works(sign_in.at) {
            return Ok(Some(CodeOutcome::Expired));
        }
        if sent.is_dead(wrong_this_year) {
            return Ok(Some(CodeOutcome::TooManyAttempts));
        }
        sqlx::query("UPDATE one_time_codes SET consumed_at = $1 WHERE id = $2")
            .bind(sign_in.at.as_millis())
            .bind(sent.id.as_str())
            .execute(&mut *tx)
            .await?;
        flows::take_back(tx, &redemption.flow).await?;
        return Ok(None);
    }
    let could_be_right = |sent: &&Sent| {
        redemption.shape == CodeShape::SixDigits
            && !sent.is_long
            && sent.works(sign_in.at)
            && !sent.is_dead(wrong_this_year)
    };
    note_wrong(tx, redemption, sent.as_ref().filter(could_be_right)).await?;
    Ok(Some(CodeOutcome::Wrong { attempts_remaining }))
}

/// Counts a wrong guess against the code, if it could have been right, and writes it down. Whether there is a code, and
/// whether there is an account, the statements are the same.
async fn note_wrong(tx: &mut AnyConnection, redemption: &Redemption, at_code: Option<&Sent>) -> Result<(), StoreError> {
    let sign_in = &redemption.sign_in;
    sqlx::query("UPDATE one_time_codes SET attempts = attempts + 1 WHERE id = $1")
        .bind(at_code.map_or("", |sent| &sent.id))
        .execute(&mut *tx)
        .await?;
    flows::note_wrong(tx, redemption, at_code.map(|sent| sent.id.as_str())).await?;
    if at_code.is_some_and(|sent| sent.guesses + 1 >= GUESSES_PER_CODE) {
        flows::guard(tx, &redemption.subject_digest, sign_in.at).await?;
    }
    let user_id = sign_in::find_user_id(tx, &sign_in.way_in).await?;
    if !redemption.is_noted {
        return Ok(());
    }
    sign_in::record_failure(tx, sign_in, user_id.as_ref(), "wrong_code").await
}

/// The code that was sent last, locked.
pub(crate) async fn lock_sent(
    tx: &mut AnyConnection,
    purpose: CodePurpose,
    subject: &str,
) -> Result<Option<Sent>, StoreError> {
    let row = sqlx::query(
        "UPDATE one_time_codes SET attempts = attempts WHERE app_id = $1 AND purpose = $2 AND subject = $3 \
         RETURNING id, digest, attempts, long_id, consumed_at, expires_at",
    )
    .bind(app())
    .bind(purpose.as_str())
    .bind(subject)
    .fetch_optional(tx)
    .await?;
    row.map(|row| {
        let id = row.text("id")?;
        Ok(Sent {
            digest: row.parsed("digest")?,
            guesses: row.count("attempts")?,
            is_long: row.opt_text("long_id")?.is_some_and(|long| long == id),
            is_spent: row.opt_int("consumed_at")?.is_some(),
            expires_at: row.time("expires_at")?,
            id,
        })
    })
    .transpose()
}

async fn insert(tx: &mut AnyConnection, code: &NewCode, shape: CodeShape, at: Timestamp) -> Result<(), StoreError> {
    let (digest, long_id) = match shape {
        CodeShape::SixDigits => (code.digits, None),
        CodeShape::TenCharacters => (code.characters, Some(code.id.as_str())),
    };
    sqlx::query(
        "INSERT INTO one_time_codes (id, app_id, purpose, subject, digest, link_digest, long_id, attempts, created_at, \
         expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9) \
         ON CONFLICT (app_id, purpose, subject) DO UPDATE SET id = excluded.id, digest = excluded.digest, \
         link_digest = excluded.link_digest, long_id = excluded.long_id, attempts = 0, \
         created_at = excluded.created_at, expires_at = excluded.expires_at, consumed_at = NULL",
    )
    .bind(code.id.as_str())
    .bind(app())
    .bind(code.purpose.as_str())
    .bind(code.subject.as_str())
    .bind(digest.to_string())
    .bind(code.link_digest.map(|digest| digest.to_string()))
    .bind(long_id)
    .bind(at.as_millis())
    .bind(code.expires_at.as_millis())
    .execute(tx)
    .await?;
    Ok(())
}
