//! `/account/reauthenticate`.

use std::sync::Arc;

use auth_api::{
    ErrorBody, MessageReply, OAuthLinkReply, ReauthenticateCodeSentReply, ReauthenticateReply, ReauthenticateRequest,
    ReauthenticateVerifyRequest, ReauthenticatedReply, WalletChallengeReply,
};
use axum::extract::State;
use axum::{Extension, Json};
use domain::OneTimeSecret;
use store::MethodType;
use web::{ApiError, Context};

use super::caller::Session;
use super::limits::{self, Strict};
use super::sign_in::{address, typed_code};
use super::sms::number;
use crate::AuthService;
use crate::account::reauthenticate;
use crate::second_factor::ShownCode;
use crate::sign_in::wallet::{self, CHALLENGE_LIFETIME, For};
use crate::sign_in::{CODE_LIFETIME, code};

/// Begin to prove again, in this session, who one is. The reply is that of the matching sign-in request.
#[utoipa::path(post, path = "/account/reauthenticate", tag = "account", request_body = ReauthenticateRequest,
    responses((status = 200, body = ReauthenticateReply), (status = 400, body = ErrorBody),
              (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
              (status = 409, body = ErrorBody), (status = 429, body = ErrorBody), (status = 502, body = ErrorBody),
              (status = 503, body = ErrorBody)))]
pub(super) async fn request(
    State(auth): State<Arc<AuthService>>,
    Session(me): Session,
    // With sign-ins: whoever begins many sessions has no more messages sent by it.
    _: Strict,
    Extension(context): Extension<Arc<Context>>,
    web::Json(request): web::Json<ReauthenticateRequest>,
) -> Result<Json<ReauthenticateReply>, ApiError> {
    Ok(Json(match request {
        ReauthenticateRequest::Email(request) => {
            let named = request.email.as_deref().map(address).transpose()?;
            let is_meant =
                |known: &store::AuthMethod| named.as_ref().is_none_or(|address| known.identifier == address.as_str());
            let way_in = reauthenticate::choose(&auth, &me, MethodType::Email, is_meant).await?;
            limits::admit_reauth_code(&auth, &context, &me.session_id).await?;
            code_sent(&reauthenticate::request_email(&auth, &me, way_in).await?)
        }
        ReauthenticateRequest::Sms(request) => {
            let named = request.phone.as_deref().map(number).transpose()?;
            let is_meant =
                |known: &store::AuthMethod| named.as_ref().is_none_or(|phone| known.identifier == phone.as_str());
            let way_in = reauthenticate::choose(&auth, &me, MethodType::Sms, is_meant).await?;
            limits::admit_reauth_code(&auth, &context, &me.session_id).await?;
            code_sent(&reauthenticate::request_sms(&auth, &me, way_in).await?)
        }
        ReauthenticateRequest::Wallet(request) => {
            let address = wallet::address(&request.address)?;
            let is_meant = |known: &store::AuthMethod| known.identifier == address.to_string();
            reauthenticate::choose(&auth, &me, MethodType::Wallet, is_meant).await?;
            let chain_id = request.chain_id.as_ref().map(|chain_id| chain_id.0.as_str());
            let challenge = wallet::challenge(&auth, For::Reauthenticate(&me), &address, chain_id).await?;
            ReauthenticateReply::Challenge(WalletChallengeReply {
                success: true,
                message: challenge.message,
                nonce: challenge.nonce,
                expires_in: CHALLENGE_LIFETIME.as_secs(),
            })
        }
        ReauthenticateRequest::OAuth(request) => {
            let (provider, redirect_url) = (request.provider.as_deref(), request.redirect_url.as_deref());
            let auth_url = reauthenticate::request_oauth(&auth, &me, provider, redirect_url).await?;
            ReauthenticateReply::Redirect(OAuthLinkReply { auth_url })
        }
        ReauthenticateRequest::Totp => {
            reauthenticate::request_second_factor(&auth, &me).await?;
            let message = "Show a code of the authenticator app, or a backup code".to_owned();
            ReauthenticateReply::Ready(MessageReply { success: true, message })
        }
    }))
}

/// Prove it: what wants a recent proof is open to this session from now on for a while.
#[utoipa::path(post, path = "/account/reauthenticate/verify", tag = "account",
    request_body = ReauthenticateVerifyRequest,
    responses((status = 200, body = ReauthenticatedReply), (status = 400, body = ErrorBody),
              (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 409, body = ErrorBody),
              (status = 429, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(super) async fn verify(
    State(auth): State<Arc<AuthService>>,
    Session(me): Session,
    web::Json(request): web::Json<ReauthenticateVerifyRequest>,
) -> Result<Json<ReauthenticatedReply>, ApiError> {
    let until = match request {
        ReauthenticateVerifyRequest::Email(request) => {
            let (typed, flow) = (typed_code(&request.code)?, flow(request.flow_id.as_deref())?);
            reauthenticate::verify_code(&auth, &me, MethodType::Email, &typed, flow.as_ref()).await?
        }
        ReauthenticateVerifyRequest::Sms(request) => {
            let (typed, flow) = (typed_code(&request.code)?, flow(request.flow_id.as_deref())?);
            reauthenticate::verify_code(&auth, &me, MethodType::Sms, &typed, flow.as_ref()).await?
        }
        ReauthenticateVerifyRequest::Wallet(request) => {
            let address = wallet::address(&request.address)?;
            let signed = wallet::Signed { address, message: &request.message, signature: &request.signature };
            reauthenticate::verify_wallet(&auth, &me, &signed).await?
        }
        ReauthenticateVerifyRequest::OAuth(request) => reauthenticate::verify_oauth(&auth, &me, &request.code).await?,
        ReauthenticateVerifyRequest::Totp(request) => {
            reauthenticate::verify_second_factor(&auth, &me, &ShownCode::read(&request.code)?).await?
        }
    };
    Ok(Json(ReauthenticatedReply { success: true, reauthenticated_until: until }))
}

/// What cannot be an id names no flow, in which nothing is right.
fn flow(text: Option<&str>) -> Result<Option<OneTimeSecret>, ApiError> {
    text.map(|text| text.parse().map_err(|_| code::wrong(0))).transpose()
}

fn code_sent(flow: &OneTimeSecret) -> ReauthenticateReply {
    ReauthenticateReply::CodeSent(ReauthenticateCodeSentReply {
        success: true,
        message: "A code is on its way".to_owned(),
        expires_in: CODE_LIFETIME.as_secs(),
        flow_id: flow.expose().to_owned(),
    })
}
