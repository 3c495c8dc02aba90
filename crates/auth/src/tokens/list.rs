//! Showing tokens.

use auth_api::{TokenSummary, TokensReply};
use web::ApiError;

use crate::principal::Principal;
use crate::{AuthService, no_list};

/// The caller's tokens, newest first, expired ones among them until they are removed.
pub(crate) async fn list(auth: &AuthService, caller: &Principal) -> Result<TokensReply, ApiError> {
    let tokens = auth.store.list_tokens(&caller.user_id).await.map_err(no_list(auth))?;
    let summary = |token: store::Token| TokenSummary {
        id: token.id,
        name: token.name.to_string(),
        prefix: token.prefix,
        scopes: token.scopes,
        allowed_ips: token.allowed_ips,
        expires_at: token.expires_at,
        last_used_at: token.last_used_at,
        created_at: token.created_at,
        updated_at: token.updated_at,
    };
    Ok(TokensReply { tokens: tokens.into_iter().map(summary).collect() })
}
