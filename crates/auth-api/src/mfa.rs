//! The second factor.

use domain::Timestamp;
use serde::{Deserialize, Serialize};

/// What `POST /account/mfa/setup` answers with: the secret in the forms that authenticator apps take.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MfaSetupReply {
    /// In base32, to be typed.
    pub secret: String,
    /// In an `otpauth` URL.
    pub otpauth_url: String,
    /// That URL as a QR code, in SVG.
    pub qr_svg: String,
}

/// `POST /account/mfa/enable`, `POST /account/mfa/backup-codes` and `POST /account/mfa/disable`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MfaCodeRequest {
    /// The six digits that the authenticator app shows; except for enabling, a backup code does as well.
    pub code: String,
}

/// `GET /account/mfa`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MfaStatusReply {
    /// Whether sign-ins ask for a second factor.
    pub enabled: bool,
    /// Since when.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub enabled_at: Option<Timestamp>,
    /// How many backup codes are left.
    pub backup_codes_left: u32,
}

/// The second factor is enabled, or its backup codes are new ones.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MfaEnabledReply {
    /// Always true.
    pub success: bool,
    /// Each stands in for the authenticator app once. They are shown here and never again.
    pub backup_codes: Vec<String>,
}

/// `POST /auth/mfa/verify`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MfaVerifyRequest {
    /// What the sign-in was answered with.
    pub mfa_token: String,
    /// The six digits that the authenticator app shows, or a backup code.
    pub code: String,
}
