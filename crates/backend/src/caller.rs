//! Who is calling.

use std::sync::Arc;

use async_graphql::Context;
use auth_client::EndUser;

use crate::error;

/// Who is calling, as far as this request has proved.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// Nobody has said.
    Anonymous,
    /// The auth service has just vouched for them.
    User(Arc<EndUser>),
}

impl Caller {
    /// The user, for fields that are somebody's own.
    pub(crate) fn user<'c>(context: &Context<'c>) -> Result<&'c EndUser, async_graphql::Error> {
        match context.data()? {
            Self::User(user) => Ok(user),
            Self::Anonymous => {
                Err(error::new(error::UNAUTHENTICATED, "Sign in or send a token: Authorization: Bearer …").into())
            }
        }
    }
}
