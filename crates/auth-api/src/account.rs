//! Who one is.

use domain::{Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// `GET /auth/me`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MeReply {
    /// The caller, or the user on whose behalf a service calls.
    pub user: Me,
    /// Always empty until organizations exist.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub organizations: Vec<()>,
}

/// The user as they see themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Me {
    /// The user's id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: UserId,
    /// The primary e-mail address.
    pub email: Option<String>,
    /// The phone number, E.164.
    pub phone: Option<String>,
    /// The name that others see.
    pub display_name: Option<String>,
    /// A picture.
    pub avatar_url: Option<String>,
    /// Whether the user has proved that the e-mail address is theirs.
    pub email_verified: bool,
    /// Whether the user has proved that the phone number is theirs.
    pub phone_verified: bool,
    /// The wallet's address.
    pub wallet_address: Option<String>,
    /// When the account came into being.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When the account was last changed.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub updated_at: Timestamp,
    /// The last sign-in.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub last_login_at: Option<Timestamp>,
}
