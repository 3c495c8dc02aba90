//! Step-up (RFC 9470): what takes an account over wants a proof of who somebody is that is not old.
//!
//! Who acts is in the audit event of the change. Where that is a session, or a service that names one, the change asks
//! here, in its own transaction, how old the session's proof is: no caller of the store can forget to.

use std::sync::Arc;
use std::time::Duration;

use domain::{SessionId, Timestamp, UserId};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AnyExecutor};

use crate::audit::NewEvent;
use crate::rows::Columns;
use crate::{Store, StoreError};

/// What is demanded of sessions, and what this installation can ask people for.
#[derive(Debug, Clone)]
pub struct StepUp {
    /// How old the proof may be.
    pub max_age: Duration,
    /// Whether what makes a token demands it as well.
    pub for_tokens: bool,
    /// Whether codes can be sent by e-mail.
    pub sends_email: bool,
    /// Whether codes can be sent by SMS.
    pub sends_sms: bool,
    /// The sign-in providers that are switched on.
    pub providers: Vec<String>,
}

/// A session's proof is too old for what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofTooOld {
    /// How old it may be.
    pub max_age: Duration,
    /// By what the user can prove who they are: `email`, `sms`, `wallet`, `oauth`; `totp` alone where there is a second
    /// factor.
    pub methods: Vec<&'static str>,
}

/// When a session's user proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proofs {
    authenticated_at: Timestamp,
    second_factor_at: Option<Timestamp>,
    pub(crate) has_second_factor: bool,
}

impl Proofs {
    /// Where there is a second factor, nothing else counts: whoever has the mailbox has not got it.
    fn latest(self) -> Option<Timestamp> {
        if self.has_second_factor { self.second_factor_at } else { Some(self.authenticated_at) }
    }

    fn are_recent(self, max_age: Duration, now: Timestamp) -> bool {
        // Either way: a clock that was set back must not make a proof last until it has caught up.
        self.latest().is_some_and(|at| now.since(at).max(at.since(now)) < max_age)
    }
}

/// Of a session that has not ended; where it has, there is no row.
const PROOFS: &str = "SELECT COALESCE(s.authenticated_at, s.created_at) AS authenticated_at, s.second_factor_at, \
     (SELECT enabled_at FROM totp_factors WHERE user_id = $2) AS factor_since FROM sessions s \
     WHERE s.id = $1 AND s.user_id = $2 AND s.absolute_expires_at > $3 \
     AND s.epoch = (SELECT session_epoch FROM users WHERE id = $2 AND deleted_at IS NULL)";

impl Store {
    /// Demands this of sessions from now on; a store that was told nothing demands nothing.
    #[must_use]
    pub fn with_step_up(self, step_up: StepUp) -> Self {
        Self { step_up: Some(Arc::new(step_up)), ..self }
    }

    /// Whether the session's proof is recent now. The change itself asks again: this spares whoever would be refused
    /// there, and us, what comes before.
    ///
    /// # Errors
    /// [`StoreError::ProofTooOld`] when it is not, [`StoreError::SessionEnded`] when there is no such session.
    pub async fn check_proof(&self, user_id: &UserId, id: &SessionId, now: Timestamp) -> Result<(), StoreError> {
        let Some(step_up) = &self.step_up else { return Ok(()) };
        let proofs = proofs(self.reader(), user_id, id, now).await?.ok_or(StoreError::SessionEnded)?;
        if proofs.are_recent(step_up.max_age, now) {
            return Ok(());
        }
        Err(too_old(self.reader(), step_up, user_id, proofs).await?)
    }

    /// The same for what makes a token, where that is demanded.
    ///
    /// # Errors
    /// As [`check_proof`](Self::check_proof).
    pub async fn check_proof_for_tokens(
        &self,
        user_id: &UserId,
        id: &SessionId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        match &self.step_up {
            Some(step_up) if step_up.for_tokens => self.check_proof(user_id, id, now).await,
            _ => Ok(()),
        }
    }

    /// Refuses the change that writes `event` unless whoever acts by a session has a recent proof. The user's row has
    /// been locked in this transaction, and until it ends nobody else ends the session.
    pub(crate) async fn require_proof(
        &self,
        tx: &mut AnyConnection,
        user_id: &UserId,
        event: &NewEvent,
    ) -> Result<(), StoreError> {
        let (Some(step_up), Some(id)) = (&self.step_up, &event.actor.session_id) else { return Ok(()) };
        let proofs = held(tx, user_id, id, event.at).await?.ok_or(StoreError::SessionEnded)?;
        if proofs.are_recent(step_up.max_age, event.at) {
            return Ok(());
        }
        Err(too_old(tx, step_up, user_id, proofs).await?)
    }

