//! Reports of tokens that were found where they should not be. Everything is done after the reply, so that the reply
//! says nothing about the token, not even by the time that it takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::audit::Actor;
use domain::{ClientInfo, EventId, Limit, Timestamp};
use limiter::Verdict;
use secrecy::{ExposeSecret, SecretString};
use store::{FoundToken, LeakRemedy, MarkedCredential, NewEvent};
use tokio::sync::Semaphore;
use url::Url;
use web::ApiError;

use super::validate::Rejection;
use crate::notify::LeakMail;
use crate::{AuthService, internal};

/// What becomes of a token that was reported: `LEAK_POLICY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeakPolicy {
    /// It is revoked, and its owner told.
    #[default]
    Revoke,
    /// Its owner is told, and decides.
    Notify,
}

/// Reports that wait or are worked on at most; beyond, the service says that it cannot take one now.
const MAX_WAITING: u32 = 1000;
/// Of those, so many at a time.
const AT_A_TIME: usize = 4;
/// How often the owner is told of one token that stays.
const TELL: Limit = Limit::per_day(1);
const MAX_URL_BYTES: usize = 2048;

/// The reports that are under way.
pub(crate) struct LeakReports {
    waiting: Arc<Semaphore>,
    working: Semaphore,
}

impl LeakReports {
    pub(crate) fn new() -> Self {
        Self { waiting: Arc::new(Semaphore::new(MAX_WAITING as usize)), working: Semaphore::new(AT_A_TIME) }
    }

    /// Returns when none is under way.
    pub(crate) async fn finish(&self) {
        let _ = self.waiting.acquire_many(MAX_WAITING).await;
    }
}

/// Takes the report in; what follows from it, follows after the reply.
///
/// # Errors
/// 503 when too many wait.
pub(crate) fn report(
    auth: &Arc<AuthService>,
    client: &ClientInfo,
    token: SecretString,
    url: Option<&str>,
) -> Result<(), ApiError> {
    let place = Arc::clone(&auth.leak_reports.waiting).try_acquire_owned();
    let place = place.map_err(|_| ApiError::unavailable(&"too many leak reports wait"))?;
    let (auth, client, url) = (Arc::clone(auth), client.clone(), url.and_then(clean_url));
    tokio::spawn(async move {
        let _place = place;
        let Ok(_turn) = auth.leak_reports.working.acquire().await else { return };
        // The cause is in the log.
        if follow(&auth, &client, &token, url.as_deref()).await.is_err() {
            tracing::error!("a leak report could not be followed");
        }
    });
    Ok(())
}

async fn follow(
    auth: &AuthService,
    client: &ClientInfo,
    token: &SecretString,
    url: Option<&str>,
) -> Result<(), ApiError> {
    let presented = token.expose_secret();
    if !auth.validator.is_token(presented) {
        return Ok(());
    }
    let now = auth.clock.now();
    let Some(found) =
        auth.validator.find_token(presented, client).await.map_err(unknown)?.filter(|found| is_live(found, now))
    else {
        return Ok(());
    };
    let remedy = match auth.config.leak_policy {
        // Its owner has replaced it already; to delete the token would take the new secret from them as well.
        _ if found.secret.valid_until.is_some() => LeakRemedy::EndSecret,
        LeakPolicy::Revoke => LeakRemedy::Revoke,
        LeakPolicy::Notify => LeakRemedy::Tell,
    };
    if remedy == LeakRemedy::Tell {
        let key = format!("leak:{}", found.token.id);
        let told = auth.limiter.admit(&key, TELL, auth.clock.steady()).await;
        let Verdict::Admitted(_) = told else { return Ok(()) };
    }
    let mut metadata = BTreeMap::from([("name".to_owned(), found.token.name.to_string())]);
    metadata.extend(url.map(|url| ("url".to_owned(), url.to_owned())));
    let event = NewEvent {
        id: auth.chance.with(|rng| EventId::generate(rng)),
        at: now,
        actor: Actor::default(),
        client: client.clone(),
        metadata,
    };
    let (user_id, id) = (&found.token.user_id, &found.token.id);
    let recording = auth.store.record_leak(user_id, id, &found.secret.id, remedy, &event);
    if let Some(remedy) = auth.revoking(&[MarkedCredential::Token(id.clone())], recording).await? {
        tell(auth, &found, remedy, url).await;
    }
    Ok(())
}

fn unknown(rejection: Rejection) -> ApiError {
    match rejection {
        Rejection::Unavailable(error) => internal(error),
        other => ApiError::internal(&format!("looking for a token ended in {other:?}")),
    }
}

fn is_live(found: &FoundToken, now: Timestamp) -> bool {
    let ends = [found.token.expires_at, found.secret.valid_until];
    found.owner.disabled_at.is_none() && ends.into_iter().flatten().all(|end| now < end)
}

/// A mail that cannot be sent changes nothing about what was done.
async fn tell(auth: &AuthService, found: &FoundToken, remedy: LeakRemedy, url: Option<&str>) {
    let address = found.owner.email.as_deref().and_then(|email| email.parse().ok());
    let (Some(mailer), Some(to)) = (&auth.mailer, address) else { return };
    let mail = LeakMail { to: &to, token: found.token.name.as_str(), prefix: &found.token.prefix, remedy, url };
    let sent = match auth.templates.leak(&mail) {
        Ok(mail) => mailer.send(mail).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = sent {
        tracing::error!(error, token_id = %found.token.id, "the owner of a leaked token could not be told");
    }
}

/// Where it was found, if that is an address of the web; it goes to a person, so nothing else does.
fn clean_url(text: &str) -> Option<String> {
    let url =
        Url::parse(text).ok().filter(|url| text.len() <= MAX_URL_BYTES && matches!(url.scheme(), "http" | "https"))?;
    Some(url.to_string())
}
