//! `POST /tokens/validate`: is this credential good, and whose is it?

use domain::{Scopes, Timestamp, TokenSecretId, UserId};
use serde::{Deserialize, Serialize};

use crate::{ErrorCode, Me, RateLimit};

/// What to validate, and who presented it.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ValidateRequest {
    /// A personal access token or an access JWT.
    pub token: String,
    /// The end user who presented it: their address for tokens that may be used from some only, and all of it for the
    /// audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ValidClient>,
    /// For whom the asker takes credentials: one that was narrowed to an audience is good only where that is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Whether the reply is to say of the owner what `GET /auth/me` does, so that it need not be asked as well.
    #[serde(default, rename = "withUser", skip_serializing_if = "std::ops::Not::not")]
    pub with_user: bool,
    /// Whether the reply is to say what bounds the credential, for a service that calls us in its owner's name.
    #[serde(default, rename = "withBounds", skip_serializing_if = "std::ops::Not::not")]
    pub with_bounds: bool,
}

/// The end user's call as the asking service saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ValidClient {
    /// The end user's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The end user's `User-Agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The id of the end user's request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What kind of credential it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum CredentialKind {
    /// A personal access token.
    Pat,
    /// An access JWT of a person's session.
    Session,
}

/// 200: the credential is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ValidReply {
    /// Always true.
    pub valid: bool,
    /// What kind of credential it was.
    pub kind: CredentialKind,
    /// Whether it is a JWT that was got for the token by token exchange. It has the token's id, scopes of its own, and
    /// makes no tokens.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub narrowed: bool,
    /// Whose it is.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub user_id: UserId,
    /// The token's id, or with `session` the session's.
    pub token_id: String,
    /// The token's name; null with `session`.
    pub name: Option<String>,
    /// What it may do.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub scopes: Scopes,
    /// The owner's e-mail address.
    pub email: Option<String>,
    /// The owner's name.
    pub display_name: Option<String>,
    /// The owner's picture.
    pub avatar_url: Option<String>,
    /// When the credential ends; null when it does not.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Timestamp>,
    /// The credential's own window, this call counted.
    pub rate_limit: RateLimit,
    /// The owner as `GET /auth/me` describes them, if the request had `withUser` and the credential may see it (scope
    /// `profile:read`). Where it is absent all the same, that route says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Me>,
    /// What bounds the credential besides its scopes and its end, if the request had `withBounds`. A service that calls
    /// in the owner's name puts it into its service JWT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Bounds>,
}

/// What bounds a credential besides its scopes and its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Bounds {
    /// Which of the token's secrets was shown, or the narrowed JWT was got with: one that a rotation has replaced may do
    /// less, and ends sooner. Sessions have none. It is an id, and opens nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub secret_id: Option<TokenSecretId>,
    /// For whom alone a narrowed JWT is good; absent where it was narrowed to nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<Vec<String>>,
}

/// 401 and 429: the credential is not good, or not now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct InvalidReply {
    /// Always false.
    pub valid: bool,
    /// A sentence for a person.
    pub error: String,
    /// `INVALID_TOKEN`, `IP_NOT_ALLOWED` or `RATE_LIMIT_EXCEEDED`.
    pub code: ErrorCode,
    /// The id under which the request is in the log.
    pub request_id: String,
    /// With `RATE_LIMIT_EXCEEDED`: seconds until the next request is admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// With `RATE_LIMIT_EXCEEDED`: when the next request is admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub reset_at: Option<Timestamp>,
    /// With `RATE_LIMIT_EXCEEDED`: the credential's window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
}
