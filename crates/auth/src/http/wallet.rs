//! `/auth/wallet/*`.

use std::sync::Arc;

use auth_api::{ErrorBody, SignInReply, WalletChallengeReply, WalletChallengeRequest, WalletVerifyRequest};
use axum::extract::State;
use axum::{Extension, Json};
use web::{ApiError, Context};

use super::limits::Strict;
use crate::AuthService;
use crate::sign_in::wallet::{self, CHALLENGE_LIFETIME, For};

/// Ask for a message that proves, signed by the wallet, whose it is.
#[utoipa::path(post, path = "/auth/wallet/challenge", tag = "sign-in", request_body = WalletChallengeRequest,
    responses((status = 200, body = WalletChallengeReply), (status = 400, body = ErrorBody),
              (status = 429, body = ErrorBody)))]
pub(super) async fn challenge(
    State(auth): State<Arc<AuthService>>,
    _: Strict,
    web::Json(request): web::Json<WalletChallengeRequest>,
) -> Result<Json<WalletChallengeReply>, ApiError> {
    let address = wallet::address(&request.address)?;
    let chain_id = request.chain_id.as_ref().map(|chain_id| chain_id.0.as_str());
    let challenge = wallet::challenge(&auth, For::SignIn, &address, chain_id).await?;
    Ok(Json(WalletChallengeReply {
        success: true,
        message: challenge.message,
        nonce: challenge.nonce,
        expires_in: CHALLENGE_LIFETIME.as_secs(),
    }))
}

/// Sign in with the signed message.
#[utoipa::path(post, path = "/auth/wallet/verify", tag = "sign-in", request_body = WalletVerifyRequest,
    responses((status = 200, body = SignInReply), (status = 400, body = ErrorBody), (status = 429, body = ErrorBody),
              (status = 502, body = ErrorBody)))]
pub(super) async fn verify(
    State(auth): State<Arc<AuthService>>,
    _: Strict,
    Extension(context): Extension<Arc<Context>>,
    web::Json(request): web::Json<WalletVerifyRequest>,
) -> Result<Json<SignInReply>, ApiError> {
    let address = wallet::address(&request.address)?;
    let signed = wallet::Signed { address, message: &request.message, signature: &request.signature };
    wallet::sign_in(&auth, context.client(), &signed).await.map(Json)
}
