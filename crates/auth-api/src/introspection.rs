//! `POST /oauth/introspect` (RFC 7662).

use std::collections::BTreeMap;

use domain::UserId;
use serde::{Deserialize, Serialize};

use crate::RateLimit;

/// What to introspect (RFC 7662 §2.1), a form.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IntrospectionRequest {
    /// A personal access token, an access JWT or a narrowed JWT.
    #[serde(default)]
    pub token: Option<String>,
    /// Accepted and not needed: every token says itself of what kind it is.
    #[serde(default)]
    pub token_type_hint: Option<String>,
    /// The address of whoever presented it, for tokens that may be used from some only; in the place of that of the
    /// service JWT's `meta`.
    #[serde(default)]
    pub client_ip: Option<String>,
}

/// The reply (RFC 7662 §2.2). By default, and for a token that is not good, `{"active":false}` and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IntrospectionReply {
    /// Whether the token is good.
    pub active: bool,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub sub: Option<UserId>,
    /// What it may do, separated by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Always `Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_type: Option<String>,
    /// When it ends, in seconds since the epoch; absent when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// When it was made, in seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// The token's id, or the session's, or the narrowed JWT's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Always `alternatefutures-auth`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// The owner's e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// For whom alone it is, of a JWT that was narrowed to an audience. Whoever is not among them has to refuse it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<Vec<String>>,
    /// RFC 8693 §4.1: `{"sub": …}` with the id of the token that a narrowed JWT was got for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<BTreeMap<String, String>>,
    /// The token's window, this call counted.
    #[serde(rename = "rateLimit", default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
}

/// The reply to a token exchange (RFC 8693 §2.2.1).
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenExchangeReply {
    /// The narrowed JWT.
    pub access_token: String,
    /// `urn:ietf:params:oauth:token-type:access_token`, or `…:jwt` where that was asked for.
    pub issued_token_type: String,
    /// Always `Bearer`.
    pub token_type: String,
    /// Seconds until it ends.
    pub expires_in: u64,
    /// What it may do, separated by spaces.
    pub scope: String,
}
