//! From a one-time code that came with a browser to a session. Whatever was proved in the browser ends here.

use std::time::Duration;

use auth_api::{ErrorCode, SignInReply};
use domain::{ClientInfo, CodeVerifier, Digest, OneTimeSecret};
use store::ExchangeOutcome;
use url::Url;
use web::ApiError;

use super::{Planned, plan_kept, reply};
use crate::{AuthService, internal};

/// How long an exchange code works: a browser follows a redirect at once.
pub(crate) const EXCHANGE_LIFETIME: Duration = Duration::from_mins(1);

/// Signs in with an exchange code, and with the verifier where whoever began the sign-in gave a challenge.
pub(crate) async fn exchange(
    auth: &AuthService,
    client: &ClientInfo,
    code: &OneTimeSecret,
    verifier: Option<&CodeVerifier>,
) -> Result<SignInReply, ApiError> {
    let Planned { sign_in, mfa_token } = plan_kept(auth, client);
    let challenge = verifier.map(CodeVerifier::challenge);
    let redeemed = auth.store.redeem_exchange_code(&digest(auth, code), challenge.as_ref(), &sign_in).await;
    match redeemed.map_err(internal)? {
        ExchangeOutcome::Right(outcome) => reply(auth, &mfa_token, outcome),
        ExchangeOutcome::Expired => Err(ApiError::new(ErrorCode::CodeExpired, "This code is too old; sign in again")),
        // Whoever stole the code learns no more than that it is of no use, which it is to everybody by now.
        ExchangeOutcome::NotTheirs | ExchangeOutcome::NoCode => Err(invalid()),
    }
}

/// The answer to a code that was never given out, or has been used.
pub(crate) fn invalid() -> ApiError {
    ApiError::new(ErrorCode::InvalidCode, "This code is not right or has been used")
}

/// What is kept of an exchange code.
pub(crate) fn digest(auth: &AuthService, code: &OneTimeSecret) -> Digest {
    auth.code_digests.digest(&["exchange", code.expose()])
}

/// Where the browser takes the code. A query that is there stays.
pub(crate) fn with_code(target: &Url, code: &OneTimeSecret) -> Url {
    let mut target = target.clone();
    target.query_pairs_mut().append_pair("code", code.expose());
    target
}
