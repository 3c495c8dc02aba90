//! Setting the second factor up, enabling and disabling it.

use std::time::Duration;

use auth_api::{ErrorCode, MfaEnabledReply, MfaSetupReply, MfaStatusReply};
use domain::{Digest, EventId, Limit, UserId};
use qrcode::QrCode;
use qrcode::render::svg;
use secrecy::{ExposeSecret, SecretSlice};
use store::{Factor, Guessed, NewEvent, SecondProof, User};
use url::form_urlencoded::byte_serialize;
use web::ApiError;

use super::backup::{self, BackupCode};
use super::{ShownCode, note_failure, totp, wants_two, wrong};
use crate::principal::Principal;
use crate::{AuthService, internal};

/// The length that RFC 4226 recommends.
const SECRET_LENGTH: usize = 20;
/// Pixels of a side of the QR code at least, unless whoever shows it scales it.
const QR_SIDE: u32 = 240;

/// Makes a secret, which sign-ins ask for once a code of it was shown to [`enable`].
pub(crate) async fn setup(auth: &AuthService, caller: &Principal) -> Result<MfaSetupReply, ApiError> {
    let user = auth.store.find_user(&caller.user_id).await.map_err(internal)?.ok_or_else(ApiError::unauthorized)?;
    let mut secret = vec![0u8; SECRET_LENGTH];
    auth.chance.with(|rng| rng.fill_bytes(&mut secret));
    let secret = SecretSlice::from(secret);
    let seal = &auth.seals[0];
    let sealed = seal.seal(user.id.as_str(), &secret);
    if !auth.store.put_factor(&user.id, &sealed, seal.id(), &event(auth, caller)).await.map_err(internal)? {
        return Err(enabled_already());
    }
    let secret = totp::base32(secret.expose_secret());
    let otpauth_url = otpauth_url(auth.templates.product(), account_name(&user), &secret);
    let qr = QrCode::new(&otpauth_url).map_err(|error| ApiError::internal(&error))?;
    let qr_svg = qr.render::<svg::Color<'_>>().min_dimensions(QR_SIDE, QR_SIDE).build();
    Ok(MfaSetupReply { secret, otpauth_url, qr_svg })
}

/// From now on sign-ins ask for a second factor.
pub(crate) async fn enable(
    auth: &AuthService,
    caller: &Principal,
    code: &ShownCode,
) -> Result<MfaEnabledReply, ApiError> {
    let user_id = &caller.user_id;
    let factor = auth.store.find_factor(user_id).await.map_err(internal)?.ok_or_else(not_set_up)?;
    if factor.is_enabled {
        return Err(enabled_already());
    }
    // What nobody can open any more was never enabled: it is set up anew.
    let secret = unseal(auth, user_id, &factor).ok_or_else(not_set_up)?;
    let proof = guess(auth, caller, code, &factor).await?;
    let Some(SecondProof::Step(step) | SecondProof::TwoSteps(step)) = proof else { return Err(wrong()) };
    let codes = backup::generate(auth);
    let digests: Vec<Digest> = codes.iter().map(|code| code.digest(&secret, user_id)).collect();
    let event = event(auth, caller);
    if !auth.store.enable_factor(user_id, &factor, step, &digests, &event).await.map_err(internal)? {
        return Err(ApiError::new(ErrorCode::Conflict, "The second factor was changed meanwhile"));
    }
    Ok(MfaEnabledReply { success: true, backup_codes: codes.iter().map(BackupCode::show).collect() })
}

/// From now on sign-ins ask for no second factor.
pub(crate) async fn disable(auth: &AuthService, caller: &Principal, code: &ShownCode) -> Result<(), ApiError> {
    let user_id = &caller.user_id;
    let factor = auth.store.find_factor(user_id).await.map_err(internal)?;
    let factor = factor.filter(|factor| factor.is_enabled).ok_or_else(not_enabled)?;
    let event = event(auth, caller);
    let disabled = match guess(auth, caller, code, &factor).await? {
        None => false,
        Some(proof) => auth.store.disable_factor(user_id, &proof, &event).await.map_err(internal)?,
    };
    code.note(auth, disabled);
    if disabled {
        return Ok(());
    }
    note_failure(auth, user_id, &event).await?;
    Err(wrong())
}

/// How the caller's second factor is.
pub(crate) async fn status(auth: &AuthService, caller: &Principal) -> Result<MfaStatusReply, ApiError> {
    let status = auth.store.factor_status(&caller.user_id).await.map_err(internal)?;
    // One that waits to be enabled protects nothing yet.
    let enabled = status.filter(|status| status.enabled_at.is_some());
    Ok(MfaStatusReply {
        enabled: enabled.is_some(),
        enabled_at: enabled.as_ref().and_then(|status| status.enabled_at),
        backup_codes_left: enabled.map_or(0, |status| status.backup_codes_left),
    })
}

