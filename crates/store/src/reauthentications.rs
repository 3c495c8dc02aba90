//! Proving again, within a session, who one is. What is asked for here is bound to the session: it signs nobody in and
//! links nothing, and what was made for those renews no session.

use domain::audit::EventType;
use domain::{Digest, SessionId, Timestamp, UserId};
use sqlx::AnyConnection;

use crate::audit::{NewEvent, record};
use crate::oauth_proofs::{self, ProofFor, ProofPurpose};
use crate::rows::{Columns, app};
use crate::sign_in::{MethodType, WayIn};
use crate::step_up::{self, Proofs};
use crate::transaction::transaction;
use crate::{
    Allowance, Allowed, Guessed, SecondProof, Store, StoreError, guesses, messages, second_factor, users, wallets,
};

/// Who proves it, and in which session.
#[derive(Debug, Clone)]
pub struct Reauthentication {
    /// Who.
    pub user_id: UserId,
    /// In which session.
    pub session_id: SessionId,
    /// How many wrong codes are ever compared in one session.
    pub max_failures: u32,
}

/// A code that is about to be sent.
#[derive(Debug, Clone)]
pub struct NewReauthFlow {
    /// The keyed digest of the flow's id.
    pub digest: Digest,
    /// In which session it is asked for.
    pub session_id: SessionId,
    /// Whose session that is.
    pub user_id: UserId,
    /// The way in of theirs that the code goes to.
    pub way_in: WayIn,
    /// The code's keyed digest.
    pub code_digest: Digest,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// A code that somebody typed.
#[derive(Debug, Clone)]
pub struct ReauthCode {
    /// By what it was sent.
    pub method: MethodType,
    /// The keyed digest of the flow's id; the newest flow of the session where it is absent.
    pub flow: Option<Digest>,
    /// The keyed digest of what was typed.
    pub digest: Digest,
    /// How many guesses are compared in one flow.
    pub max_attempts: u32,
}

/// What became of a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReauthOutcome {
    /// It was right: the session's proof is as old as the event.
    Renewed,
    /// It was compared and wrong.
    Wrong {
        /// How many more guesses will be compared.
        attempts_remaining: u32,
    },
    /// It was not compared: the flow has been guessed in too often.
    TooManyAttempts,
    /// It was not compared: there have been as many wrong codes in this session as there may ever be.
    Exhausted,
    /// It was not compared: the code is too old.
    Expired,
    /// Nothing that this could prove is awaited, or it was a way in that the user has no more.
    NoProof,
    /// The user has a second factor, and nothing else counts.
    NeedsSecondFactor,
    /// It was not compared: there have been too many wrong single codes of the app; two successive ones are wanted.
    WantsTwoSteps,
    /// The user has no second factor.
    NoSecondFactor,
    /// The session has ended, or the user is gone or disabled.
    Gone,
}

impl Store {
    /// Keeps a code that was asked for in a session, if it may be sent. `None` when the session has ended.
    pub async fn put_reauth_flow(
        &self,
        flow: &NewReauthFlow,
        allowance: &Allowance,
        at: Timestamp,
    ) -> Result<Option<Allowed>, StoreError> {
        transaction!(self, |tx| {
            if users::lock(tx, &flow.user_id).await?.is_none() {
                return Ok(None);
            }
            if step_up::held(tx, &flow.user_id, &flow.session_id, at).await?.is_none() {
                return Ok(None);
            }
            // The way in is one of theirs: no newcomer.
            let allowed = messages::count(tx, allowance, false).await?;
            if !allowed.is_counted() {
                return Ok(Some(allowed));
            }
            sqlx::query(
                "INSERT INTO reauth_flows (digest, session_id, type, identifier, code_digest, attempts, created_at, \
                 expires_at) VALUES ($1, $2, $3, $4, $5, 0, $6, $7)",
            )
            .bind(flow.digest.to_string())
            .bind(flow.session_id.as_str())
            .bind(flow.way_in.method.as_str())
            .bind(flow.way_in.identifier.as_str())
            .bind(flow.code_digest.to_string())
            .bind(at.as_millis())
            .bind(flow.expires_at.as_millis())
            .execute(&mut *tx)
            .await?;
            Ok(Some(allowed))
        })
    }

