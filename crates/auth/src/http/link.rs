//! `/account/methods/link`.

use std::sync::Arc;
use std::time::Duration;

use auth_api::{
    CodeSentReply, ErrorBody, LinkReply, LinkRequest, LinkVerifyRequest, MessageReply, OAuthLinkReply,
    WalletChallengeReply,
};
use axum::extract::State;
use axum::{Extension, Json};
use domain::Limit;
use web::{ApiError, Context};

use super::caller::RecentSession;
use super::limits::{self, Strict};
use super::sign_in::{address, sent_code};
use super::sms::{number, recipient};
use crate::AuthService;
use crate::account::link;
use crate::principal::Principal;
use crate::sign_in::allowance::Told;
use crate::sign_in::wallet::{self, CHALLENGE_LIFETIME, For};
use crate::sign_in::{CODE_LIFETIME, oauth, sms};

/// Past the quota of a mailbox or number, which strangers may have filled, an account gets a code so often.
const PAST_THE_QUOTA: Limit = Limit { count: 1, window: Duration::from_mins(5) };

/// Counts by mailbox or number as well, as when signing in: many accounts together could flood one. Nobody is shut out by
/// what others have asked for.
async fn admit(auth: &AuthService, context: &Context, caller: &Principal, subject: &str) -> Result<(), ApiError> {
    if limits::has_room(auth, subject, auth.config.limits.strict).await? {
        return Ok(());
    }
    limits::admit(auth, context, &format!("link:{}", caller.user_id), PAST_THE_QUOTA).await
}

/// Begin to add a way in. The reply is that of the matching sign-in request.
#[utoipa::path(post, path = "/account/methods/link", tag = "account", request_body = LinkRequest,
    responses((status = 200, body = LinkReply), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
              (status = 404, body = ErrorBody), (status = 429, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(super) async fn begin(
    State(auth): State<Arc<AuthService>>,
    RecentSession(session): RecentSession,
    _: Strict,
    Extension(context): Extension<Arc<Context>>,
    web::Json(request): web::Json<LinkRequest>,
) -> Result<Json<LinkReply>, ApiError> {
    let caller = &session.principal;
    Ok(Json(match request {
        LinkRequest::Email(request) => {
            let address = address(&request.email)?;
            admit(&auth, &context, caller, &format!("mailbox:{}", address.mailbox())).await?;
            LinkReply::CodeSent(code_sent(link::request_email(&auth, caller, &address).await?))
        }
        LinkRequest::Sms(request) => {
            let phone = recipient(&auth, &request.phone)?;
            admit(&auth, &context, caller, &format!("phone:{phone}")).await?;
            LinkReply::CodeSent(code_sent(link::request_sms(&auth, caller, &phone).await?))
        }
        LinkRequest::Wallet(request) => {
            let address = wallet::address(&request.address)?;
            let chain_id = request.chain_id.as_ref().map(|chain_id| chain_id.0.as_str());
            let challenge = wallet::challenge(&auth, For::Link(&caller.user_id), &address, chain_id).await?;
            LinkReply::Challenge(WalletChallengeReply {
                success: true,
                message: challenge.message,
                nonce: challenge.nonce,
                expires_in: CHALLENGE_LIFETIME.as_secs(),
            })
        }
        LinkRequest::OAuth(request) => {
            let redirect_url = request.redirect_url.as_deref();
            let asked_by = link::asked_by(&session);
            let auth_url = oauth::start::request_proof(&auth, asked_by, &request.provider, redirect_url).await?;
            LinkReply::Redirect(OAuthLinkReply { auth_url })
        }
    }))
}

/// Add the way in with the proof. What belongs to another account is a conflict and changes nothing.
#[utoipa::path(post, path = "/account/methods/link/verify", tag = "account", request_body = LinkVerifyRequest,
    responses((status = 200, body = MessageReply), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
              (status = 409, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub(super) async fn verify(
    State(auth): State<Arc<AuthService>>,
    RecentSession(session): RecentSession,
    _: Strict,
    web::Json(request): web::Json<LinkVerifyRequest>,
) -> Result<Json<MessageReply>, ApiError> {
    let caller = &session.principal;
    match request {
        LinkVerifyRequest::Email(request) => {
            let way_in = store::WayIn::email(address(&request.email)?.as_str());
            link::verify_code(&auth, caller, store::CodePurpose::SignInByEmail, way_in, &sent_code(&request.code)?)
                .await?;
        }
        LinkVerifyRequest::Sms(request) => {
            let way_in = sms::way_in(&number(&request.phone)?);
            link::verify_code(&auth, caller, store::CodePurpose::SignInBySms, way_in, &sent_code(&request.code)?)
                .await?;
        }
        LinkVerifyRequest::Wallet(request) => {
            let address = wallet::address(&request.address)?;
            let signed = wallet::Signed { address, message: &request.message, signature: &request.signature };
            link::concluded(&wallet::link(&auth, caller, &signed).await?)?;
        }
        LinkVerifyRequest::OAuth(request) => {
            let code = request.code.parse().map_err(|_| link::no_proof())?;
            link::verify_oauth(&auth, &session, &code).await?;
        }
    }
    Ok(Json(MessageReply { success: true, message: "It is one of your ways in now".to_owned() }))
}

fn code_sent(told: Told) -> CodeSentReply {
    let message = match told {
        Told::Sent => "A code is on its way",
        Told::SentUnlessNew => {
            "A code is on its way if somebody has signed in by this before; for new addresses and numbers there is none \
             before tomorrow"
        }
    };
    CodeSentReply { success: true, message: message.to_owned(), expires_in: CODE_LIFETIME.as_secs(), flow_id: None }
}
