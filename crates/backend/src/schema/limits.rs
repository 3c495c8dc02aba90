//! How many tokens there are and may be.

use std::sync::Arc;

use async_graphql::{Context, Object, Result, SimpleObject};
use auth_client::AuthClient;

use super::date::Date;
use crate::caller::Caller;
use crate::error;

/// How many personal access tokens the caller has and may still create.
#[derive(SimpleObject)]
struct ApiKeyRateLimit {
    /// How many may still be created or rotated before `resetAt`.
    remaining: u32,
    /// How many may be created or rotated in any 24 hours.
    limit: u32,
    /// When the first of those counted leaves the 24 hours.
    reset_at: Date,
    /// How many there are that have not expired.
    active_tokens: u32,
    /// How many of them there may be.
    max_active_tokens: u32,
}

#[derive(Default)]
pub(super) struct LimitsQuery;

#[Object]
impl LimitsQuery {
    /// How many personal access tokens the caller has and may still create. Asking does not count.
    async fn api_key_rate_limit(&self, context: &Context<'_>) -> Result<ApiKeyRateLimit> {
        let user = Caller::user(context)?;
        let limits = context.data::<Arc<AuthClient>>()?.limits(user).await.map_err(error::of_call)?;
        Ok(ApiKeyRateLimit {
            remaining: limits.rate_limit.remaining,
            limit: limits.rate_limit.limit,
            reset_at: limits.rate_limit.reset_at.into(),
            active_tokens: limits.token_limit.active,
            max_active_tokens: limits.token_limit.max,
        })
    }
}