    /// Counts a guess, compares, and renews the session's proof if the code is right. Of parallel guesses each waits for
    /// the one before: no more are compared than may be. Writes `session.reauthenticated`, or
    /// `session.reauthentication_failed`.
    pub async fn reauthenticate_by_code(
        &self,
        who: &Reauthentication,
        code: &ReauthCode,
        event: &NewEvent,
    ) -> Result<ReauthOutcome, StoreError> {
        transaction!(self, |tx| {
            let failures = match admitted(tx, who, event.at).await? {
                Ok((_, failures)) => failures,
                Err(refusal) => return Ok(refusal),
            };
            let Some(flow) = find_flow(tx, who, code).await? else { return Ok(ReauthOutcome::NoProof) };
            if flow.expires_at <= event.at {
                return Ok(ReauthOutcome::Expired);
            }
            if flow.attempts >= code.max_attempts {
                return Ok(ReauthOutcome::TooManyAttempts);
            }
            if flow.code_digest != code.digest {
                sqlx::query("UPDATE reauth_flows SET attempts = attempts + 1 WHERE digest = $1")
                    .bind(flow.digest.as_str())
                    .execute(&mut *tx)
                    .await?;
                fail(tx, who, code.method.as_str(), event).await?;
                let in_flow = code.max_attempts.saturating_sub(flow.attempts + 1);
                let attempts_remaining = in_flow.min(who.max_failures.saturating_sub(failures + 1));
                return Ok(ReauthOutcome::Wrong { attempts_remaining });
            }
            let way_in = WayIn { method: code.method, provider: None, identifier: flow.identifier };
            sqlx::query("DELETE FROM reauth_flows WHERE session_id = $1")
                .bind(who.session_id.as_str())
                .execute(&mut *tx)
                .await?;
            by_way_in(tx, who, &way_in, event).await
        })
    }

    /// Spends a challenge whose signature has been checked and renews the session's proof. `digest` is that of a
    /// challenge that was made for this very session.
    pub async fn reauthenticate_by_wallet(
        &self,
        who: &Reauthentication,
        digest: &Digest,
        way_in: &WayIn,
        event: &NewEvent,
    ) -> Result<ReauthOutcome, StoreError> {
        transaction!(self, |tx| {
            if let Err(refusal) = admitted(tx, who, event.at).await? {
                return Ok(refusal);
            }
            if !wallets::spend_to_reauthenticate(tx, digest, &who.user_id, way_in, event.at).await? {
                return Ok(ReauthOutcome::NoProof);
            }
            by_way_in(tx, who, way_in, event).await
        })
    }

    /// Spends what a browser proved at a provider for this very session, and renews the session's proof.
    pub async fn reauthenticate_by_oauth(
        &self,
        who: &Reauthentication,
        proof: &Digest,
        event: &NewEvent,
    ) -> Result<ReauthOutcome, StoreError> {
        transaction!(self, |tx| {
            if let Err(refusal) = admitted(tx, who, event.at).await? {
                return Ok(refusal);
            }
            let by = ProofFor {
                purpose: ProofPurpose::Reauthenticate,
                user_id: who.user_id.clone(),
                session_id: who.session_id.clone(),
            };
            match oauth_proofs::spend(tx, proof, &by, event.at).await? {
                Some(way_in) => by_way_in(tx, who, &way_in, event).await,
                None => Ok(ReauthOutcome::NoProof),
            }
        })
    }

    /// Spends a proof by the second factor and renews the session's proof. `None` is one that is wrong without a look at
    /// what has been spent.
    pub async fn reauthenticate_by_second_factor(
        &self,
        who: &Reauthentication,
        guessed: Guessed,
        proof: Option<&SecondProof>,
        event: &NewEvent,
    ) -> Result<ReauthOutcome, StoreError> {
        transaction!(self, |tx| {
            let (proofs, failures) = match standing(tx, who, event.at).await? {
                Ok(standing) => standing,
                Err(refusal) => return Ok(refusal),
            };
            if !proofs.has_second_factor {
                return Ok(ReauthOutcome::NoSecondFactor);
            }
            let session = Some(&who.session_id);
            if guessed == Guessed::OneStep && !guesses::count_totp_of(tx, &who.user_id, session, event.at).await? {
                return Ok(ReauthOutcome::WantsTwoSteps);
            }
            let is_right = match proof {
                Some(proof) => second_factor::spend(tx, &who.user_id, proof).await?,
                None => false,
            };
            if is_right {
                if guessed == Guessed::OneStep {
                    guesses::take_back_one(tx, session).await?;
                }
                return succeed(tx, who, true, "totp", event).await;
            }
            fail(tx, who, "totp", event).await?;
            Ok(ReauthOutcome::Wrong { attempts_remaining: who.max_failures.saturating_sub(failures + 1) })
        })
    }

    /// Deletes at most `limit` flows whose code expired before `over_before`, and returns how many.
    pub async fn purge_reauth_flows(&self, over_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.purge(
            "DELETE FROM reauth_flows WHERE digest IN \
                 (SELECT digest FROM reauth_flows WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
            over_before,
            limit,
        )
        .await
    }
}

