//! The service JWT (contract §4): how the backend proves to the auth service who is calling, and for whom.

use domain::{Scopes, SessionId, Timestamp, TokenId, TokenSecretId, UserId};
use serde::{Deserialize, Serialize};

/// The `type` claim of a service JWT.
pub const SERVICE_TO_SERVICE: &str = "service-to-service";
/// The `service` and `iss` claims of the backend's JWTs.
pub const BACKEND_SERVICE: &str = "alternatefutures-backend";
/// The `aud` claim of the backend's JWTs, and the auth service's own name.
pub const AUTH_SERVICE: &str = "alternatefutures-auth";
/// The longest life of a service JWT, in seconds; longer ones are refused whatever their signature.
pub const MAX_SERVICE_JWT_SECONDS: i64 = 300;

/// The claims of a service JWT, HS256 with `JWT_SECRET` (RFC 7519 names where it has them).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceClaims {
    /// Always [`SERVICE_TO_SERVICE`]; a JWT of another type is never a service's.
    #[serde(rename = "type")]
    pub kind: String,
    /// The calling service.
    pub service: String,
    /// Seconds since the epoch.
    pub iat: i64,
    /// Seconds since the epoch, at most [`MAX_SERVICE_JWT_SECONDS`] after `iat`.
    pub exp: i64,
    /// Seconds since the epoch, from when on it is good; checked when present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// The user on whose behalf the call is made; absent for validation.
    #[serde(rename = "userId", default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The personal access token by which that user called the backend. The auth service holds the call to what this
    /// token may do, as the database knows it, so that a proxied call can do no more than a direct one.
    #[serde(rename = "tokenId", default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<TokenId>,
    /// The secret of that token which was shown, or by which the narrowed JWT was got: [`Bounds`](crate::Bounds) of the
    /// reply to its validation. A token that is named without one is held to the least that any of its secrets has.
    #[serde(rename = "secretId", default, skip_serializing_if = "Option::is_none")]
    pub secret_id: Option<TokenSecretId>,
    /// The scopes of the narrowed JWT by which that user called the backend, where it was one that was got for the token
    /// `tokenId` by token exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
    /// For whom alone that narrowed JWT is good. The auth service is never among them: it refuses the call, as it refuses
    /// such a JWT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<Vec<String>>,
    /// When the credential ends by which that user called the backend; the call is refused from then on, and makes
    /// nothing that outlives it.
    #[serde(rename = "expiresAt", default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The session by which that user called the backend; the call is refused when it has ended.
    #[serde(rename = "sessionId", default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Issuer; checked when present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Audience; checked when present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// A random id of this JWT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// The end user's call, which the audit log records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<ServiceMeta>,
}

/// The end user's call as the calling service saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceMeta {
    /// The request id of the end user's call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The end user's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The end user's `User-Agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}
