//! Changing one's profile and ways in, and deleting the account.

use auth_api::{ErrorCode, Method, MethodsReply, ProfileRequest};
use domain::{AuthMethodId, EventId};
use store::{MarkedCredential, NewEvent, ProfileChange, UnlinkOutcome};
use url::Url;
use web::ApiError;

use crate::principal::Principal;
use crate::{AuthService, internal};

fn event(auth: &AuthService, caller: &Principal) -> NewEvent {
    caller.event(auth.chance.with(|rng| EventId::generate(rng)), auth.clock.now())
}

/// Changes the caller's profile.
pub(crate) async fn change(auth: &AuthService, caller: &Principal, request: ProfileRequest) -> Result<(), ApiError> {
    if let Some(Some(name)) = &request.display_name
        && (name.trim().is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control))
    {
        return Err(ApiError::validation("displayName", "must have 1 to 100 printable characters"));
    }
    if let Some(Some(url)) = &request.avatar_url {
        let is_web = Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        // The parser would take control characters; databases do not.
        if !is_web || url.len() > 2048 || url.chars().any(char::is_control) {
            return Err(ApiError::validation("avatarUrl", "must be an http or https URL of at most 2048 characters"));
        }
    }
    let change = ProfileChange { display_name: request.display_name, avatar_url: request.avatar_url };
    let event = event(auth, caller);
    auth.changing_user(&caller.user_id);
    auth.store.update_profile(&caller.user_id, &change, &event).await.map_err(internal)?;
    Ok(())
}

/// The caller's ways in.
pub(crate) async fn methods(auth: &AuthService, caller: &Principal) -> Result<MethodsReply, ApiError> {
    let methods = auth.store.list_methods(&caller.user_id).await.map_err(internal)?;
    let method = |method: store::AuthMethod| Method {
        id: method.id,
        kind: method.kind,
        provider: method.provider,
        identifier: method.identifier,
        verified: method.verified,
        is_primary: method.is_primary,
        created_at: method.created_at,
        last_used_at: method.last_used_at,
    };
    Ok(MethodsReply { methods: methods.into_iter().map(method).collect() })
}

/// Removes one of the caller's ways in, but never the last. The sessions that began with it end, but for the caller's:
/// when this returns, no instance accepts them.
pub(crate) async fn unlink(auth: &AuthService, caller: &Principal, id: &AuthMethodId) -> Result<(), ApiError> {
    let user_id = &caller.user_id;
    let event = event(auth, caller);
    let unlinking = auth.store.unlink_method(user_id, id, &event);
    auth.changing_user(user_id);
    match auth.revoking(&[MarkedCredential::Owner(user_id.clone())], unlinking).await? {
        UnlinkOutcome::Unlinked => Ok(()),
        UnlinkOutcome::Last => Err(ApiError::new(ErrorCode::LastAuthMethod, "The only way in cannot be removed")),
        UnlinkOutcome::NotFound => Err(ApiError::not_found()),
    }
}

/// Makes one of the caller's ways in the primary one.
pub(crate) async fn set_primary(auth: &AuthService, caller: &Principal, id: &AuthMethodId) -> Result<(), ApiError> {
    auth.changing_user(&caller.user_id);
    let set = auth.store.set_primary_method(&caller.user_id, id, &event(auth, caller)).await.map_err(internal)?;
    if set { Ok(()) } else { Err(ApiError::not_found()) }
}

/// Deletes the caller's account: when this returns, nothing of it is accepted anywhere. What it leaves goes soon after,
/// in batches.
pub(crate) async fn delete(auth: &AuthService, caller: &Principal) -> Result<(), ApiError> {
    let event = event(auth, caller);
    let deleting = auth.store.delete_user(&caller.user_id, &event);
    auth.changing_user(&caller.user_id);
    auth.revoking(&[MarkedCredential::Owner(caller.user_id.clone())], deleting).await?;
    Ok(())
}