/// The proofs of the session and its wrong codes so far, or why nothing is compared. Locks the user, so that all guesses
/// of one person go one after the other.
async fn standing(
    tx: &mut AnyConnection,
    who: &Reauthentication,
    at: Timestamp,
) -> Result<Result<(Proofs, u32), ReauthOutcome>, StoreError> {
    if users::lock(tx, &who.user_id).await?.is_none_or(|user| user.disabled_at.is_some()) {
        return Ok(Err(ReauthOutcome::Gone));
    }
    let Some(proofs) = step_up::held(tx, &who.user_id, &who.session_id, at).await? else {
        return Ok(Err(ReauthOutcome::Gone));
    };
    let failures = sqlx::query("SELECT reauth_failures FROM sessions WHERE id = $1")
        .bind(who.session_id.as_str())
        .fetch_one(tx)
        .await?
        .count("reauth_failures")?;
    Ok(if failures < who.max_failures { Ok((proofs, failures)) } else { Err(ReauthOutcome::Exhausted) })
}

/// The same for a way in, which counts where there is no second factor.
async fn admitted(
    tx: &mut AnyConnection,
    who: &Reauthentication,
    at: Timestamp,
) -> Result<Result<(Proofs, u32), ReauthOutcome>, StoreError> {
    Ok(standing(tx, who, at).await?.and_then(|(proofs, failures)| {
        if proofs.has_second_factor { Err(ReauthOutcome::NeedsSecondFactor) } else { Ok((proofs, failures)) }
    }))
}

/// A code that is awaited.
struct Flow {
    digest: String,
    identifier: String,
    code_digest: Digest,
    attempts: u32,
    expires_at: Timestamp,
}

/// The flow in which the code was typed, if it is one of this session.
async fn find_flow(
    tx: &mut AnyConnection,
    who: &Reauthentication,
    code: &ReauthCode,
) -> Result<Option<Flow>, StoreError> {
    let row = match &code.flow {
        Some(flow) => {
            sqlx::query(
                "SELECT digest, identifier, code_digest, attempts, expires_at FROM reauth_flows \
                 WHERE digest = $1 AND session_id = $2 AND type = $3",
            )
            .bind(flow.to_string())
            .bind(who.session_id.as_str())
            .bind(code.method.as_str())
            .fetch_optional(tx)
            .await?
        }
        None => {
            sqlx::query(
                "SELECT digest, identifier, code_digest, attempts, expires_at FROM reauth_flows \
                 WHERE session_id = $1 AND type = $2 ORDER BY created_at DESC, digest LIMIT 1",
            )
            .bind(who.session_id.as_str())
            .bind(code.method.as_str())
            .fetch_optional(tx)
            .await?
        }
    };
    row.map(|row| {
        Ok(Flow {
            digest: row.text("digest")?,
            identifier: row.text("identifier")?,
            code_digest: row.parsed("code_digest")?,
            attempts: row.count("attempts")?,
            expires_at: row.time("expires_at")?,
        })
    })
    .transpose()
}

/// Renews the session by a way in that has been proved, if it is still the user's.
async fn by_way_in(
    tx: &mut AnyConnection,
    who: &Reauthentication,
    way_in: &WayIn,
    event: &NewEvent,
) -> Result<ReauthOutcome, StoreError> {
    let theirs = sqlx::query(
        "SELECT id FROM auth_methods WHERE app_id = $1 AND type = $2 AND provider = $3 AND identifier = $4 \
         AND user_id = $5 AND verified = 1",
    )
    .bind(app())
    .bind(way_in.method.as_str())
    .bind(way_in.provider.as_deref().unwrap_or_default())
    .bind(way_in.identifier.as_str())
    .bind(who.user_id.as_str())
    .fetch_optional(&mut *tx)
    .await?;
    match theirs {
        Some(_) => succeed(tx, who, false, way_in.method.as_str(), event).await,
        None => Ok(ReauthOutcome::NoProof),
    }
}

async fn succeed(
    tx: &mut AnyConnection,
    who: &Reauthentication,
    by_second_factor: bool,
    method: &str,
    event: &NewEvent,
) -> Result<ReauthOutcome, StoreError> {
    step_up::renew(tx, &who.session_id, by_second_factor, event.at).await?;
    let event = event.clone().with("method", method);
    record(tx, EventType::SessionReauthenticated, Some(&who.user_id), &event).await?;
    Ok(ReauthOutcome::Renewed)
}

/// Counts a wrong code against the session, and writes it down.
async fn fail(
    tx: &mut AnyConnection,
    who: &Reauthentication,
    method: &str,
    event: &NewEvent,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE sessions SET reauth_failures = reauth_failures + 1 WHERE id = $1")
        .bind(who.session_id.as_str())
        .execute(&mut *tx)
        .await?;
    let event = event.clone().with("method", method);
    record(tx, EventType::SessionReauthenticationFailed, Some(&who.user_id), &event).await
}
