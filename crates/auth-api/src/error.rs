//! Errors as the world sees them.

use std::fmt;

use domain::Timestamp;
use serde::{Deserialize, Serialize};

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $status:literal $text:literal,)*) => {
        /// The machine-readable half of an error. A client decides by this, never by the sentence.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }

        impl ErrorCode {
            /// The HTTP status that goes with the code.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// The code as it is on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

error_codes! {
    /// A field is missing, of the wrong type or outside its bounds.
    ValidationError = 400 "VALIDATION_ERROR",
    /// The body is not JSON.
    InvalidJson = 400 "INVALID_JSON",
    /// A token's name is outside its grammar.
    InvalidTokenName = 400 "INVALID_TOKEN_NAME",
    /// The user has as many active tokens as one may have.
    MaxTokensExceeded = 400 "MAX_TOKENS_EXCEEDED",
    /// A one-time code is wrong.
    InvalidCode = 400 "INVALID_CODE",
    /// A one-time code is too old.
    CodeExpired = 400 "CODE_EXPIRED",
    /// A one-time code was guessed at too often and is dead.
    TooManyAttempts = 400 "TOO_MANY_ATTEMPTS",
    /// The step does not follow from the ones before it: a sign-in at a provider that this browser did not begin, or
    /// something that is over or was finished before.
    InvalidState = 400 "INVALID_STATE",
    /// A redirect to somewhere that the installation does not send browsers to.
    InvalidRedirect = 400 "INVALID_REDIRECT",
    /// A wallet's signature is not that of a challenge that waits for it.
    InvalidSignature = 400 "INVALID_SIGNATURE",
    /// A wallet's challenge is too old.
    ChallengeExpired = 400 "CHALLENGE_EXPIRED",
    /// The only way in cannot be removed.
    LastAuthMethod = 400 "LAST_AUTH_METHOD",
    /// No credential, or none that is accepted here.
    Unauthorized = 401 "UNAUTHORIZED",
    /// A credential that is malformed, unknown or revoked.
    InvalidToken = 401 "INVALID_TOKEN",
    /// A credential whose time is over.
    TokenExpired = 401 "TOKEN_EXPIRED",
    /// A token that may not be used from there.
    IpNotAllowed = 401 "IP_NOT_ALLOWED",
    /// A credential of a session that was ended.
    SessionRevoked = 401 "SESSION_REVOKED",
    /// A refresh token that was used before; its session has been ended.
    RefreshReused = 401 "REFRESH_REUSED",
    /// The session's proof of who its user is, is too old for this: prove it again at `/account/reauthenticate`.
    ReauthenticationRequired = 401 "REAUTHENTICATION_REQUIRED",
    /// A known caller who may not do this.
    Forbidden = 403 "FORBIDDEN",
    /// No such thing, or somebody else's.
    NotFound = 404 "NOT_FOUND",
    /// The path exists, the method does not.
    MethodNotAllowed = 405 "METHOD_NOT_ALLOWED",
    /// It contradicts what is already there.
    Conflict = 409 "CONFLICT",
    /// The body exceeds 64 KiB.
    PayloadTooLarge = 413 "PAYLOAD_TOO_LARGE",
    /// The body is not of a type that is read here.
    UnsupportedMediaType = 415 "UNSUPPORTED_MEDIA_TYPE",
    /// Too many in too short a time.
    RateLimitExceeded = 429 "RATE_LIMIT_EXCEEDED",
    /// Our fault; the cause is in the log under the request's id.
    InternalError = 500 "INTERNAL_ERROR",
    /// A mail or SMS service or a sign-in provider failed.
    ProviderError = 502 "PROVIDER_ERROR",
    /// A part that is needed cannot be reached now.
    Unavailable = 503 "UNAVAILABLE",
    /// The installation sends no e-mail.
    EmailNotConfigured = 503 "EMAIL_NOT_CONFIGURED",
    /// The installation sends no SMS.
    SmsNotConfigured = 503 "SMS_NOT_CONFIGURED",
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The body of every error reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// A sentence for a person.
    pub error: String,
    /// What a program decides by.
    pub code: ErrorCode,
    /// The id under which the request is in the log.
    pub request_id: String,
    /// With `VALIDATION_ERROR`: which fields, and what would be right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<FieldProblem>,
    /// With `INVALID_CODE`: how many guesses are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_remaining: Option<u32>,
    /// With `RATE_LIMIT_EXCEEDED`: seconds until it is worth trying again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// With `RATE_LIMIT_EXCEEDED`: the moment at which it is worth trying again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub reset_at: Option<Timestamp>,
    /// With `REAUTHENTICATION_REQUIRED`: what the user can prove it with, as `POST /account/reauthenticate` takes it:
    /// `email`, `sms`, `wallet`, `oauth`, `totp`. Empty where nothing is left but to sign in again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// With `REAUTHENTICATION_REQUIRED`: how many seconds old the proof may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u64>,
}

/// What is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldProblem {
    /// Where: `scopes[2]`; empty for the body as a whole.
    pub path: String,
    /// What would be right.
    pub message: String,
}
