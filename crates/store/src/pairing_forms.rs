//! Deciding about a pairing in a plain web page: whoever has proved who they are gets a form that decides once, about
//! this pairing, in their name. The proof is in the form and in no cookie, so that no other site's form carries it.

use domain::{Digest, PairingId, Timestamp, UserId};
use sqlx::AnyConnection;

use crate::audit::NewEvent;
use crate::codes::{self, CodeOutcome, Redemption};
use crate::exchange::{self, Exchanged, NewExchangeCode};
use crate::pairings::{Decision, DecisionOutcome, decide};
use crate::rows::Columns;
use crate::sign_in::{self, NewSignIn, Recognised};
use crate::tokens::CreationLimits;
use crate::transaction::transaction;
use crate::{Store, StoreError, wallets};

/// A form that is about to be shown.
#[derive(Debug, Clone)]
pub struct NewPairingForm {
    /// The keyed digest of the secret in it.
    pub digest: Digest,
    /// The keyed digest of the secret that takes its place where the proof leads to no account: with it whoever gave
    /// the proof has an account made. Bound to the pairing like the other.
    pub newcomer: Digest,
    /// What it decides about.
    pub pairing_id: PairingId,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// What a code that was typed into the page led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormSignIn {
    /// The form decides in the name of the user that the code leads to.
    SignedIn,
    /// The user has a second factor; the challenge was kept, and there is no form yet.
    MfaRequired,
    /// The user is disabled.
    Disabled,
    /// The proof leads to no account, and none was made. It is kept for whoever wants one.
    Newcomer,
    /// The code was not right; never [`CodeOutcome::Right`].
    NotRight(CodeOutcome),
}

/// What became of a form that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormOutcome {
    /// The form is spent; what became of the decision.
    Spent(DecisionOutcome),
    /// There is no such form for this pairing: made up, sent before, or too old.
    Unknown,
}

impl Store {
    /// Spends a code and keeps a form in the name of the user that it leads to. No session begins.
    pub async fn sign_in_to_pairing(
        &self,
        redemption: &Redemption,
        form: &NewPairingForm,
    ) -> Result<FormSignIn, StoreError> {
        transaction!(self, |tx| {
            if let Some(refusal) = codes::spend(tx, redemption).await? {
                return Ok(FormSignIn::NotRight(refusal));
            }
            enter(tx, &redemption.sign_in, form).await
        })
    }

    /// The same for what has been proved, and its proof spent, elsewhere.
    pub async fn sign_in_to_pairing_as(
        &self,
        sign_in: &NewSignIn,
        form: &NewPairingForm,
    ) -> Result<FormSignIn, StoreError> {
        transaction!(self, |tx| { enter(tx, sign_in, form).await })
    }

    /// The same for a wallet whose signature has been checked; spends the challenge. `None`, and nothing has happened,
    /// when that is another wallet's, for another purpose, spent or expired.
    pub async fn sign_in_to_pairing_by_wallet(
        &self,
        challenge: &Digest,
        sign_in: &NewSignIn,
        form: &NewPairingForm,
    ) -> Result<Option<FormSignIn>, StoreError> {
        transaction!(self, |tx| {
            if !wallets::spend_for_pairing(tx, challenge, sign_in).await? {
                return Ok(None);
            }
            enter(tx, sign_in, form).await.map(Some)
        })
    }

    /// Makes the account of somebody whose proof led to none and who said that they want one, and keeps the form in its
    /// name. `template` says all but who, as with an exchange code. `None` when no proof is kept under this digest: never
    /// given, used, or too old.
    pub async fn make_account_for_pairing(
        &self,
        newcomer: &Digest,
        template: &NewSignIn,
        form: &NewPairingForm,
    ) -> Result<Option<FormSignIn>, StoreError> {
        transaction!(self, |tx| {
            let Some(Exchanged { way_in, profile, .. }) = exchange::spend(tx, newcomer, template.at).await? else {
                return Ok(None);
            };
            let sign_in = NewSignIn { way_in, profile, ..template.clone() };
            // By now the way in may lead somewhere, to an account with a second factor for all we know.
            let recognised = sign_in::recognise(tx, &sign_in).await?;
            keep(tx, recognised, form).await.map(Some)
        })
    }

    /// Spends a form and decides about its pairing in its user's name, as [`decide_pairing`](Self::decide_pairing)
    /// does. A form that was sent is spent, whatever becomes of the decision.
    pub async fn decide_pairing_by_form(
        &self,
        form: &Digest,
        id: &PairingId,
        decision: &Decision,
        limits: &CreationLimits,
        event: &NewEvent,
    ) -> Result<FormOutcome, StoreError> {
        transaction!(self, |tx| {
            let spent = sqlx::query(
                "DELETE FROM pairing_forms WHERE digest = $1 AND pairing_id = $2 AND expires_at > $3 RETURNING user_id",
            )
            .bind(form.to_string())
            .bind(id.as_str())
            .bind(event.at.as_millis())
            .fetch_optional(&mut *tx)
            .await?;
            let Some(row) = spent else { return Ok(FormOutcome::Unknown) };
            let user_id: UserId = row.parsed("user_id")?;
            decide(self, tx, id, &user_id, decision, limits, event).await.map(FormOutcome::Spent)
        })
    }
}

/// Somebody has given the first proof. What makes an account elsewhere asks first here: whoever took the wrong way in
/// would let the program into an account with nothing in it, and wonder.
async fn enter(tx: &mut AnyConnection, sign_in: &NewSignIn, form: &NewPairingForm) -> Result<FormSignIn, StoreError> {
    if let Some(recognised) = sign_in::recognise_known(tx, sign_in).await? {
        return keep(tx, recognised, form).await;
    }
    let proof = NewExchangeCode {
        digest: form.newcomer,
        way_in: sign_in.way_in.clone(),
        profile: sign_in.profile.clone(),
        challenge: None,
        expires_at: form.expires_at,
    };
    exchange::insert(tx, &proof, sign_in.at).await?;
    Ok(FormSignIn::Newcomer)
}

async fn keep(tx: &mut AnyConnection, recognised: Recognised, form: &NewPairingForm) -> Result<FormSignIn, StoreError> {
    match recognised {
        Recognised::User(user_id) => insert(tx, form, &user_id).await.map(|()| FormSignIn::SignedIn),
        Recognised::MfaRequired => Ok(FormSignIn::MfaRequired),
        Recognised::Disabled => Ok(FormSignIn::Disabled),
    }
}

/// Keeps a form in the name of a user who has proved all there is to prove.
pub(crate) async fn insert(tx: &mut AnyConnection, form: &NewPairingForm, user_id: &UserId) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO pairing_forms (digest, pairing_id, user_id, expires_at) VALUES ($1, $2, $3, $4)")
        .bind(form.digest.to_string())
        .bind(form.pairing_id.as_str())
        .bind(user_id.as_str())
        .bind(form.expires_at.as_millis())
        .execute(tx)
        .await?;
    Ok(())
}
