//! When and from where credentials were last used: merged in memory, written in batches. A validation never waits for
//! a write; a crash loses the last few seconds of it and nothing else.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::audit::EventType;
use domain::{Chance, ClientInfo, EventId, Timestamp};
use store::{NewEvent, SessionUse, Store, StoreError, TokenUse};

use super::cache::{Credential, CredentialId};

/// The part of a cached credential that changes with every request.
#[derive(Default)]
pub(crate) struct Use(Mutex<State>);

#[derive(Default)]
struct State {
    at: Option<Timestamp>,
    client: ClientInfo,
    /// Refused for being over its limit since the last flush: the first such request.
    limited: Option<(Timestamp, ClientInfo)>,
    queued: bool,
}

impl Use {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Credentials used since the last flush, each once.
#[derive(Default)]
pub(super) struct UsageLog(Mutex<Vec<Arc<Credential>>>);

impl UsageLog {
    /// Notes a request that was admitted.
    pub(super) fn used(&self, credential: &Arc<Credential>, client: &ClientInfo, now: Timestamp) {
        self.note(credential, |state| {
            state.at = Some(now);
            // Copying texts for every request would cost more than all the rest of this; the address tells enough
            // about whether anything is new.
            if state.client.ip != client.ip {
                state.client = client.clone();
            }
        });
    }

    /// Notes a request that was refused for being one too many.
    pub(super) fn limited(&self, credential: &Arc<Credential>, client: &ClientInfo, now: Timestamp) {
        self.note(credential, |state| {
            state.limited.get_or_insert_with(|| (now, client.clone()));
        });
    }

    fn note(&self, credential: &Arc<Credential>, change: impl FnOnce(&mut State)) {
        let mut state = credential.last_use.lock();
        change(&mut state);
        if !std::mem::replace(&mut state.queued, true) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(credential));
        }
    }

    /// Writes down what has been noted since the last time. What cannot be written now stays noted.
    pub(super) async fn flush(&self, store: &Store, chance: &Chance) -> Result<(), StoreError> {
        let credentials = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut tokens = Vec::new();
        let mut sessions = Vec::new();
        let mut events = Vec::new();
        for credential in &credentials {
            let mut state = credential.last_use.lock();
            state.queued = false;
            if let Some((at, client)) = state.limited.take()
                && let CredentialId::Pat(id) = &credential.id
            {
                let event_id = chance.with(|rng| EventId::generate(rng));
                let event = NewEvent::new(event_id, EventType::TokenLimited, at)
                    .of_user(credential.user_id.clone())
                    .from_client(client)
                    .with("tokenId", id.as_str());
                events.push(event);
            }
            let Some(at) = state.at.take() else { continue };
            match &credential.id {
                CredentialId::Pat(id) => tokens.push(TokenUse {
                    token_id: id.clone(),
                    at,
                    client: state.client.clone(),
                    event_id: chance.with(|rng| EventId::generate(rng)),
                }),
                CredentialId::Session(id) => sessions.push(SessionUse { session_id: id.clone(), at }),
            }
        }
        let written = async {
            store.record_token_uses(&tokens).await?;
            store.touch_sessions(&sessions).await?;
            store.append_events(&events).await
        };
        let outcome = written.await;
        if outcome.is_err() {
            for (credential, used) in credentials.iter().filter_map(|credential| {
                let used = tokens.iter().find(|used| credential.id.as_str() == used.token_id.as_str())?;
                Some((credential, used))
            }) {
                self.note(credential, |state| state.at = state.at.max(Some(used.at)));
            }
        }
        outcome
    }
}
