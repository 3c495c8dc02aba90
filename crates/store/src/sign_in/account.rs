//! Whose account a sign-in is for: the one that its way in leads to, the one of its mailbox, or a new one.

use domain::UserId;
use domain::audit::EventType;
use sqlx::AnyConnection;

use super::{MethodType, NewSignIn, WayIn, event, find_user_id};
use crate::audit::record;
use crate::rows::{Columns, app};
use crate::users::{self, User};
use crate::{StoreError, methods};

/// How often an account may change between looking for it and locking it.
const MAX_LOOKS: u32 = 3;

/// How the account of a sign-in was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    /// The way in is one of it.
    Known,
    /// It has the address that the provider vouches for.
    OfMailbox,
    /// It came into being just now.
    New,
}

/// What becomes of somebody whose way in leads to no account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Newcomer {
    /// They get one.
    Welcome,
    /// They do not, until they have said that they want one.
    Asked,
}

/// The account that the way in leads to, its user locked. Until they are, somebody can delete the account or take the
/// way in from it, so what was found before is looked for again. `None` when there is none and none is to be made.
pub(super) async fn lock_account(
    tx: &mut AnyConnection,
    sign_in: &NewSignIn,
    newcomer: Newcomer,
) -> Result<Option<(User, Account)>, StoreError> {
    for _ in 0..MAX_LOOKS {
        let (user_id, account) = match find(tx, sign_in).await? {
            Found::Account(user_id, account) => (user_id, account),
            Found::UnprovedMailbox | Found::Nothing if newcomer == Newcomer::Asked => return Ok(None),
            Found::UnprovedMailbox => (create_user(tx, sign_in, None).await?, Account::New),
            Found::Nothing => (create_user(tx, sign_in, sign_in.profile.email.as_deref()).await?, Account::New),
        };
        let Some(user) = users::lock(tx, &user_id).await? else { continue };
        if account == Account::New || find(tx, sign_in).await? == Found::Account(user_id, account) {
            return Ok(Some((user, account)));
        }
    }
    Err(StoreError::Malformed { column: "auth_methods.user_id" })
}

/// Where a way in leads to.
#[derive(PartialEq, Eq)]
enum Found {
    Account(UserId, Account),
    /// Somebody has entered the address that is vouched for without proving it: neither may they get what is proved
    /// here, nor is this the place to take the address from them.
    UnprovedMailbox,
    Nothing,
}

/// The account that the way in leads to. A verified address of a provider's is a way in of its own: whoever has proved
/// the mailbox gets the account of the mailbox.
async fn find(tx: &mut AnyConnection, sign_in: &NewSignIn) -> Result<Found, StoreError> {
    if let Some(user_id) = find_user_id(tx, &sign_in.way_in).await? {
        return Ok(Found::Account(user_id, Account::Known));
    }
    let Some(email) = &sign_in.profile.email else { return Ok(Found::Nothing) };
    Ok(match find_email(tx, email).await? {
        Some((user_id, true)) => Found::Account(user_id, Account::OfMailbox),
        Some((_, false)) => Found::UnprovedMailbox,
        None => Found::Nothing,
    })
}

/// Makes the way in one of the account that has the mailbox, if there is room: they go on signing in by the mailbox.
pub(super) async fn link_to_mailbox(
    tx: &mut AnyConnection,
    sign_in: &NewSignIn,
    user_id: &UserId,
) -> Result<(), StoreError> {
    if !methods::has_room(tx, user_id).await? {
        return Ok(());
    }
    methods::insert(tx, &sign_in.method_id, user_id, &sign_in.way_in, sign_in.at).await?;
    let event = event(sign_in, &sign_in.user_created)
        .with("method", sign_in.way_in.method.as_str())
        .with("methodId", sign_in.method_id.as_str());
    record(tx, EventType::MethodLinked, Some(user_id), &event).await
}

/// Whose way in the address is, and whether they have proved that it is theirs.
async fn find_email(tx: &mut AnyConnection, email: &str) -> Result<Option<(UserId, bool)>, StoreError> {
    let row = sqlx::query(
        "SELECT user_id, verified FROM auth_methods \
         WHERE app_id = $1 AND type = $2 AND provider = '' AND identifier = $3",
    )
    .bind(app())
    .bind(MethodType::Email.as_str())
    .bind(email)
    .fetch_optional(tx)
    .await?;
    row.map(|row| Ok((row.parsed("user_id")?, row.flag("verified")?))).transpose()
}

/// A new account. An address that a provider vouches for becomes a way in as well: whoever signs in with the mailbox
/// later is the same person.
async fn create_user(
    tx: &mut AnyConnection,
    sign_in: &NewSignIn,
    vouched_for: Option<&str>,
) -> Result<UserId, StoreError> {
    let NewSignIn { way_in, user_id, profile, at, .. } = sign_in;
    let is = |method| (way_in.method == method).then_some(way_in.identifier.as_str());
    let email = is(MethodType::Email).or(vouched_for);
    let phone = is(MethodType::Sms);
    sqlx::query(
        "INSERT INTO users (id, app_id, email, phone, wallet_address, display_name, avatar_url, email_verified, \
         phone_verified, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
    )
    .bind(user_id.as_str())
    .bind(app())
    .bind(email)
    .bind(phone)
    .bind(is(MethodType::Wallet))
    .bind(profile.display_name.as_deref())
    .bind(profile.avatar_url.as_deref())
    .bind(i64::from(email.is_some()))
    .bind(i64::from(phone.is_some()))
    .bind(at.as_millis())
    .execute(&mut *tx)
    .await?;
    methods::insert(tx, &sign_in.method_id, user_id, way_in, *at).await?;
    if let Some(address) = vouched_for {
        methods::insert(tx, &sign_in.email_method_id, user_id, &WayIn::email(address), *at).await?;
    }
    let event = event(sign_in, &sign_in.user_created).with("method", way_in.method.as_str());
    record(tx, EventType::UserCreated, Some(user_id), &event).await?;
    Ok(user_id.clone())
}
