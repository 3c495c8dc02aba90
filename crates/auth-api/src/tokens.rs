//! Personal access tokens: create, list, rotate, limits.

use std::fmt;

use domain::{AllowedIps, Scopes, Timestamp, TokenId};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// `POST /tokens`, and `POST /auth/pat/create`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CreateTokenRequest {
    /// 1 to 100 characters of `[A-Za-z0-9 ._-]`.
    pub name: String,
    /// Milliseconds since the epoch or ISO 8601; absent or null for a token that does not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub expires_at: Option<ExpiresAt>,
    /// Absent or null for `["*"]`; at most 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub scopes: Option<Scopes>,
    /// Networks in CIDR notation, IPv4 and IPv6, or addresses, at most 32, from which alone the token may be used; absent
    /// or null for anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub allowed_ips: Option<AllowedIps>,
}

/// An expiry as clients write it: milliseconds since the epoch, or ISO 8601.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpiresAt(pub Timestamp);

impl Serialize for ExpiresAt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ExpiresAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MillisOrIso;

        impl Visitor<'_> for MillisOrIso {
            type Value = ExpiresAt;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("milliseconds since the epoch or an ISO 8601 time")
            }

            fn visit_i64<E: de::Error>(self, millis: i64) -> Result<ExpiresAt, E> {
                Ok(ExpiresAt(Timestamp::from_millis(millis)))
            }

            fn visit_u64<E: de::Error>(self, millis: u64) -> Result<ExpiresAt, E> {
                self.visit_i64(i64::try_from(millis).unwrap_or(i64::MAX))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ExpiresAt, E> {
                text.parse().map(ExpiresAt).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(MillisOrIso)
    }
}

/// The reply to creation and rotation; the only one that ever shows a token.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenCreatedReply {
    /// Always true.
    pub success: bool,
    /// The token.
    pub token: CreatedToken,
}

/// A token with its secret.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CreatedToken {
    /// The token's id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: TokenId,
    /// The name its owner gave it.
    pub name: String,
    /// The token itself, shown this once.
    pub token: String,
    /// What it may do.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub scopes: Scopes,
    /// From where it may be used, networks or addresses; absent for anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub allowed_ips: Option<AllowedIps>,
    /// When it ends.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Timestamp>,
    /// When it was created.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub updated_at: Timestamp,
    /// When it was last used; null for a new token.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub last_used_at: Option<Timestamp>,
}

/// The reply to `POST /auth/pat/create`, as older command lines expect it.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LegacyTokenCreatedReply {
    /// Always true.
    pub success: bool,
    /// The token itself, shown this once.
    pub token: String,
    /// The token's id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: TokenId,
}

/// `GET /tokens`: newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokensReply {
    /// The caller's tokens.
    pub tokens: Vec<TokenSummary>,
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TokenSummary {
    /// The token's id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: TokenId,
    /// The name its owner gave it.
    pub name: String,
    /// Its first characters.
    pub prefix: String,
    /// What it may do.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub scopes: Scopes,
    /// From where it may be used, networks or addresses; absent for anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub allowed_ips: Option<AllowedIps>,
    /// When it ends.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, a few seconds behind.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub last_used_at: Option<Timestamp>,
    /// When it was created.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub updated_at: Timestamp,
}

/// `POST /tokens/:id/rotate`; the body may be left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RotateTokenRequest {
    /// For how long the old secret goes on working: 0 (the default) to 604800 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<i64>,
}

/// `POST /tokens/report`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReportLeakRequest {
    /// What was found.
    pub token: String,
    /// Where, for the owner: an address of the web; anything else is passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// `GET /tokens/limits`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct LimitsReply {
    /// How many tokens may still be created in these 24 hours.
    pub rate_limit: RateLimit,
    /// How many tokens there may be.
    pub token_limit: TokenLimit,
}

/// The state of a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// How many are admitted in one window.
    pub limit: u32,
    /// How many of them are left.
    pub remaining: u32,
    /// When the first of those counted leaves the window.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub reset_at: Timestamp,
}

/// How many tokens a user has and may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenLimit {
    /// Tokens that have not expired.
    pub active: u32,
    /// The most there may be.
    pub max: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_milliseconds_or_iso() {
        let read = |json: &str| serde_json::from_str::<CreateTokenRequest>(json).map(|request| request.expires_at);
        let moment = Some(ExpiresAt(Timestamp::from_millis(1_762_603_200_000)));

        assert_eq!(read(r#"{"name":"x","expiresAt":1762603200000}"#).unwrap(), moment);
        assert_eq!(read(r#"{"name":"x","expiresAt":"2025-11-08T12:00:00.000Z"}"#).unwrap(), moment);
        assert_eq!(read(r#"{"name":"x","expiresAt":null}"#).unwrap(), None);
        assert_eq!(read(r#"{"name":"x"}"#).unwrap(), None);
        assert_eq!(
            read(r#"{"name":"x","expiresAt":-5}"#).unwrap(),
            Some(ExpiresAt(Timestamp::from_millis(-5))),
            "a past expiry is well formed; whoever creates the token refuses it"
        );
        for wrong in ["true", "\"soon\"", "\"1762603200000\"", "1.5", "[]", "{}"] {
            assert!(read(&format!(r#"{{"name":"x","expiresAt":{wrong}}}"#)).is_err(), "{wrong}");
        }
    }
}
