//! Who one is.

mod deletion;
mod described;
pub(crate) mod link;
pub(crate) mod manage;
pub(crate) mod reauthenticate;

use auth_api::{Me, MeReply};
use web::ApiError;

use store::User;

use crate::principal::Principal;
use crate::{AuthService, internal};

pub(crate) use deletion::Deletions;
pub(crate) use described::Descriptions;

/// The caller, as they see themselves.
pub(crate) async fn me(auth: &AuthService, caller: &Principal) -> Result<MeReply, ApiError> {
    let user = auth.store.find_user(&caller.user_id).await.map_err(internal)?.ok_or_else(ApiError::unauthorized)?;
    Ok(MeReply { user: shown(user), organizations: Vec::new() })
}

/// What users see of themselves.
fn shown(user: User) -> Me {
    Me {
        id: user.id,
        email: user.email,
        phone: user.phone,
        display_name: user.display_name,
        avatar_url: user.avatar_url,
        email_verified: user.email_verified,
        phone_verified: user.phone_verified,
        wallet_address: user.wallet_address,
        created_at: user.created_at,
        updated_at: user.updated_at,
        last_login_at: user.last_login_at,
    }
}
