//! Signing in by e-mail code, and sessions.

use domain::UserId;
use serde::{Deserialize, Serialize};

/// `POST /auth/email/request`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct EmailRequest {
    /// Where the code goes.
    pub email: String,
    /// Binds what the mail's link leads to to whoever has the verifier: the base64url of its SHA-256 (RFC 7636, S256).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_challenge: Option<String>,
}

/// The reply to a request for a code; the same for known and unknown addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CodeSentReply {
    /// Always true.
    pub success: bool,
    /// A sentence for a person.
    pub message: String,
    /// Seconds for which the code works.
    pub expires_in: u64,
    /// The id of this request, for `verify`: guesses that name it count apart from everybody else's. Codes for linking
    /// have none; nobody else can guess at them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_id: Option<String>,
}

/// `POST /auth/email/verify`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct EmailVerifyRequest {
    /// The address the code was sent to.
    pub email: String,
    /// The code: six digits, or ten letters and digits.
    pub code: String,
    /// The `flowId` of the request's reply. Three guesses of a flow are looked at, and three of all who name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_id: Option<String>,
}

/// `POST /auth/email/link`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EmailLinkRequest {
    /// The last part of the mail's link.
    pub token: String,
}

/// `POST /auth/sms/request`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SmsRequest {
    /// Where the code goes, E.164.
    pub phone: String,
}

/// `POST /auth/sms/verify`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SmsVerifyRequest {
    /// The number the code was sent to.
    pub phone: String,
    /// The code: six digits, or ten letters and digits.
    pub code: String,
    /// The `flowId` of the request's reply. Three guesses of a flow are looked at, and three of all who name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_id: Option<String>,
}

/// `POST /auth/exchange`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ExchangeRequest {
    /// The code that came with the browser.
    pub code: String,
    /// The secret behind the `code_challenge` with which the sign-in began; needed there, and refused elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_verifier: Option<String>,
}

/// The reply to every successful sign-in and refresh.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionReply {
    /// Always true.
    pub success: bool,
    /// An EdDSA JWT, short-lived; goes into `Authorization: Bearer`.
    pub access_token: String,
    /// A JWT for `POST /auth/refresh`, good for one use.
    pub refresh_token: String,
    /// Who signed in.
    pub user: SessionUser,
}

/// What a right proof is answered with: a session, or the request for a second factor.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum SignInReply {
    /// Somebody is signed in.
    SignedIn(Box<SessionReply>),
    /// The person has a second factor, which `POST /auth/mfa/verify` takes.
    MfaRequired(MfaRequiredReply),
}

/// The first factor was right; there is no session yet.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MfaRequiredReply {
    /// Always false.
    pub success: bool,
    /// Always true.
    pub mfa_required: bool,
    /// For `POST /auth/mfa/verify`, with a code.
    pub mfa_token: String,
    /// Seconds for which it works.
    pub expires_in: u64,
}

/// The user as sign-in replies show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionUser {
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
    /// The wallet's address.
    pub wallet_address: Option<String>,
}

/// `POST /auth/refresh`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RefreshRequest {
    /// The refresh token of the last pair.
    pub refresh_token: String,
}

/// `POST /auth/logout`; the body may be left out.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct LogoutRequest {
    /// A refresh token; its session ends as well, if it is the same person's. Any other is passed over. Without a
    /// session it is enough by itself.
    #[serde(default)]
    pub refresh_token: Option<String>,
}

/// A success that has nothing else to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MessageReply {
    /// Always true.
    pub success: bool,
    /// A sentence for a person.
    pub message: String,
}

/// `GET /auth/oauth/providers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OAuthProvidersReply {
    /// Those that are switched on.
    pub providers: Vec<OAuthProviderEntry>,
}

/// A provider that one can sign in at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct OAuthProviderEntry {
    /// `google`, `github`, `twitter` or `discord`.
    pub name: String,
    /// Where a browser is to be sent; takes `redirect_url` and `code_challenge`.
    pub auth_url: String,
}