/// New backup codes in the place of all that are left.
pub(crate) async fn replace_backup_codes(
    auth: &AuthService,
    caller: &Principal,
    code: &ShownCode,
) -> Result<MfaEnabledReply, ApiError> {
    let user_id = &caller.user_id;
    let factor = auth.store.find_factor(user_id).await.map_err(internal)?;
    let factor = factor.filter(|factor| factor.is_enabled).ok_or_else(not_enabled)?;
    let event = event(auth, caller);
    let secret = open(auth, user_id, &factor)?;
    let codes = backup::generate(auth);
    let digests: Vec<Digest> = codes.iter().map(|code| code.digest(&secret, user_id)).collect();
    let replaced = match guess(auth, caller, code, &factor).await? {
        None => false,
        Some(proof) => {
            auth.store.replace_backup_codes(user_id, &factor, &proof, &digests, &event).await.map_err(internal)?
        }
    };
    code.note(auth, replaced);
    if replaced {
        return Ok(MfaEnabledReply { success: true, backup_codes: codes.iter().map(BackupCode::show).collect() });
    }
    note_failure(auth, user_id, &event).await?;
    Err(wrong())
}

/// What a session may guess; each wrong one is an event in the audit log. Of this session alone: nobody else can use it
/// up, and whoever has lost it to a thief signs in again.
const GUESSES_OF_A_SESSION: Limit = Limit { count: 5, window: Duration::from_mins(15) };

/// Counts a guess that a session makes, if it is one that could be right by chance, and what it proves. Others' guesses
/// shut the session out of nothing: at worst two codes are asked for.
async fn guess(
    auth: &AuthService,
    caller: &Principal,
    code: &ShownCode,
    factor: &Factor,
) -> Result<Option<SecondProof>, ApiError> {
    let session = caller.actor.session_id.as_ref().map_or("", |id| id.as_str());
    auth.admit_from_anywhere(&format!("mfa:{session}"), GUESSES_OF_A_SESSION).await?;
    if code.guessed() == Guessed::OneStep {
        let (by, now) = (caller.actor.session_id.as_ref(), auth.clock.now());
        if !auth.store.count_totp_guess(&caller.user_id, by, now).await.map_err(internal)? {
            return Err(wants_two());
        }
    }
    code.prove(auth, &caller.user_id, factor)
}

/// The secret behind the codes. Where the service's own secret was replaced and the old one is gone, nothing can be
/// checked against it, neither a code nor a backup code, whose digests hang on it. Nobody passes without it, and it is no
/// failure that would pass or that whoever reads the log could mend: the operator has to reset it.
pub(super) fn open(auth: &AuthService, user_id: &UserId, factor: &Factor) -> Result<SecretSlice<u8>, ApiError> {
    unseal(auth, user_id, factor).ok_or_else(|| {
        tracing::warn!(%user_id, "a second factor was sealed under a secret that is not configured");
        let message = "This second factor cannot be checked any more; ask whoever runs this service to reset it";
        ApiError::new(ErrorCode::Unavailable, message)
    })
}

fn unseal(auth: &AuthService, user_id: &UserId, factor: &Factor) -> Option<SecretSlice<u8>> {
    auth.seals.iter().find_map(|seal| seal.open(user_id.as_str(), &factor.sealed_secret))
}

fn event(auth: &AuthService, caller: &Principal) -> NewEvent {
    caller.event(auth.chance.with(|rng| EventId::generate(rng)), auth.clock.now())
}

/// What the authenticator app lists the account as.
fn account_name(user: &User) -> &str {
    let names = [&user.email, &user.phone, &user.wallet_address];
    names.into_iter().find_map(|name| name.as_deref()).unwrap_or_else(|| user.id.as_str())
}

fn otpauth_url(product: &str, account: &str, secret: &str) -> String {
    // Apps read a plus sign as one, not as a space.
    let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20");
    let (product, account) = (encode(product), encode(account));
    format!("otpauth://totp/{product}:{account}?secret={secret}&issuer={product}&algorithm=SHA1&digits=6&period=30")
}

fn enabled_already() -> ApiError {
    ApiError::new(ErrorCode::Conflict, "The second factor is enabled already")
}

fn not_set_up() -> ApiError {
    ApiError::new(ErrorCode::Conflict, "The second factor has not been set up")
}

fn not_enabled() -> ApiError {
    ApiError::new(ErrorCode::Conflict, "The second factor is not enabled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_holds_any_name() {
        assert_eq!(
            otpauth_url("A & B", "ann+x@example.com", "MZXW6"),
            "otpauth://totp/A%20%26%20B:ann%2Bx%40example.com?secret=MZXW6&issuer=A%20%26%20B&algorithm=SHA1&digits=6\
             &period=30"
        );
    }
}
