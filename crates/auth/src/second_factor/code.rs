//! What somebody shows as their second factor.

use domain::{OneTimeCode, UserId};
use store::{Factor, SecondProof};
use web::ApiError;

use super::backup::BackupCode;
use super::{manage, totp};
use crate::AuthService;

/// A code that is well formed.
pub(crate) enum ShownCode {
    /// Six digits of the authenticator app.
    App(OneTimeCode),
    /// A backup code.
    Backup(BackupCode),
}

impl ShownCode {
    /// Reads what a person typed.
    pub(crate) fn read(text: &str) -> Result<Self, ApiError> {
        if let Ok(code) = text.parse() {
            return Ok(Self::App(code));
        }
        let problem = "must be the six digits of the authenticator app, or a backup code";
        BackupCode::read(text).map(Self::Backup).ok_or_else(|| ApiError::validation("code", problem))
    }

    /// What the store has to spend for it; `None` when it is wrong without a look at what has been spent.
    pub(crate) fn prove(
        &self,
        auth: &AuthService,
        user_id: &UserId,
        factor: &Factor,
    ) -> Result<Option<SecondProof>, ApiError> {
        let secret = manage::open(auth, user_id, factor)?;
        Ok(match self {
            Self::App(code) => {
                totp::find_step(&secret, code, auth.clock.now(), factor.last_step).map(SecondProof::Step)
            }
            Self::Backup(code) => Some(SecondProof::BackupCode(code.digest(&secret, user_id))),
        })
    }
}
