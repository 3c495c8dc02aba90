//! Proving again, within a session, who one is (RFC 9470).

use domain::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{MessageReply, OAuthLinkReply, WalletChallengeReply, WalletChallengeRequest, WalletVerifyRequest};

/// `POST /account/reauthenticate`: by what.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "method", rename_all = "lowercase")]
pub enum ReauthenticateRequest {
    /// A code that is sent to an address which is one of the user's ways in.
    Email(ReauthenticateEmailRequest),
    /// A code that is sent to a number which is one of the user's ways in.
    Sms(ReauthenticateSmsRequest),
    /// A message for a wallet to sign that is one of the user's ways in.
    Wallet(WalletChallengeRequest),
    /// A visit to a provider with which the user signs in.
    OAuth(ReauthenticateOAuthRequest),
    /// The second factor: there is nothing to request.
    Totp,
}

/// Which address.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReauthenticateEmailRequest {
    /// One of the user's; the primary one where it is absent.
    #[serde(default)]
    pub email: Option<String>,
}

/// Which number.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReauthenticateSmsRequest {
    /// One of the user's; the primary one where it is absent.
    #[serde(default)]
    pub phone: Option<String>,
}

/// Which provider, and where the browser goes afterwards.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReauthenticateOAuthRequest {
    /// One of those that the user signs in with; may be absent where it is the only one.
    #[serde(default)]
    pub provider: Option<String>,
    /// A URL of an allowed origin; the app where it is absent.
    #[serde(default)]
    pub redirect_url: Option<String>,
}

/// The reply is that of the matching sign-in request.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum ReauthenticateReply {
    /// A message to sign.
    Challenge(WalletChallengeReply),
    /// A code is on its way.
    CodeSent(ReauthenticateCodeSentReply),
    /// Where the browser goes. It comes back with a `code` for `/account/reauthenticate/verify`.
    Redirect(OAuthLinkReply),
    /// The second factor can be shown at once.
    Ready(MessageReply),
}

/// A code is on its way.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReauthenticateCodeSentReply {
    /// Always true.
    pub success: bool,
    /// A sentence for a person.
    pub message: String,
    /// Seconds for which the code works.
    pub expires_in: u64,
    /// Names this request at `/account/reauthenticate/verify`.
    pub flow_id: String,
}

/// `POST /account/reauthenticate/verify`: the proof.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "method", rename_all = "lowercase")]
pub enum ReauthenticateVerifyRequest {
    /// The code that was sent to the address.
    Email(ReauthenticateCodeRequest),
    /// The code that was sent to the number.
    Sms(ReauthenticateCodeRequest),
    /// The signed message.
    Wallet(WalletVerifyRequest),
    /// The code with which the browser came back from the provider.
    OAuth(ReauthenticateSecretRequest),
    /// The six digits that the authenticator app shows, or a backup code.
    Totp(ReauthenticateSecretRequest),
}

/// A code that was sent.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReauthenticateCodeRequest {
    /// The code.
    pub code: String,
    /// The `flowId` of the request; the newest of this session where it is absent.
    #[serde(default)]
    pub flow_id: Option<String>,
}

/// Something that proves it by itself.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReauthenticateSecretRequest {
    /// It.
    pub code: String,
}

/// The session's proof is fresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReauthenticatedReply {
    /// Always true.
    pub success: bool,
    /// Until then nobody asks again.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub reauthenticated_until: Timestamp,
}
