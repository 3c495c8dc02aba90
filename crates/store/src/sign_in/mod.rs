//! From a proven way in to a session: the part that all kinds of sign-in share, within their transaction.

mod account;

use domain::audit::{Actor, EventType};
use domain::wallet::WalletAddress;
use domain::{AuthMethodId, ClientInfo, Digest, EventId, Timestamp, UserId};
use sqlx::AnyConnection;

use self::account::{Account, Newcomer};
use crate::audit::{NewEvent, record};
use crate::rows::{Columns, app};
use crate::sessions::{self, NewSession, Session};
use crate::users::User;
use crate::{StoreError, known_devices, method_changes, methods};

/// How somebody can prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodType {
    /// A code or link sent by e-mail.
    Email,
    /// A code sent by SMS.
    Sms,
    /// A message signed by a wallet; the provider is `ethereum` or `solana`.
    Wallet,
    /// An account at a provider; the identifier is its id there.
    OAuth,
}

impl MethodType {
    /// The type's name on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "sms",
            Self::Wallet => "wallet",
            Self::OAuth => "oauth",
        }
    }

    /// The type of this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Email, Self::Sms, Self::Wallet, Self::OAuth].into_iter().find(|method| method.as_str() == name)
    }
}

/// What leads to one account, whoever presents it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayIn {
    /// The kind of proof.
    pub method: MethodType,
    /// Who vouches for it, with OAuth.
    pub provider: Option<String>,
    /// The address, number or account, normalised.
    pub identifier: String,
}

impl WayIn {
    /// The way in by this normalised e-mail address.
    #[must_use]
    pub fn email(address: &str) -> Self {
        Self { method: MethodType::Email, provider: None, identifier: address.to_owned() }
    }

    /// The way in by this wallet; the provider is its chain.
    #[must_use]
    pub fn wallet(address: &WalletAddress) -> Self {
        let provider = Some(address.chain().as_str().to_owned());
        Self { method: MethodType::Wallet, provider, identifier: address.to_string() }
    }
}

/// A sign-in that succeeds if the proof does.
#[derive(Debug, Clone)]
pub struct NewSignIn {
    /// The present moment.
    pub at: Timestamp,
    /// What is being proved.
    pub way_in: WayIn,
    /// What the provider vouches for, for an account that does not exist yet.
    pub profile: Profile,
    /// From where.
    pub client: ClientInfo,
    /// A keyed digest of the program and the network.
    pub device: Digest,
    /// What the client gets in the place of a session while a second factor is awaited.
    pub mfa: NewMfaChallenge,
    /// The session to begin.
    pub session: NewSession,
    /// The user's id, if the account does not exist yet.
    pub user_id: UserId,
    /// The way in's id, if the account does not exist yet.
    pub method_id: AuthMethodId,
    /// The id of the way in by the profile's address, if the account does not exist yet.
    pub email_method_id: AuthMethodId,
    /// The id of `method.unlinked`, if the way in is one of an account that never proved it.
    pub released: EventId,
    /// The id of `user.created`, if the account does not exist yet.
    pub user_created: EventId,
    /// The id of `sign_in.succeeded` or `sign_in.failed`.
    pub signed_in: EventId,
}

/// What a provider tells about somebody. An address that it has not verified is not here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// A verified e-mail address, normalised. It leads to the account that has it, if there is one.
    pub email: Option<String>,
    /// The name that others see.
    pub display_name: Option<String>,
    /// A picture.
    pub avatar_url: Option<String>,
}

/// A sign-in that waits for its second factor.
#[derive(Debug, Clone)]
pub struct NewMfaChallenge {
    /// The keyed digest of the `mfaToken`.
    pub digest: Digest,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// What a right proof led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignInOutcome {
    /// A session.
    SignedIn(Box<SignedIn>),
    /// The user has a second factor; the challenge was kept and no session begun.
    MfaRequired,
    /// The user is disabled.
    Disabled,
}

/// Somebody is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// Who.
    pub user: User,
    /// The session that began.
    pub session: Session,
    /// Whether the account came into being just now.
    pub user_created: bool,
}

/// The id of the user that the way in leads to.
pub(crate) async fn find_user_id(tx: &mut AnyConnection, way_in: &WayIn) -> Result<Option<UserId>, StoreError> {
    let row = sqlx::query(
        "SELECT user_id FROM auth_methods WHERE app_id = $1 AND type = $2 AND provider = $3 AND identifier = $4",
    )
    .bind(app())
    .bind(way_in.method.as_str())
    .bind(way_in.provider.as_deref().unwrap_or_default())
    .bind(way_in.identifier.as_str())
    .fetch_optional(tx)
    .await?;
    row.map(|row| row.parsed("user_id")).transpose()
}

