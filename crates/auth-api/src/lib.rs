//! What goes over the wire between the two services and to clients of the auth service: request and reply types and
//! error codes. Names and shapes are the contract's; nothing here decides anything.

mod account;
mod audit;
mod devices;
mod error;
mod introspection;
mod link;
mod mfa;
mod pairing;
mod reauthenticate;
mod service_jwt;
mod sign_in;
mod tokens;
mod validate;
mod wallet;

pub use account::{Me, MeReply};
pub use audit::{AuditActor, AuditEvent, AuditPage};
pub use devices::{Device, Method, MethodsReply, ProfileReply, ProfileRequest, SessionsEndedReply, SessionsReply};
pub use error::{ErrorBody, ErrorCode, FieldProblem};
pub use introspection::{IntrospectionReply, IntrospectionRequest, TokenExchangeReply};
pub use link::{LinkReply, LinkRequest, LinkVerifyRequest, OAuthLinkReply, OAuthLinkRequest};
pub use mfa::{MfaCodeRequest, MfaEnabledReply, MfaSetupReply, MfaStatusReply, MfaVerifyRequest};
pub use pairing::{
    CliApproveRequest, CliDecidedReply, CliDenyRequest, CliPendingReply, CliPollRequest, CliStartReply,
    CliStartRequest, CliTokenReply, DeviceAuthorizationReply, DeviceAuthorizationRequest, OAuthErrorReply,
    OAuthTokenReply,
};
pub use reauthenticate::{
    ReauthenticateCodeRequest, ReauthenticateCodeSentReply, ReauthenticateEmailRequest, ReauthenticateOAuthRequest,
    ReauthenticateReply, ReauthenticateRequest, ReauthenticateSecretRequest, ReauthenticateSmsRequest,
    ReauthenticateVerifyRequest, ReauthenticatedReply,
};
pub use service_jwt::{
    AUTH_SERVICE, BACKEND_SERVICE, MAX_SERVICE_JWT_SECONDS, SERVICE_TO_SERVICE, ServiceClaims, ServiceMeta,
};
pub use sign_in::{
    CodeSentReply, EmailLinkRequest, EmailRequest, EmailVerifyRequest, ExchangeRequest, LogoutRequest, MessageReply,
    MfaRequiredReply, OAuthProviderEntry, OAuthProvidersReply, RefreshRequest, SessionReply, SessionUser, SignInReply,
    SmsRequest, SmsVerifyRequest,
};
pub use tokens::{
    CreateTokenRequest, CreatedToken, ExpiresAt, LegacyTokenCreatedReply, LimitsReply, RateLimit, ReportLeakRequest,
    RotateTokenRequest, TokenCreatedReply, TokenLimit, TokenSummary, TokensReply,
};
pub use validate::{Bounds, CredentialKind, InvalidReply, ValidClient, ValidReply, ValidateRequest};
pub use wallet::{WalletChainId, WalletChallengeReply, WalletChallengeRequest, WalletVerifyRequest};
