//! Who is calling.

use std::sync::Arc;

use async_graphql::Context;
use auth_api::Me;
use auth_client::EndUser;

use crate::error;

/// Who is calling, as far as this request has proved.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// Nobody has said.
    Anonymous,
    /// The auth service has just vouched for them.
    User(Arc<Known>),
}

/// A user whom the auth service has just vouched for.
#[derive(Debug)]
pub(crate) struct Known {
    /// In whose name to call it.
    pub(crate) end_user: EndUser,
    /// How they see themselves, where it was asked and said so at once.
    pub(crate) me: Option<Me>,
}

impl Caller {
    /// The user, for fields that are somebody's own.
    pub(crate) fn user<'c>(context: &Context<'c>) -> Result<&'c EndUser, async_graphql::Error> {
        Self::known(context).map(|known| &known.end_user)
    }

    /// The same, with what the auth service has said of them.
    pub(crate) fn known<'c>(context: &Context<'c>) -> Result<&'c Known, async_graphql::Error> {
        match context.data()? {
            Self::User(known) => Ok(known),
            Self::Anonymous => {
                Err(error::new(error::UNAUTHENTICATED, "Sign in or send a token: Authorization: Bearer …").into())
            }
        }
    }
}
