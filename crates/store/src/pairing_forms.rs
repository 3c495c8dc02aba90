//! Deciding about a pairing in a plain web page: whoever has proved who they are gets a form that decides once, about
//! this pairing, in their name. The proof is in the form and in no cookie, so that no other site's form carries it.

use domain::{Digest, PairingId, Timestamp, UserId};
use sqlx::AnyConnection;

use crate::audit::NewEvent;
use crate::codes::{self, CodeOutcome, Redemption};
use crate::pairings::{Decision, DecisionOutcome, decide};
use crate::rows::Columns;
use crate::sign_in::{self, Recognised};
use crate::tokens::CreationLimits;
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// A form that is about to be shown.
#[derive(Debug, Clone)]
pub struct NewPairingForm {
    /// The keyed digest of the secret in it.
    pub digest: Digest,
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
            let user_id = match sign_in::recognise(tx, &redemption.sign_in).await? {
                Recognised::User(user_id) => user_id,
                Recognised::MfaRequired => return Ok(FormSignIn::MfaRequired),
                Recognised::Disabled => return Ok(FormSignIn::Disabled),
            };
            insert(tx, form, &user_id).await?;
            Ok(FormSignIn::SignedIn)
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
