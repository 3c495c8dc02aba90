//! The second factor: codes of an authenticator app (RFC 6238), and backup codes for when it is lost.

mod backup;
mod code;
mod manage;
mod totp;
mod verify;

pub(crate) use code::ShownCode;
pub(crate) use manage::{disable, enable, replace_backup_codes, setup, status};
pub(crate) use verify::{Admitted, admit, finish, finish_for_pairing, unknown};

use auth_api::ErrorCode;
use domain::{Limit, UserId};
use store::NewEvent;
use web::ApiError;

use crate::{AuthService, internal};

/// The answer to a single code of a person at whose codes somebody has guessed too often. Nobody is shut out: whoever
/// holds the app has two codes after half a minute, and the backup codes.
pub(crate) fn wants_two() -> ApiError {
    let sentence = "Too many wrong codes were tried for this account: enter two codes of your authenticator app that \
                    follow each other, all twelve digits, or a backup code";
    ApiError::new(ErrorCode::InvalidCode, sentence)
}

/// Writes down that a second proof was wrong, unless that has been written often enough today.
async fn note_failure(auth: &AuthService, user_id: &UserId, event: &NewEvent) -> Result<(), ApiError> {
    const NOTED: Limit = Limit::per_day(480);
    if auth.is_noted(&format!("failures:mfa:{user_id}"), NOTED).await {
        auth.store.record_mfa_failure(user_id, event).await.map_err(internal)?;
    }
    Ok(())
}

fn wrong() -> ApiError {
    ApiError::new(ErrorCode::InvalidCode, "This code is not right or has been used")
}
