//! Personal access tokens.

use std::sync::Arc;

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use auth_api::{CreateTokenRequest, CreatedToken, ErrorCode, ExpiresAt, RotateTokenRequest, TokenSummary};
use auth_client::AuthClient;
use domain::{AllowedIps, Network, Scope, Scopes, TokenId, token};

use super::date::Date;
use crate::caller::Caller;
use crate::error;

/// A personal access token, without its secret.
#[derive(SimpleObject)]
struct PersonalAccessToken {
    /// The token's id; a rotation does not change it.
    id: ID,
    /// The name its owner gave it.
    name: String,
    /// Its first characters.
    prefix: String,
    /// What it may do; `*` is everything its owner may.
    scopes: Vec<String>,
    /// From where it may be used, networks or addresses; null for anywhere.
    allowed_ips: Option<Vec<String>>,
    /// When it ends; null if it does not.
    expires_at: Option<Date>,
    /// When it was last used, a few seconds behind; null if never.
    last_used_at: Option<Date>,
    /// When it was created.
    created_at: Date,
    /// When it was last changed.
    updated_at: Date,
}

/// A personal access token at the one moment at which it is shown.
#[derive(SimpleObject)]
struct PersonalAccessTokenCreated {
    /// The token's id; a rotation does not change it.
    id: ID,
    /// The name its owner gave it.
    name: String,
    /// The token itself. Keep it: it is never shown again.
    token: String,
    /// Its first characters.
    prefix: String,
    /// What it may do; `*` is everything its owner may.
    scopes: Vec<String>,
    /// From where it may be used, networks or addresses; null for anywhere.
    allowed_ips: Option<Vec<String>>,
    /// When it ends; null if it does not.
    expires_at: Option<Date>,
    /// When it was last used; null if never.
    last_used_at: Option<Date>,
    /// When it was created.
    created_at: Date,
    /// When it was last changed.
    updated_at: Date,
}

impl From<TokenSummary> for PersonalAccessToken {
    fn from(token: TokenSummary) -> Self {
        Self {
            id: token.id.as_str().into(),
            name: token.name,
            prefix: token.prefix,
            scopes: texts(&token.scopes),
            allowed_ips: token.allowed_ips.map(|networks| networks.iter().collect()),
            expires_at: token.expires_at.map(Date),
            last_used_at: token.last_used_at.map(Date),
            created_at: token.created_at.into(),
            updated_at: token.updated_at.into(),
        }
    }
}

impl From<CreatedToken> for PersonalAccessTokenCreated {
    fn from(token: CreatedToken) -> Self {
        Self {
            id: token.id.as_str().into(),
            name: token.name,
            prefix: token.token.chars().take(token::PREFIX_LENGTH).collect(),
            token: token.token,
            scopes: texts(&token.scopes),
            allowed_ips: token.allowed_ips.map(|networks| networks.iter().collect()),
            expires_at: token.expires_at.map(Date),
            last_used_at: token.last_used_at.map(Date),
            created_at: token.created_at.into(),
            updated_at: token.updated_at.into(),
        }
    }
}

fn texts(scopes: &Scopes) -> Vec<String> {
    scopes.iter().map(ToString::to_string).collect()
}

#[derive(Default)]
pub(super) struct TokensQuery;

#[Object]
impl TokensQuery {
    /// The caller's personal access tokens, newest first.
    async fn personal_access_tokens(&self, context: &Context<'_>) -> Result<Vec<PersonalAccessToken>> {
        let user = Caller::user(context)?;
        let tokens = context.data::<Arc<AuthClient>>()?.list_tokens(user).await.map_err(error::of_call)?;
        Ok(tokens.into_iter().map(Into::into).collect())
    }
}

#[derive(Default)]
pub(super) struct TokensMutation;

#[Object]
impl TokensMutation {
    /// Creates a personal access token. The reply is the only one that ever shows it.
    async fn create_personal_access_token(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "1 to 100 characters of `[A-Za-z0-9 ._-]`.")] name: String,
        #[graphql(desc = "In the future, at most 10 years; null for a token that does not end.")] expires_at: Option<
            Date,
        >,
        #[graphql(desc = "What it may do, at most 32; null for `*`, everything the caller may.")] scopes: Option<
            Vec<String>,
        >,
        #[graphql(
            desc = "From where alone it may be used: networks in CIDR notation or addresses, IPv4 and IPv6, at most \
                          32; null for anywhere."
        )]
        allowed_ips: Option<Vec<String>>,
    ) -> Result<PersonalAccessTokenCreated> {
        let user = Caller::user(context)?;
        let token = CreateTokenRequest {
            name,
            expires_at: expires_at.map(|Date(at)| ExpiresAt(at)),
            scopes: scopes.map(read_scopes).transpose()?,
            allowed_ips: allowed_ips.map(read_networks).transpose()?,
        };
        let created = context.data::<Arc<AuthClient>>()?.create_token(user, &token).await.map_err(error::of_call)?;
        Ok(created.into())
    }

    /// Gives a personal access token a new secret; its id, name, scopes and end stay. Counts as a creation.
    async fn rotate_personal_access_token(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The token's id.")] id: ID,
        #[graphql(desc = "For how long the old secret goes on working: 0 (the default) to 604800 seconds.")]
        grace_seconds: Option<i32>,
    ) -> Result<PersonalAccessTokenCreated> {
        let user = Caller::user(context)?;
        let rotation = RotateTokenRequest { grace_seconds: grace_seconds.map(i64::from) };
        let id = read_id(&id)?;
        let auth = context.data::<Arc<AuthClient>>()?;
        Ok(auth.rotate_token(user, &id, &rotation).await.map_err(error::of_call)?.into())
    }

    /// Deletes a personal access token. Once this has answered, the token is dead everywhere.
    async fn delete_personal_access_token(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The token's id.")] id: ID,
    ) -> Result<bool> {
        let user = Caller::user(context)?;
        let id = read_id(&id)?;
        context.data::<Arc<AuthClient>>()?.delete_token(user, &id).await.map_err(error::of_call)?;
        Ok(true)
    }
}

fn read_scopes(texts: Vec<String>) -> Result<Scopes> {
    let scopes = texts.into_iter().enumerate().map(|(place, text)| {
        Scope::try_from(text).map_err(|problem| error::validation(&format!("scopes[{place}]"), problem))
    });
    let scopes = scopes.collect::<Result<Vec<Scope>, _>>()?;
    Ok(Scopes::try_from(scopes).map_err(|problem| error::validation("scopes", problem))?)
}

fn read_networks(texts: Vec<String>) -> Result<AllowedIps> {
    let networks = texts.into_iter().enumerate().map(|(place, text)| {
        Network::try_from(text).map_err(|problem| error::validation(&format!("allowedIps[{place}]"), problem))
    });
    let networks = networks.collect::<Result<Vec<Network>, _>>()?;
    Ok(AllowedIps::try_from(networks).map_err(|problem| error::validation("allowedIps", problem))?)
}

/// Text that is no id names no token.
fn read_id(id: &ID) -> Result<TokenId> {
    Ok(id.parse().map_err(|_| error::new(ErrorCode::NotFound.as_str(), "There is no such token"))?)
}
