//! Letting programs in: pairing of command lines, and device authorization (RFC 8628).

use domain::Scopes;
use serde::{Deserialize, Serialize};

use crate::ExpiresAt;

/// `POST /auth/cli/start`; the body may be left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CliStartRequest {
    /// What the program calls itself, in the grammar of token names; `CLI` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the token is to be allowed; absent or null for `["*"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub scopes: Option<Scopes>,
}

/// The reply to `POST /auth/cli/start`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CliStartReply {
    /// Always true.
    pub success: bool,
    /// Names the pairing.
    pub verification_session_id: String,
    /// For `POST /auth/cli/poll`; the program keeps it to itself.
    pub poll_secret: String,
    /// The page on which somebody approves.
    pub verification_url: String,
    /// What the page shows too, for comparison.
    pub user_code: String,
    /// Seconds for which the pairing works.
    pub expires_in: u64,
}

/// `POST /auth/cli/approve`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CliApproveRequest {
    /// The pairing.
    pub verification_session_id: String,
    /// The token's name, if not the one that the program gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When the token ends: milliseconds since the epoch or ISO 8601; absent or null for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub expires_at: Option<ExpiresAt>,
}

/// `POST /auth/cli/deny`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CliDenyRequest {
    /// The pairing.
    pub verification_session_id: String,
}

/// The reply to a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CliDecidedReply {
    /// Always true.
    pub success: bool,
}

/// `POST /auth/cli/poll`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CliPollRequest {
    /// The pairing.
    pub verification_session_id: String,
    /// The secret that the program got when it started.
    pub poll_secret: String,
}

/// The reply to a poll before anybody has decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CliPendingReply {
    /// Always `pending`.
    pub status: String,
}

/// The reply to the one poll that fetches the token.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CliTokenReply {
    /// Always true.
    pub success: bool,
    /// The token, shown this once.
    pub token: String,
}

/// `POST /oauth/device_authorization` (RFC 8628 §3.1), a form.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceAuthorizationRequest {
    /// What the program calls itself; shown to whoever approves.
    #[serde(default)]
    pub client_id: Option<String>,
    /// What the token is to be allowed, separated by spaces; absent for everything.
    #[serde(default)]
    pub scope: Option<String>,
}

/// The reply to `POST /oauth/device_authorization` (RFC 8628 §3.2).
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceAuthorizationReply {
    /// For `POST /oauth/token`; the program keeps it to itself.
    pub device_code: String,
    /// What somebody types into the page, or compares.
    pub user_code: String,
    /// The page that asks for the code.
    pub verification_uri: String,
    /// The page of this very pairing.
    pub verification_uri_complete: String,
    /// Seconds for which the codes work.
    pub expires_in: u64,
    /// Seconds between two polls, at least.
    pub interval: u64,
}

/// The reply to `POST /oauth/token` (RFC 6749 §5.1).
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OAuthTokenReply {
    /// The token.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: String,
    /// What it may do, separated by spaces.
    pub scope: String,
    /// Seconds until it ends; absent if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

/// An error of the `/oauth/*` routes (RFC 6749 §5.2, RFC 8628 §3.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OAuthErrorReply {
    /// What a program decides by.
    pub error: String,
    /// A sentence for a person.
    pub error_description: String,
}