/// Finds or creates the user and begins the session, or awaits the second factor. The caller has checked the proof and
/// spent it in this very transaction.
pub(crate) async fn complete(tx: &mut AnyConnection, sign_in: &NewSignIn) -> Result<SignInOutcome, StoreError> {
    let FirstProof::Right(proved) = prove(tx, sign_in, Newcomer::Welcome).await? else {
        return Ok(SignInOutcome::Disabled);
    };
    let Proved { user, entry, has_second_factor } = *proved;
    if has_second_factor {
        await_second_factor(tx, sign_in, &user.id, &entry).await?;
        return Ok(SignInOutcome::MfaRequired);
    }
    let session = begin_session(tx, sign_in, &user.id, &entry, false).await?;
    let user = User { last_login_at: Some(sign_in.at), ..user };
    Ok(SignInOutcome::SignedIn(Box::new(SignedIn { user, session, user_created: entry.is_first })))
}

/// Somebody who has given the first proof.
struct Proved {
    user: User,
    entry: Entry,
    has_second_factor: bool,
}

/// By what somebody came in.
pub(crate) struct Entry {
    /// The way in of theirs that was proved; for one that a provider vouches for without being a way in, their mailbox.
    pub(crate) method_id: Option<AuthMethodId>,
    /// Whether the account came into being by it.
    pub(crate) is_first: bool,
}

/// What a first proof led to.
enum FirstProof {
    Right(Box<Proved>),
    Disabled,
    /// There is no account, and none was made.
    NoAccount,
}

/// Finds or creates the user who has given the first proof.
async fn prove(tx: &mut AnyConnection, sign_in: &NewSignIn, newcomer: Newcomer) -> Result<FirstProof, StoreError> {
    method_changes::release_unproved(tx, &sign_in.way_in, &sign_in.released, sign_in.at).await?;
    let Some((user, account)) = account::lock_account(tx, sign_in, newcomer).await? else {
        return Ok(FirstProof::NoAccount);
    };
    let user_id = user.id.clone();
    if user.disabled_at.is_some() {
        record_failure(tx, sign_in, &user_id, "disabled").await?;
        return Ok(FirstProof::Disabled);
    }
    let has_second_factor = has_second_factor(tx, &user_id).await?;
    // Whoever has not proved all there is to prove leaves nothing behind in the account.
    if account == Account::OfMailbox && !has_second_factor {
        account::link_to_mailbox(tx, sign_in, &user_id).await?;
    }
    let mut method_id = methods::touch(tx, &sign_in.way_in, sign_in.at).await?;
    if let (None, Some(email)) = (&method_id, &sign_in.profile.email) {
        method_id = methods::touch(tx, &WayIn::email(email), sign_in.at).await?;
    }
    let entry = Entry { method_id, is_first: account == Account::New };
    Ok(FirstProof::Right(Box::new(Proved { user, entry, has_second_factor })))
}

/// What a right proof led to where no session is to begin.
pub(crate) enum Recognised {
    User(UserId),
    MfaRequired,
    Disabled,
}

/// Finds or creates the user, for one thing that they then do without a session, or awaits their second factor. The
/// caller has checked the proof and spent it in this very transaction.
pub(crate) async fn recognise(tx: &mut AnyConnection, sign_in: &NewSignIn) -> Result<Recognised, StoreError> {
    let proved = prove(tx, sign_in, Newcomer::Welcome).await?;
    // Whoever is welcome has an account.
    Ok(recognised(tx, sign_in, proved).await?.unwrap_or(Recognised::Disabled))
}

/// The same, but creates nobody: `None` when the way in leads to no account.
pub(crate) async fn recognise_known(
    tx: &mut AnyConnection,
    sign_in: &NewSignIn,
) -> Result<Option<Recognised>, StoreError> {
    let proved = prove(tx, sign_in, Newcomer::Asked).await?;
    recognised(tx, sign_in, proved).await
}

