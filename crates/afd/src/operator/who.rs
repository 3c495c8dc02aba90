//! Users as operators name them.

use std::str::FromStr;

use anyhow::Context as _;
use domain::{EmailAddress, PhoneNumber, UserId};
use store::{MethodType, Store, User, WayIn};

/// A user's id, e-mail address or phone number.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    text: String,
    name: Name,
}

#[derive(Debug, Clone)]
enum Name {
    Id(UserId),
    WayIn(WayIn),
}

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let name = if text.contains('@') {
            let address: EmailAddress = text.parse().map_err(|error| format!("{error}"))?;
            Name::WayIn(WayIn::email(address.as_str()))
        } else if text.starts_with('+') {
            let number: PhoneNumber = text.parse().map_err(|error| format!("{error}"))?;
            let identifier = number.as_str().to_owned();
            Name::WayIn(WayIn { method: MethodType::Sms, provider: None, identifier })
        } else {
            Name::Id(text.parse().map_err(|_| "must be a user's id, e-mail address or phone number (+…)")?)
        };
        Ok(Self { text: text.to_owned(), name })
    }
}

impl Who {
    /// The user who is meant.
    pub(crate) async fn find(&self, store: &Store) -> anyhow::Result<User> {
        let found = match &self.name {
            Name::Id(id) => store.find_user(id).await?,
            Name::WayIn(way_in) => store.find_user_by_way_in(way_in).await?,
        };
        found.with_context(|| format!("there is no user {}", self.text))
    }

    /// The id of the user who is meant, who may be gone if they are named by it.
    pub(crate) async fn id(&self, store: &Store) -> anyhow::Result<UserId> {
        match &self.name {
            Name::Id(id) => Ok(id.clone()),
            Name::WayIn(_) => Ok(self.find(store).await?.id),
        }
    }
}
