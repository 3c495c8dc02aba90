//! Signing in with the link of the mail that carries the code.

use auth_api::{ErrorCode, SignInReply};
use domain::{ClientInfo, CodeChallenge, Digest, EmailAddress, OneTimeSecret};
use store::{CodePurpose, LinkSecret, MailLink, TradedLink};
use url::Url;
use web::ApiError;

use super::exchange::{self, EXCHANGE_LIFETIME};
use super::{CODE_LIFETIME, Planned, plan_kept, reply};
use crate::{AuthService, internal};

/// Signs in with the token from a link.
pub(crate) async fn sign_in(
    auth: &AuthService,
    client: &ClientInfo,
    token: &OneTimeSecret,
) -> Result<SignInReply, ApiError> {
    let Planned { sign_in, mfa_token } = plan_kept(auth, client);
    let outcome = auth.store.redeem_link(&secret(auth, token), &sign_in).await.map_err(internal)?;
    reply(auth, &mfa_token, accepted(outcome)?)
}

/// Keeps what the link is about, for its page; returns what is kept of its token. To be called before the token's digest is
/// kept with the code.
pub(crate) async fn keep(
    auth: &AuthService,
    client: &ClientInfo,
    email: &EmailAddress,
    token: &OneTimeSecret,
    challenge: Option<CodeChallenge>,
) -> Result<Digest, ApiError> {
    let (digest, asked_at) = (digest(auth, token), auth.clock.now());
    let link = MailLink {
        digest,
        subject: email.as_str().to_owned(),
        asked_by: client.clone(),
        challenge,
        asked_at,
        expires_at: asked_at.plus(CODE_LIFETIME),
    };
    auth.store.put_mail_link(&link).await.map_err(internal)?;
    Ok(digest)
}

/// What the link with this token is about. Says nothing of whether it has been used.
pub(crate) async fn find(auth: &AuthService, token: &OneTimeSecret) -> Result<MailLink, ApiError> {
    let link = auth.store.find_mail_link(&digest(auth, token)).await.map_err(internal)?.ok_or_else(invalid)?;
    if link.expires_at <= auth.clock.now() { Err(expired()) } else { Ok(link) }
}

/// Spends the link for a code that the browser carries to the app.
pub(crate) async fn trade(auth: &AuthService, token: &OneTimeSecret) -> Result<OneTimeSecret, ApiError> {
    let now = auth.clock.now();
    let code = auth.chance.with(|rng| OneTimeSecret::generate(rng));
    let digest = exchange::digest(auth, &code);
    let traded = auth.store.trade_link(&secret(auth, token), &digest, now.plus(EXCHANGE_LIFETIME), now).await;
    accepted(traded.map_err(internal)?).map(|()| code)
}

/// The address that the mail's link opens.
pub(crate) fn url(auth: &AuthService, token: &OneTimeSecret) -> Url {
    let mut url = auth.config.public_url.clone();
    let path = format!("{}/login/email/{}", url.path().trim_end_matches('/'), token.expose());
    url.set_path(&path);
    url
}

/// What is kept of a link's token.
pub(crate) fn digest(auth: &AuthService, token: &OneTimeSecret) -> Digest {
    auth.code_digests.digest(&["sign_in.email.link", token.expose()])
}

/// The answer to a token that was never sent, or has been used.
pub(crate) fn invalid() -> ApiError {
    ApiError::new(ErrorCode::InvalidCode, "This link is not right or has been used; request a new one")
}

fn expired() -> ApiError {
    ApiError::new(ErrorCode::CodeExpired, "This link is too old; request a new one")
}

fn secret(auth: &AuthService, token: &OneTimeSecret) -> LinkSecret {
    LinkSecret { purpose: CodePurpose::SignInByEmail, digest: digest(auth, token) }
}

fn accepted<T>(outcome: TradedLink<T>) -> Result<T, ApiError> {
    match outcome {
        TradedLink::Right(value) => Ok(value),
        TradedLink::NoLink => Err(invalid()),
        TradedLink::Expired => Err(expired()),
    }
}