async fn recognised(
    tx: &mut AnyConnection,
    sign_in: &NewSignIn,
    proved: FirstProof,
) -> Result<Option<Recognised>, StoreError> {
    let Proved { user, entry, has_second_factor } = match proved {
        FirstProof::Right(proved) => *proved,
        FirstProof::Disabled => return Ok(Some(Recognised::Disabled)),
        FirstProof::NoAccount => return Ok(None),
    };
    if has_second_factor {
        await_second_factor(tx, sign_in, &user.id, &entry).await?;
        return Ok(Some(Recognised::MfaRequired));
    }
    record_recognised(tx, sign_in, &user.id, &entry).await?;
    Ok(Some(Recognised::User(user.id)))
}

/// Writes down that somebody has proved all there is to prove, and that no session begins.
pub(crate) async fn record_recognised(
    tx: &mut AnyConnection,
    sign_in: &NewSignIn,
    user_id: &UserId,
    entry: &Entry,
) -> Result<(), StoreError> {
    let mut event = event(sign_in, &sign_in.signed_in).with("method", sign_in.way_in.method.as_str());
    event.actor = Actor::default();
    record(tx, EventType::SignInSucceeded, Some(user_id), &event).await?;
    known_devices::note(tx, user_id, &sign_in.device, entry.is_first, &event).await
}

/// Begins the session of somebody who has proved all there is to prove.
pub(crate) async fn begin_session(
    tx: &mut AnyConnection,
    sign_in: &NewSignIn,
    user_id: &UserId,
    entry: &Entry,
    by_second_factor: bool,
) -> Result<Session, StoreError> {
    sqlx::query("UPDATE users SET last_login_at = $1 WHERE id = $2")
        .bind(sign_in.at.as_millis())
        .bind(user_id.as_str())
        .execute(&mut *tx)
        .await?;
    let NewSignIn { session, client, at, .. } = sign_in;
    let method_id = entry.method_id.as_ref();
    let session = sessions::insert(tx, session, user_id, method_id, *at, client, by_second_factor).await?;
    let event = event(sign_in, &sign_in.signed_in).with("method", sign_in.way_in.method.as_str());
    record(tx, EventType::SignInSucceeded, Some(user_id), &event).await?;
    known_devices::note(tx, user_id, &sign_in.device, entry.is_first, &event).await?;
    Ok(session)
}

async fn has_second_factor(tx: &mut AnyConnection, user_id: &UserId) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT user_id FROM totp_factors WHERE user_id = $1 AND enabled_at IS NOT NULL")
        .bind(user_id.as_str())
        .fetch_optional(tx)
        .await?;
    Ok(row.is_some())
}

async fn await_second_factor(
    tx: &mut AnyConnection,
    sign_in: &NewSignIn,
    user_id: &UserId,
    entry: &Entry,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO mfa_challenges (digest, app_id, user_id, method, attempts, created_at, expires_at, method_id) \
         VALUES ($1, $2, $3, $4, 0, $5, $6, $7)",
    )
    .bind(sign_in.mfa.digest.to_string())
    .bind(app())
    .bind(user_id.as_str())
    .bind(sign_in.way_in.method.as_str())
    .bind(sign_in.at.as_millis())
    .bind(sign_in.mfa.expires_at.as_millis())
    .bind(entry.method_id.as_ref().map(AuthMethodId::as_str))
    .execute(&mut *tx)
    .await?;
    let mut event = event(sign_in, &sign_in.signed_in).with("method", sign_in.way_in.method.as_str());
    // The session has not begun.
    event.actor = Actor::default();
    record(tx, EventType::MfaRequired, Some(user_id), &event).await
}

/// Writes down that a sign-in failed, of this user where there is one, and why. Where there is none, nobody could have the
/// particulars removed; it may be the address of somebody whose account has just been deleted.
pub(crate) async fn record_failure(
    tx: &mut AnyConnection,
    sign_in: &NewSignIn,
    user_id: impl Into<Option<&UserId>>,
    reason: &str,
) -> Result<(), StoreError> {
    let mut event =
        event(sign_in, &sign_in.signed_in).with("method", sign_in.way_in.method.as_str()).with("reason", reason);
    // The session never began.
    event.actor = Actor::default();
    let user_id = user_id.into();
    if user_id.is_none() {
        event.client = ClientInfo::default();
    }
    record(tx, EventType::SignInFailed, user_id, &event).await
}

fn event(sign_in: &NewSignIn, id: &EventId) -> NewEvent {
    NewEvent {
        id: id.clone(),
        at: sign_in.at,
        actor: Actor { session_id: Some(sign_in.session.id.clone()), ..Actor::default() },
        client: sign_in.client.clone(),
        metadata: std::collections::BTreeMap::new(),
    }
}
