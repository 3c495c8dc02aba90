//! What somebody shows as their second factor.

use domain::{OneTimeCode, UserId};
use store::{Factor, Guessed, SecondProof};
use web::ApiError;

use super::backup::BackupCode;
use super::{manage, totp};
use crate::AuthService;
use crate::guessing::Channel;

/// A code that is well formed.
pub(crate) enum ShownCode {
    /// Six digits of the authenticator app.
    App(OneTimeCode),
    /// Two successive codes of the app, the older one first: what is asked for when somebody has guessed too often.
    Successive(OneTimeCode, OneTimeCode),
    /// A backup code.
    Backup(BackupCode),
}

impl ShownCode {
    /// Reads what a person typed.
    pub(crate) fn read(text: &str) -> Result<Self, ApiError> {
        if let Ok(code) = text.parse() {
            return Ok(Self::App(code));
        }
        if let Some((first, second)) = successive(text) {
            return Ok(Self::Successive(first, second));
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
            Self::Successive(first, second) => {
                let step = totp::find_two_steps(&secret, [first, second], auth.clock.now(), factor.last_step);
                step.map(SecondProof::TwoSteps)
            }
            Self::Backup(code) => Some(SecondProof::BackupCode(code.digest(&secret, user_id))),
        })
    }

    /// Whether it came from the app.
    pub(crate) const fn is_of_app(&self) -> bool {
        matches!(self, Self::App(_) | Self::Successive(..))
    }

    /// How it is counted.
    pub(crate) const fn guessed(&self) -> Guessed {
        match self {
            Self::App(_) => Guessed::OneStep,
            Self::Successive(..) | Self::Backup(_) => Guessed::Long,
        }
    }

    /// Counts that it was right, or wrong.
    pub(crate) fn note(&self, auth: &AuthService, is_right: bool) {
        let channel = match self {
            Self::App(_) | Self::Successive(..) => Channel::App,
            Self::Backup(_) => Channel::Backup,
        };
        auth.metrics.guesses.note(channel, is_right);
    }
}

/// Twelve digits; spaces and hyphens do not matter.
fn successive(text: &str) -> Option<(OneTimeCode, OneTimeCode)> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').take(13).collect();
    let (first, second) = digits.split_at_checked(6)?;
    Some((first.parse().ok()?, second.parse().ok()?))
}
