//! The second factor.

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

/// `POST /account/mfa/enable` and `POST /account/mfa/disable`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MfaCodeRequest {
    /// The six digits that the authenticator app shows; a backup code disables as well.
    pub code: String,
}

/// The second factor is enabled.
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
