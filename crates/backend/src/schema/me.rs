//! Who one is.

use std::sync::Arc;

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use auth_api::Me;
use auth_client::AuthClient;

use super::date::Date;
use crate::caller::{Caller, Known};
use crate::error;

/// A person with an account.
#[derive(SimpleObject)]
struct User {
    /// The user's id.
    id: ID,
    /// The primary e-mail address.
    email: Option<String>,
    /// The phone number, E.164.
    phone: Option<String>,
    /// Always null until there are user names.
    username: Option<String>,
    /// The name that others see.
    display_name: Option<String>,
    /// A picture.
    avatar_url: Option<String>,
    /// The wallet's address.
    wallet_address: Option<String>,
    /// When the account came into being.
    created_at: Date,
    /// When the account was last changed.
    updated_at: Date,
}

#[derive(Default)]
pub(super) struct MeQuery;

#[Object]
impl MeQuery {
    /// The caller.
    async fn me(&self, context: &Context<'_>) -> Option<Result<User>> {
        // The result within the option: its error makes the field null and leaves its neighbours alone.
        Some(read(context).await)
    }
}

async fn read(context: &Context<'_>) -> Result<User> {
    let Known { end_user, me } = Caller::known(context)?;
    if let Some(me) = me {
        return Ok(me.clone().into());
    }
    let me = context.data::<Arc<AuthClient>>()?.me(end_user).await.map_err(error::of_call)?;
    Ok(me.into())
}

impl From<Me> for User {
    fn from(me: Me) -> Self {
        Self {
            id: me.id.as_str().into(),
            email: me.email,
            phone: me.phone,
            username: None,
            display_name: me.display_name,
            avatar_url: me.avatar_url,
            wallet_address: me.wallet_address,
            created_at: me.created_at.into(),
            updated_at: me.updated_at.into(),
        }
    }
}