    /// The same for what makes a token, where that is demanded.
    pub(crate) async fn require_proof_for_tokens(
        &self,
        tx: &mut AnyConnection,
        user_id: &UserId,
        event: &NewEvent,
    ) -> Result<(), StoreError> {
        match &self.step_up {
            Some(step_up) if step_up.for_tokens => self.require_proof(tx, user_id, event).await,
            _ => Ok(()),
        }
    }
}

/// The proofs of a session of a user whose row is locked. Whoever wants to end the session waits for this transaction.
pub(crate) async fn held(
    tx: &mut AnyConnection,
    user_id: &UserId,
    id: &SessionId,
    now: Timestamp,
) -> Result<Option<Proofs>, StoreError> {
    sqlx::query("UPDATE sessions SET last_seen_at = last_seen_at WHERE id = $1 AND user_id = $2")
        .bind(id.as_str())
        .bind(user_id.as_str())
        .execute(&mut *tx)
        .await?;
    // In a statement of its own, which sees what those have committed for whom the other one waited.
    proofs(tx, user_id, id, now).await
}

/// Notes that the session's user has just proved who they are.
pub(crate) async fn renew(
    tx: &mut AnyConnection,
    id: &SessionId,
    by_second_factor: bool,
    at: Timestamp,
) -> Result<(), StoreError> {
    let statement = if by_second_factor {
        "UPDATE sessions SET authenticated_at = $1, second_factor_at = $1 WHERE id = $2"
    } else {
        "UPDATE sessions SET authenticated_at = $1 WHERE id = $2"
    };
    sqlx::query(statement).bind(at.as_millis()).bind(id.as_str()).execute(tx).await?;
    Ok(())
}

async fn proofs(
    executor: impl AnyExecutor<'_>,
    user_id: &UserId,
    id: &SessionId,
    now: Timestamp,
) -> Result<Option<Proofs>, StoreError> {
    let row = sqlx::query(PROOFS)
        .bind(id.as_str())
        .bind(user_id.as_str())
        .bind(now.as_millis())
        .fetch_optional(executor)
        .await?;
    let read = |row: &AnyRow| {
        Ok(Proofs {
            authenticated_at: row.time("authenticated_at")?,
            second_factor_at: row.opt_time("second_factor_at")?,
            has_second_factor: row.opt_time("factor_since")?.is_some(),
        })
    };
    row.as_ref().map(read).transpose()
}

async fn too_old(
    executor: impl AnyExecutor<'_>,
    step_up: &StepUp,
    user_id: &UserId,
    proofs: Proofs,
) -> Result<StoreError, StoreError> {
    let mut methods = Vec::new();
    if proofs.has_second_factor {
        methods.push("totp");
    } else {
        let rows = sqlx::query("SELECT type, provider FROM auth_methods WHERE user_id = $1 AND verified = 1")
            .bind(user_id.as_str())
            .fetch_all(executor)
            .await?;
        let mut has = [("email", false), ("sms", false), ("wallet", false), ("oauth", false)];
        for row in &rows {
            let (kind, provider) = (row.text("type")?, row.text("provider")?);
            let can_be_asked = match kind.as_str() {
                "email" => step_up.sends_email,
                "sms" => step_up.sends_sms,
                "oauth" => step_up.providers.contains(&provider),
                _ => true,
            };
            has.iter_mut().filter(|(name, _)| *name == kind).for_each(|(_, is_there)| *is_there |= can_be_asked);
        }
        methods.extend(has.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| *name));
    }
    Ok(StoreError::ProofTooOld(ProofTooOld { max_age: step_up.max_age, methods }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn a_proof_is_recent_for_its_time_and_by_a_clock_that_was_set_back_no_longer() {
        let at = Timestamp::from_seconds(100_000);
        let proofs = Proofs { authenticated_at: at, second_factor_at: None, has_second_factor: false };
        let recent = |now| proofs.are_recent(10 * MINUTE, now);
        let millisecond = Duration::from_millis(1);
        assert!(recent(at) && recent(at.plus(10 * MINUTE).minus(millisecond)));
        assert!(!recent(at.plus(10 * MINUTE)));
        assert!(!recent(at.minus(10 * MINUTE)), "an hour back is not an hour longer");
    }

    #[test]
    fn with_a_second_factor_nothing_else_counts() {
        let at = Timestamp::from_seconds(100_000);
        let proofs = Proofs { authenticated_at: at, second_factor_at: None, has_second_factor: true };
        assert!(!proofs.are_recent(10 * MINUTE, at));
        assert!(Proofs { second_factor_at: Some(at), ..proofs }.are_recent(10 * MINUTE, at));
    }
}
