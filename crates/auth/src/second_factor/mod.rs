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
use web::ApiError;

fn wrong() -> ApiError {
    ApiError::new(ErrorCode::InvalidCode, "This code is not right or has been used")
}
