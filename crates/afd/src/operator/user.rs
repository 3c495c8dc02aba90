//! `afd user …`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, ensure};
use auth::{Operator, opens_factor};
use clap::{ArgGroup, Args, Subcommand};
use domain::{EmailAddress, PhoneNumber, UserId};
use serde_json::{Value, json};
use store::{AuthMethod, Deletion, DisableOutcome, FactorStatus, NewUserOutcome, Session, Token, User};

use super::table::{optional, printable, table};
use super::token::{token_json, token_table};
use super::who::Who;
use super::{Common, count};
use crate::complain;

/// Rows that are removed in one transaction: few enough that no request waits long for it.
const BATCH: u32 = 500;
const PAUSE: Duration = Duration::from_millis(5);
/// How many batches between two words about them.
const TELL_EVERY: u32 = 100;

/// What can be done with users.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make an account, so that somebody can be given tokens before they have signed in
    Create(Create),
    /// List users, newest first
    List {
        /// Only those whose account is shut
        #[arg(long)]
        disabled: bool,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
    },
    /// Show a user with their ways in, sessions and tokens
    Show {
        /// The user's id, e-mail address or phone number
        user: Who,
    },
    /// Shut an account: sessions end and tokens are refused at once, nobody signs in to it
    Disable {
        /// The user's id, e-mail address or phone number
        user: Who,
    },
    /// Open an account again: its tokens work again, its sessions stay ended
    Enable {
        /// The user's id, e-mail address or phone number
        user: Who,
    },
    /// Remove the second factor of somebody who has lost it: their next sign-in asks for none, their sessions stay
    ResetSecondFactor {
        /// The user's id, e-mail address or phone number
        user: Who,
    },
    /// Delete a user with every session, token and way in; of the audit log only the user's id stays
    Delete {
        /// The user's id, e-mail address or phone number
        user: Who,
        /// It cannot be undone, so this has to be said
        #[arg(long, required = true)]
        yes: bool,
    },
}

