//! `afd token …`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use auth::WishedToken;
use clap::{Args, Subcommand};
use domain::token::TokenSecret;
use domain::{Clock as _, Scope, Scopes, SystemClock, Timestamp, TokenId, TokenName, parse_duration};
use serde_json::{Value, json};
use store::Token;

use super::import;
use super::table::{optional, table};
use super::who::Who;
use super::{Common, count};
use crate::complain;

/// What can be done with tokens.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a token for a user; it is printed once and kept nowhere
    Issue(Issue),
    /// List tokens, newest first
    List {
        /// Only those of this user: id, e-mail address or phone number
        #[arg(long)]
        user: Option<Who>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
    },
    /// Delete tokens: when this returns, nobody accepts them
    Revoke {
        /// Ids of tokens, as in `afd token list`
        #[arg(required = true)]
        ids: Vec<TokenId>,
    },
    /// Give a token a new secret; it is printed once and kept nowhere
    Rotate {
        /// The token's id, as in `afd token list`
        id: TokenId,
        /// For how long the old secret goes on working, such as 1h; at most 7d
        #[arg(long, value_parser = grace)]
        grace: Option<Duration>,
    },
    /// Take over the tokens of an older system, which go on working
    Import(import::Options),
}

/// The token to make.
#[derive(Args)]
pub(crate) struct Issue {
    /// Whose it is to be: id, e-mail address or phone number
    #[arg(long)]
    user: Who,
    /// What its owner sees it by
    #[arg(long)]
    name: TokenName,
    /// What it may do, such as projects:read,tokens:*; everything otherwise
    #[arg(long, value_delimiter = ',')]
    scopes: Vec<Scope>,
    /// When it ends: a time such as 2027-01-31T00:00:00Z, or a while such as 90d; never otherwise
    #[arg(long, value_name = "WHEN", value_parser = expiry)]
    expires: Option<Timestamp>,
}

const MAX_GRACE: Duration = Duration::from_hours(7 * 24);

fn grace(text: &str) -> Result<Duration, String> {
    let grace = parse_duration(text).map_err(|error| error.to_string())?;
    if grace > MAX_GRACE { Err("must be at most 7d".to_owned()) } else { Ok(grace) }
}

fn expiry(text: &str) -> Result<Timestamp, String> {
    let now = SystemClock.now();
    let end = match parse_duration(text) {
        Ok(duration) => now.plus(duration),
        Err(_) => text.parse().map_err(|_| "must be a time such as 2027-01-31T00:00:00Z or a while such as 90d")?,
    };
    if end <= now { Err("must be in the future".to_owned()) } else { Ok(end) }
}

/// Runs the command.
pub(crate) async fn run(command: Command, common: &Common) -> anyhow::Result<ExitCode> {
    match command {
        Command::Issue(wish) => issue(wish, common).await?,
        Command::List { user, limit } => list(user, limit, common).await?,
        Command::Revoke { ids } => return revoke(&ids, common).await,
        Command::Rotate { id, grace } => rotate(&id, grace.unwrap_or_default(), common).await?,
        Command::Import(options) => return import::run(&options, common).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn issue(wish: Issue, common: &Common) -> anyhow::Result<()> {
    let issuer = common.issuer().await?;
    let user = wish.user.find(issuer.operator().store()).await?;
    ensure!(user.disabled_at.is_none(), "user {} is disabled", user.id);
    let scopes = if wish.scopes.is_empty() { Scopes::all() } else { Scopes::try_from(wish.scopes)? };
    let wish = WishedToken { user_id: user.id.clone(), name: wish.name, scopes, expires_at: wish.expires };
    let made = issuer.issue(wish).await?;
    let (token, secret) = made.with_context(|| format!("user {} is disabled or gone", user.id))?;
    show_once(&token, &secret, common);
    Ok(())
}

async fn rotate(id: &TokenId, grace: Duration, common: &Common) -> anyhow::Result<()> {
    let issuer = common.issuer().await?;
    let token = issuer.operator().store().find_anybodys_token(id).await?;
    let token = token.with_context(|| format!("there is no token {id}"))?;
    let (token, secret) =
        issuer.rotate(&token, grace).await?.with_context(|| format!("there is no token {id} any more"))?;
    issuer.operator().until_noticed().await?;
    show_once(&token, &secret, common);
    Ok(())
}

/// The secret alone goes to standard output, so that it can be caught in a variable.
fn show_once(token: &Token, secret: &TokenSecret, common: &Common) {
    if !common.json {
        complain(&format!("Token {} of user {}. This is the only time it is shown:", token.id, token.user_id));
    }
    let mut shown = token_json(token);
    shown["token"] = secret.expose().into();
    common.answer(|| secret.expose().to_owned(), &shown);
}

async fn list(user: Option<Who>, limit: u32, common: &Common) -> anyhow::Result<()> {
    let operator = common.operator().await?;
    let store = operator.store();
    let mut tokens = match user {
        Some(user) => store.list_tokens(&user.find(store).await?.id).await?,
        // One more than asked for tells whether there are more.
        None => store.list_everybodys_tokens(limit.saturating_add(1)).await?,
    };
    let more = tokens.len() > limit as usize;
    tokens.truncate(limit as usize);
    common.answer(|| token_table(&tokens), &tokens.iter().map(token_json).collect());
    if more {
        complain(&format!("These are the newest {limit}; there are more (--limit)."));
    }
    Ok(())
}

async fn revoke(ids: &[TokenId], common: &Common) -> anyhow::Result<ExitCode> {
    let operator = common.operator().await?;
    let (mut revoked, mut missing) = (Vec::new(), Vec::new());
    for id in ids {
        let deleted = match operator.store().find_anybodys_token(id).await? {
            Some(token) => operator.store().delete_token(&token.user_id, id, &operator.event()).await?,
            None => None,
        };
        if deleted.is_some() { revoked.push(id) } else { missing.push(id) }
    }
    if !revoked.is_empty() {
        operator.until_noticed().await?;
        common.answer(
            || format!("{} revoked.", count(revoked.len(), "token")),
            &json!({ "revoked": revoked, "notFound": missing }),
        );
    }
    match missing.as_slice() {
        [] => Ok(ExitCode::SUCCESS),
        [id] => bail!("there is no token {id}"),
        ids => bail!("there are no tokens {}", ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ")),
    }
}

/// Tokens for people.
pub(super) fn token_table(tokens: &[Token]) -> String {
    let row = |token: &Token| {
        [
            token.id.to_string(),
            token.user_id.to_string(),
            token.name.to_string(),
            format!("{}…", token.prefix),
            token.scopes.to_string(),
            token.created_at.to_string(),
            optional(token.last_used_at),
            optional(token.expires_at),
        ]
    };
    let rows: Vec<_> = tokens.iter().map(row).collect();
    table(["ID", "USER", "NAME", "BEGINS", "SCOPES", "CREATED", "LAST USED", "ENDS"], &rows)
}

/// A token for programs.
pub(super) fn token_json(token: &Token) -> Value {
    json!({
        "id": token.id,
        "userId": token.user_id,
        "name": token.name.as_str(),
        "prefix": token.prefix,
        "scopes": token.scopes,
        "expiresAt": token.expires_at,
        "lastUsedAt": token.last_used_at,
        "lastUsedIp": token.last_used_ip,
        "createdAt": token.created_at,
        "updatedAt": token.updated_at,
    })
}
