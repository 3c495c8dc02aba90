//! Adding ways in to an account.

use serde::{Deserialize, Serialize};

use crate::{
    CodeSentReply, EmailRequest, EmailVerifyRequest, SmsRequest, SmsVerifyRequest, WalletChallengeReply,
    WalletChallengeRequest, WalletVerifyRequest,
};

/// `POST /account/methods/link`: what to add.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum LinkRequest {
    /// An e-mail address, proved by a code that is sent to it.
    Email(EmailRequest),
    /// A phone number, proved by a code that is sent to it.
    Sms(SmsRequest),
    /// A wallet, proved by a message that it signs.
    Wallet(WalletChallengeRequest),
    /// An account at a provider, proved there.
    OAuth(OAuthLinkRequest),
}

/// Which provider, and where the browser goes afterwards.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct OAuthLinkRequest {
    /// `google`, `github`, `twitter` or `discord`.
    pub provider: String,
    /// A URL of an allowed origin; the app where it is absent.
    #[serde(default)]
    pub redirect_url: Option<String>,
}

/// The reply is that of the matching sign-in request.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum LinkReply {
    /// A message to sign.
    Challenge(WalletChallengeReply),
    /// A code is on its way.
    CodeSent(CodeSentReply),
    /// Where the browser goes.
    Redirect(OAuthLinkReply),
}

/// Where the browser goes to prove an account at a provider.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct OAuthLinkReply {
    /// To be visited from a page of the app's, within two minutes.
    pub auth_url: String,
}

/// `POST /account/methods/link/verify`: the proof.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum LinkVerifyRequest {
    /// The code that was sent to the address.
    Email(EmailVerifyRequest),
    /// The code that was sent to the number.
    Sms(SmsVerifyRequest),
    /// The signed message.
    Wallet(WalletVerifyRequest),
    /// The code that the browser brought back from the provider.
    OAuth(OAuthLinkVerifyRequest),
}

/// What the browser was given when it came back from the provider. It is good once, for a minute, for the session that
/// asked for the link.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OAuthLinkVerifyRequest {
    /// `code` of the address that the browser came to.
    pub code: String,
}