/// The account to make.
#[derive(Args)]
#[command(group = ArgGroup::new("somebody").args(["id", "email", "phone"]).multiple(true).required(true))]
pub(crate) struct Create {
    /// The id that an older system gave; a new one otherwise
    #[arg(long)]
    id: Option<UserId>,
    /// The address by which they sign in; you vouch that it is theirs
    #[arg(long)]
    email: Option<EmailAddress>,
    /// The number by which they sign in, such as +14155552671; you vouch that it is theirs
    #[arg(long)]
    phone: Option<PhoneNumber>,
    /// The name that others see
    #[arg(long)]
    name: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(command: Command, common: &Common) -> anyhow::Result<ExitCode> {
    match command {
        Command::Create(new) => create(new, common).await?,
        Command::List { disabled, limit } => list(disabled, limit, common).await?,
        Command::Show { user } => show(&user, common).await?,
        Command::Disable { user } => disable(&user, common).await?,
        Command::Enable { user } => enable(&user, common).await?,
        Command::ResetSecondFactor { user } => reset_second_factor(&user, common).await?,
        Command::Delete { user, yes: _ } => delete(&user, common).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(new: Create, common: &Common) -> anyhow::Result<()> {
    let operator = common.operator().await?;
    let Create { id, email, phone, name } = new;
    let new = operator.new_user(id, name, email.as_ref(), phone.as_ref());
    match operator.store().create_user(&new, &operator.event()).await? {
        NewUserOutcome::Created(user) => {
            common.answer(|| format!("User {} was created.", user.id), &user_json(&user));
            Ok(())
        }
        NewUserOutcome::IdTaken => {
            ensure!(
                operator.store().find_user(&new.id).await?.is_some(),
                "what user {} has left is still being deleted; try again in a minute",
                new.id
            );
            bail!("there is a user {} already", new.id)
        }
        NewUserOutcome::WayInTaken(owner) => bail!("the address or number is that of user {owner} already"),
    }
}

async fn list(disabled: bool, limit: u32, common: &Common) -> anyhow::Result<()> {
    // One more than asked for tells whether there are more.
    let mut users = common.operator().await?.store().list_users(disabled, limit.saturating_add(1)).await?;
    let more = users.len() > limit as usize;
    users.truncate(limit as usize);
    let row = |user: &User| {
        [
            user.id.to_string(),
            optional(user.email.as_deref()),
            optional(user.phone.as_deref()),
            optional(user.display_name.as_deref()),
            user.created_at.to_string(),
            optional(user.last_login_at),
            optional(user.disabled_at),
        ]
    };
    let header = ["ID", "EMAIL", "PHONE", "NAME", "CREATED", "LAST SIGN-IN", "DISABLED"];
    common.answer(|| table(header, &users.iter().map(row).collect::<Vec<_>>()), &users.iter().map(user_json).collect());
    if more {
        complain(&format!("These are the newest {limit}; there are more (--limit)."));
    }
    Ok(())
}

async fn show(user: &Who, common: &Common) -> anyhow::Result<()> {
    let operator = common.operator().await?;
    let store = operator.store();
    let user = user.find(store).await?;
    let methods = store.list_methods(&user.id).await?;
    let sessions = store.list_sessions(&user.id, operator.event().at).await?;
    let tokens = store.list_tokens(&user.id).await?;
    let factor = store.factor_status(&user.id).await?.filter(|factor| factor.enabled_at.is_some());
    // Only whoever has the service's secrets at hand can say whether the service can still open it.
    let sealing = common.sealing();
    let opens = factor.as_ref().zip(sealing).map(|(factor, sealing)| opens_factor(&sealing, &user.id, factor));
    let mut shown = user_json(&user);
    shown["secondFactor"] = factor_json(factor.as_ref(), opens);
    shown["methods"] = methods.iter().map(method_json).collect();
    shown["sessions"] = sessions.iter().map(session_json).collect();
    shown["tokens"] = tokens.iter().map(token_json).collect();
    let factor = factor_text(factor.as_ref(), opens);
    common.answer(|| description(&user, &factor, &methods, &sessions, &tokens), &shown);
    Ok(())
}

fn factor_text(factor: Option<&FactorStatus>, opens: Option<bool>) -> String {
    let Some(factor) = factor else { return "none".to_owned() };
    let since = optional(factor.enabled_at);
    let codes = counted(factor.backup_codes_left, "backup code");
    let opens = match opens {
        Some(true) => "opens",
        Some(false) => "does NOT open: the user cannot sign in (afd user reset-second-factor)",
        None => "whether it opens cannot be said without JWT_SECRET",
    };
    format!("since {since}, {codes} left, sealed under {}, which {opens}", factor.seal_key.as_str())
}

fn factor_json(factor: Option<&FactorStatus>, opens: Option<bool>) -> Value {
    factor.map_or(Value::Null, |factor| {
        json!({
            "enabledAt": factor.enabled_at,
            "backupCodesLeft": factor.backup_codes_left,
            "sealKey": factor.seal_key.as_str(),
            "opens": opens,
        })
    })
}

fn description(user: &User, factor: &str, methods: &[AuthMethod], sessions: &[Session], tokens: &[Token]) -> String {
    let lines = [
        ("Id", user.id.to_string()),
        ("E-mail", optional(user.email.as_deref())),
        ("Phone", optional(user.phone.as_deref())),
        ("Wallet", optional(user.wallet_address.as_deref())),
        ("Name", optional(user.display_name.as_deref())),
        ("Created", user.created_at.to_string()),
        ("Last sign-in", optional(user.last_login_at)),
        ("Disabled", optional(user.disabled_at)),
        ("Second factor", factor.to_owned()),
    ];
    let mut parts: Vec<String> =
        lines.iter().map(|(name, value)| format!("{name:<15}{}\n", printable(value))).collect();
    let method = |method: &AuthMethod| {
        [
            method.kind.clone(),
            optional(method.provider.as_deref()),
            method.identifier.clone(),
            method.created_at.to_string(),
            optional(method.last_used_at),
        ]
    };
    let session = |session: &Session| {
        [
            session.id.to_string(),
            optional(session.ip),
            session.created_at.to_string(),
            session.last_seen_at.to_string(),
            optional(session.user_agent.as_deref()),
        ]
    };
    parts.push(format!("\n{}\n", count(methods.len(), "way") + " in"));
    if !methods.is_empty() {
        let rows: Vec<_> = methods.iter().map(method).collect();
        parts.push(table(["TYPE", "PROVIDER", "IDENTIFIER", "ADDED", "LAST USED"], &rows));
    }
    parts.push(format!("\n{}\n", count(sessions.len(), "session")));
    if !sessions.is_empty() {
        let rows: Vec<_> = sessions.iter().map(session).collect();
        parts.push(table(["ID", "ADDRESS", "BEGAN", "LAST SEEN", "PROGRAM"], &rows));
    }
    parts.push(format!("\n{}\n", count(tokens.len(), "token")));
    if !tokens.is_empty() {
        parts.push(token_table(tokens));
    }
    parts.concat()
}

async fn disable(user: &Who, common: &Common) -> anyhow::Result<()> {
    let operator = common.operator().await?;
    let user = user.find(operator.store()).await?;
    let had = operator.store().count_credentials(&user.id).await?;
    match operator.store().disable_user(&user.id, || operator.event()).await? {
        DisableOutcome::Disabled { sessions_ended } => {
            operator.until_noticed().await?;
            common.answer(
                || {
                    let (sessions, tokens) = (counted(sessions_ended, "session"), counted(had.tokens, "token"));
                    format!("User {} is disabled: {sessions} ended, {tokens} refused.", user.id)
                },
                &json!({
                    "id": user.id,
                    "disabled": true,
                    "sessionsEnded": sessions_ended,
                    "tokensRefused": had.tokens,
                }),
            );
            Ok(())
        }
        DisableOutcome::AlreadyDisabled => bail!("user {} is disabled already", user.id),
        DisableOutcome::NoUser => bail!("there is no user {} any more", user.id),
    }
}

async fn enable(user: &Who, common: &Common) -> anyhow::Result<()> {
    let operator = common.operator().await?;
    let user = user.find(operator.store()).await?;
    match operator.store().enable_user(&user.id, &operator.event()).await? {
        Some(true) => {
            operator.until_noticed().await?;
            let text = || format!("User {} is enabled: their tokens work again, and they may sign in.", user.id);
            common.answer(text, &json!({ "id": user.id, "disabled": false }));
            Ok(())
        }
        Some(false) => bail!("user {} is not disabled", user.id),
        None => bail!("there is no user {} any more", user.id),
    }
}

async fn reset_second_factor(user: &Who, common: &Common) -> anyhow::Result<()> {
    let operator = common.operator().await?;
    let user = user.find(operator.store()).await?;
    ensure!(operator.store().reset_factor(&user.id, &operator.event()).await?, "user {} has no second factor", user.id);
    let text = || format!("User {} has no second factor any more. They can set up a new one once signed in.", user.id);
    common.answer(text, &json!({ "id": user.id, "secondFactor": null }));
    Ok(())
}

async fn delete(user: &Who, common: &Common) -> anyhow::Result<()> {
    let operator = common.operator().await?;
    let store = operator.store();
    let user = user.find(store).await?;
    let had = store.count_credentials(&user.id).await?;
    if !store.delete_user(&user.id, &operator.event()).await? {
        bail!("there is no user {} any more", user.id);
    }
    operator.until_noticed().await?;
    // From here on nothing of the user's is accepted; a command that is stopped leaves the rest to the service.
    remove_what_is_left(&operator, &user).await?;
    common.answer(
        || {
            let (sessions, tokens) = (counted(had.sessions, "session"), counted(had.tokens, "token"));
            format!("User {} is deleted, with {sessions} and {tokens}.", user.id)
        },
        &json!({ "id": user.id, "deleted": true, "sessionsEnded": had.sessions, "tokensDeleted": had.tokens }),
    );
    Ok(())
}

/// Removes what the account has left, batch by batch, and tells how far it is when that takes long.
async fn remove_what_is_left(operator: &Operator, user: &User) -> anyhow::Result<()> {
    let mut deletion = Deletion::of(user.id.clone());
    let (mut removed, mut batches) = (0, 0);
    while let Some(rows) = operator.store().delete_batch(&mut deletion, BATCH, operator.event().at).await? {
        removed += rows;
        batches += 1;
        if batches % TELL_EVERY == 0 {
            complain(&format!("The account is gone; {removed} rows of what it left are removed or erased so far."));
        }
        // A service on the same SQLite file has no place in a queue.
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

fn counted(number: u32, noun: &str) -> String {
    count(number as usize, noun)
}

fn user_json(user: &User) -> Value {
    json!({
        "id": user.id,
        "email": user.email,
        "emailVerified": user.email_verified,
        "phone": user.phone,
        "phoneVerified": user.phone_verified,
        "walletAddress": user.wallet_address,
        "displayName": user.display_name,
        "createdAt": user.created_at,
        "updatedAt": user.updated_at,
        "lastLoginAt": user.last_login_at,
        "disabledAt": user.disabled_at,
    })
}

fn method_json(method: &AuthMethod) -> Value {
    json!({
        "id": method.id,
        "type": method.kind,
        "provider": method.provider,
        "identifier": method.identifier,
        "verified": method.verified,
        "isPrimary": method.is_primary,
        "createdAt": method.created_at,
        "lastUsedAt": method.last_used_at,
    })
}

fn session_json(session: &Session) -> Value {
    json!({
        "id": session.id,
        "ip": session.ip,
        "userAgent": session.user_agent,
        "createdAt": session.created_at,
        "lastSeenAt": session.last_seen_at,
        "expiresAt": session.expires_at,
    })
}
