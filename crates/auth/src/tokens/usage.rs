//! When and from where credentials were last used: merged in memory, written in batches. A validation never waits for
//! a write; a crash loses the last few seconds of it and nothing else.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::audit::Actor;
use domain::{Chance, ClientInfo, EventId, SessionId, Timestamp, UserId};
use store::{NewEvent, Store, StoreError, TokenUse};

use super::cache::CredentialId;

/// How a credential is used; what changes with every request. All copies of a credential share it.
pub(crate) struct Use {
    id: CredentialId,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    at: Option<Timestamp>,
    client: ClientInfo,
    /// Refused for being over its limit since the last flush: the first such request. In a box, for it is rare.
    limited: Option<Box<Limited>>,
    queued: bool,
}

struct Limited {
    user_id: UserId,
    at: Timestamp,
    client: ClientInfo,
}

impl Use {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Credentials used since they were last written down, each once, those that wait longest first.
#[derive(Default)]
pub(super) struct UsageLog(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    in_order: VecDeque<Arc<Use>>,
    by_id: HashSet<ById>,
}

/// Found by the credential's id.
struct ById(Arc<Use>);

impl Borrow<CredentialId> for ById {
    fn borrow(&self) -> &CredentialId {
        &self.0.id
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

/// Credentials that are written down in one transaction. While more are in use, each is written down the less often:
/// otherwise the database, and with it everybody who waits for it, would have to keep up with the validations.
const BATCH: usize = 2_000;

/// While more wait than this, batches follow each other without a pause: more and more credentials come into use, and
/// each that waits takes some 500 bytes.
const MANY: usize = 16_384;

/// Credentials that wait at most, some 32 MiB; of others the use is not noted until there is room again, which takes a
/// database that writes nothing for long.
const CAPACITY: usize = 65_536;

impl UsageLog {
    /// For a copy that has just been made. If the credential waits to be written down, it goes on waiting once: copies
    /// are made faster than they are written down, and would fill the memory.
    pub(super) fn of(&self, id: &CredentialId) -> Arc<Use> {
        let waiting = self.lock().by_id.get(id).map(|ById(waiting)| Arc::clone(waiting));
        waiting.unwrap_or_else(|| Arc::new(Use { id: id.clone(), state: Mutex::default() }))
    }

    /// Notes a request that was admitted.
    pub(super) fn used(&self, used: &Arc<Use>, client: &ClientInfo, now: Timestamp) {
        let is_token = matches!(used.id, CredentialId::Pat(_));
        self.note(used, |state| {
            state.at = Some(now);
            // Copying texts for every request would cost more than all the rest of this; the address tells enough
            // about whether anything is new.
            if state.client.ip != client.ip && is_token {
                state.client = client.clone();
            }
        });
    }

    /// Notes a request that was refused for being one too many.
    pub(super) fn limited(&self, used: &Arc<Use>, user_id: &UserId, client: &ClientInfo, now: Timestamp) {
        self.note(used, |state| {
            let limited = || Limited { user_id: user_id.clone(), at: now, client: client.clone() };
            state.limited.get_or_insert_with(|| limited().into());
        });
    }

    fn note(&self, used: &Arc<Use>, change: impl FnOnce(&mut State)) {
        let mut state = used.lock();
        if !state.queued {
            let mut waiting = self.lock();
            if waiting.in_order.len() >= CAPACITY {
                return;
            }
            waiting.in_order.push_back(Arc::clone(used));
            waiting.by_id.insert(ById(Arc::clone(used)));
            state.queued = true;
        }
        change(&mut state);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many credentials wait to be written down.
    pub(super) fn len(&self) -> usize {
        self.lock().in_order.len()
    }

    /// Whether so many wait that they should not wait for the next time.
    pub(super) fn has_many(&self) -> bool {
        self.len() > MANY
    }

    fn take(&self) -> Vec<Arc<Use>> {
        let mut waiting = self.lock();
        let batch = waiting.in_order.len().min(BATCH);
        let taken: Vec<_> = waiting.in_order.drain(..batch).collect();
        for used in &taken {
            waiting.by_id.remove(&used.id);
        }
        if waiting.in_order.len() < waiting.in_order.capacity() / 4 {
            waiting.in_order.shrink_to(BATCH);
            waiting.by_id.shrink_to(BATCH);
        }
        taken
    }

    /// Writes down what has been noted of those credentials that have waited longest. What cannot be written stays
    /// noted for the next time.
    pub(super) async fn flush(&self, store: &Store, chance: &Chance) -> Result<(), StoreError> {
        let credentials = self.take();
        let mut uses = Vec::new();
        let mut seen = Vec::new();
        let mut limited = Vec::new();
        for credential in &credentials {
            let mut state = credential.lock();
            state.queued = false;
            let used_at = state.at.take();
            match &credential.id {
                CredentialId::Session(id) => seen.extend(used_at.map(|at| (id.clone(), at))),
                CredentialId::Pat(token_id) => {
                    let event_id = || chance.with(|rng| EventId::generate(rng));
                    // Taken out, or every credential that was ever used would keep the texts of its last client.
                    let client = mem::take(&mut state.client);
                    uses.extend(used_at.map(|at| TokenUse {
                        token_id: token_id.clone(),
                        at,
                        client,
                        event_id: event_id(),
                    }));
                    if let Some(first) = state.limited.take() {
                        let Limited { user_id, at, client } = *first;
                        let actor = Actor { token_id: Some(token_id.clone()), ..Actor::default() };
                        let metadata = [("tokenId".to_owned(), token_id.to_string())].into();
                        limited.push((credential, user_id, NewEvent { id: event_id(), at, actor, client, metadata }));
                    }
                }
            }
        }

        let mut unwritten = limited.as_slice();
        let written = async {
            store.record_token_uses(&uses).await?;
            store.touch_sessions(&seen).await?;
            while let [(_, user_id, event), rest @ ..] = unwritten {
                store.record_token_limited(user_id, event).await?;
                unwritten = rest;
            }
            Ok(())
        };
        let outcome = written.await;
        if outcome.is_err() {
            for (credential, user_id, event) in unwritten {
                self.limited(credential, user_id, &event.client, event.at);
            }
            self.note_again(&credentials, uses, &seen);
        }
        outcome
    }

    fn note_again(&self, credentials: &[Arc<Use>], uses: Vec<TokenUse>, seen: &[(SessionId, Timestamp)]) {
        let mut uses: HashMap<_, _> = uses.into_iter().map(|used| (used.token_id, (used.at, used.client))).collect();
        let seen: HashMap<_, _> = seen.iter().map(|(id, at)| (id, *at)).collect();
        for credential in credentials {
            let noted = match &credential.id {
                CredentialId::Pat(id) => uses.remove(id),
                CredentialId::Session(id) => seen.get(id).map(|at| (*at, ClientInfo::default())),
            };
            if let Some((at, client)) = noted {
                self.note(credential, |state| {
                    // What was noted meanwhile is newer.
                    if state.at.is_none() {
                        (state.at, state.client) = (Some(at), client);
                    }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_copies_are_made_a_credential_waits_once() {
        let log = UsageLog::default();
        let id = CredentialId::Pat("token".parse().unwrap());
        let now = Timestamp::from_seconds(0);
        for _ in 0..10 {
            log.used(&log.of(&id), &ClientInfo::default(), now);
        }
        let waiting = log.of(&id);
        assert!(waiting.lock().queued);
        let taken = log.take();
        assert!(matches!(taken.as_slice(), [taken] if Arc::ptr_eq(taken, &waiting)));
        assert_eq!(log.len(), 0);
        assert!(!Arc::ptr_eq(&log.of(&id), &waiting));
    }

    #[test]
    fn no_more_wait_than_there_is_room_for_and_nothing_is_kept_of_who_used_what() {
        let log = UsageLog::default();
        let id = |number: usize| CredentialId::Pat(format!("t{number}").parse().unwrap());
        let (client, now) =
            (ClientInfo { ip: "192.0.2.1".parse().ok(), ..Default::default() }, Timestamp::from_seconds(0));
        let first = log.of(&id(0));
        log.used(&first, &client, now);
        for number in 1..CAPACITY + 10 {
            log.used(&log.of(&id(number)), &client, now);
        }
        assert!(log.len() == CAPACITY && log.has_many());
        assert!(log.of(&id(CAPACITY)).lock().at.is_none(), "there was no room");
        log.used(&first, &client, Timestamp::from_seconds(1));
        assert_eq!(first.lock().at, Some(Timestamp::from_seconds(1)), "it has its place");
        while !log.take().is_empty() {}
        let waiting = log.lock();
        assert!(waiting.in_order.capacity() <= 2 * BATCH && waiting.by_id.capacity() <= 4 * BATCH);
    }
}
