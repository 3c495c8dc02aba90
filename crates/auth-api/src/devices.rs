//! Signed-in devices, ways in and the profile.

use domain::{AuthMethodId, SessionId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};

use crate::Me;

/// `GET /auth/sessions`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionsReply {
    /// The one seen last first.
    pub sessions: Vec<Device>,
}

/// A signed-in device.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// The session's id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: SessionId,
    /// What it is, as far as its user agent tells.
    pub device: String,
    /// From where it signed in.
    pub ip: Option<String>,
    /// When it signed in.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it was last seen.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub last_seen_at: Timestamp,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// `DELETE /auth/sessions`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionsEndedReply {
    /// Always true.
    pub success: bool,
    /// How many were ended.
    pub ended: usize,
}

/// `GET` and `PATCH /account/profile`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProfileReply {
    /// The caller.
    pub user: Me,
}

/// `PATCH /account/profile`; what is left out stays, null clears.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ProfileRequest {
    /// 1 to 100 printable characters.
    #[serde(default, deserialize_with = "present")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub display_name: Option<Option<String>>,
    /// An http or https URL of at most 2048 characters.
    #[serde(default, deserialize_with = "present")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub avatar_url: Option<Option<String>>,
}

#[expect(clippy::option_option, reason = "absent and null differ")]
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// `GET /account/methods`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MethodsReply {
    /// Oldest first.
    pub methods: Vec<Method>,
}

/// A way in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Method {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: AuthMethodId,
    /// `email`, `sms`, `wallet` or `oauth`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who vouches for it, or the wallet's chain.
    pub provider: Option<String>,
    /// The address, number or account.
    pub identifier: String,
    /// Whether it has been proved.
    pub verified: bool,
    /// Whether it is shown first.
    pub is_primary: bool,
    /// When it was added.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it was last used.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub last_used_at: Option<Timestamp>,
}
