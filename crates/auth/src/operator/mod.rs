//! What operators do from the command line, beside the running service and with the same database.

mod import;
mod issue;

use std::sync::Arc;

use domain::audit::Actor;
use domain::{AuthMethodId, Chance, ClientInfo, Clock, EmailAddress, EventId, PhoneNumber, UserId};
use secrecy::SecretString;
use store::{FactorStatus, MethodType, NewEvent, NewUser, Store, StoreError, WayIn};

pub use import::OldToken;
pub use issue::{Issuer, IssuerError, WishedToken};

use crate::keys::Seal;
use crate::look::until_all_know_of;

/// Whether one of these secrets, those that the service is given, opens this user's second factor.
#[must_use]
pub fn opens_factor(sealing: &[SecretString], user_id: &UserId, factor: &FactorStatus) -> bool {
    sealing.iter().any(|secret| Seal::new(secret).open(user_id.as_str(), &factor.sealed_secret).is_some())
}

/// What the audit log calls the service by which operators act.
pub(crate) const SERVICE: &str = "afd";

/// Somebody who has the database.
pub struct Operator {
    store: Store,
    clock: Arc<dyn Clock>,
    chance: Chance,
    name: Option<String>,
}

impl Operator {
    /// `name` is who sits at the terminal, for the audit log.
    #[must_use]
    pub fn new(store: Store, clock: Arc<dyn Clock>, chance: Chance, name: Option<String>) -> Self {
        Self { store, clock, chance, name }
    }

    /// The database.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// An audit event of something that the operator does now.
    #[must_use]
    pub fn event(&self) -> NewEvent {
        let operator = self.name.iter().map(|name| ("operator".to_owned(), name.clone()));
        NewEvent {
            id: self.chance.with(|rng| EventId::generate(rng)),
            at: self.clock.now(),
            actor: Actor { service: Some(SERVICE.to_owned()), ..Actor::default() },
            client: ClientInfo::default(),
            metadata: operator.collect(),
        }
    }

    /// An account with these ways in, for which the operator vouches. The id is a new one where none is given.
    #[must_use]
    pub fn new_user(
        &self,
        id: Option<UserId>,
        display_name: Option<String>,
        email: Option<&EmailAddress>,
        phone: Option<&PhoneNumber>,
    ) -> NewUser {
        let email = email.map(|address| WayIn::email(address.as_str()));
        let phone = phone.map(|number| WayIn {
            method: MethodType::Sms,
            provider: None,
            identifier: number.as_str().to_owned(),
        });
        self.chance.with(|rng| NewUser {
            id: id.unwrap_or_else(|| UserId::generate(rng)),
            display_name,
            ways_in: [email, phone].into_iter().flatten().map(|way_in| (AuthMethodId::generate(rng), way_in)).collect(),
        })
    }

    /// Returns when no running service accepts any more what has just been taken away: every instance has forgotten
    /// its copies and says so, or trusts none.
    ///
    /// # Errors
    /// When the database cannot be written: what was changed stays so, but running services may not know yet.
    pub async fn until_noticed(&self) -> Result<(), StoreError> {
        until_all_know_of(&self.store).await
    }
}
