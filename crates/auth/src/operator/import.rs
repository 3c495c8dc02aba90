//! Importing the tokens of an older system.

use domain::token::TokenSecret;
use domain::{EmailAddress, Scopes, Timestamp, TokenId, TokenName, TokenSecretId, UserId};
use futures_util::future::try_join_all;
use store::{Import, ImportOutcome};

use super::issue::{Issuer, IssuerError};

/// A token of an older system, in clear.
#[derive(Debug, Clone)]
pub struct OldToken {
    /// The id it has had, and keeps.
    pub id: TokenId,
    /// Whose it is.
    pub user_id: UserId,
    /// The user's address, for an account that has to be created.
    pub email: Option<EmailAddress>,
    /// Its name.
    pub name: TokenName,
    /// The token.
    pub secret: TokenSecret,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
    /// When it was created; now, where nobody knows.
    pub created_at: Option<Timestamp>,
}

impl Issuer {
    /// Imports these tokens in one transaction, and returns what became of them, in the same order. Those that are
    /// known cost no bcrypt, the others one each, as many at a time as there are processors.
    pub async fn import(&self, tokens: &[OldToken], create_users: bool) -> Result<Vec<ImportOutcome>, IssuerError> {
        let imports: Vec<Import> = tokens.iter().map(|token| self.import_of(token, create_users)).collect();
        let known = self.operator.store().preview_import(&imports).await?;
        let unknown = || known.iter().enumerate().filter(|(_, known)| known.is_none()).map(|(place, _)| place);
        let hashes = try_join_all(unknown().map(|place| self.hasher.hash(&tokens[place].secret))).await?;
        let wanted: Vec<(Import, String)> =
            unknown().zip(hashes).map(|(place, hash)| (imports[place].clone(), hash)).collect();
        let mut imported = if wanted.is_empty() {
            Vec::new()
        } else {
            self.operator.store().import_tokens(&wanted, || self.operator.event()).await?
        }
        .into_iter();
        Ok(known.into_iter().filter_map(|known| known.or_else(|| imported.next())).collect())
    }

    /// What importing these tokens would do, as far as can be told; changes nothing.
    pub async fn preview(&self, tokens: &[OldToken], create_users: bool) -> Result<Vec<ImportOutcome>, IssuerError> {
        let imports: Vec<Import> = tokens.iter().map(|token| self.import_of(token, create_users)).collect();
        let known = self.operator.store().preview_import(&imports).await?;
        Ok(known.into_iter().map(|known| known.unwrap_or(ImportOutcome::Imported { user_created: false })).collect())
    }

    fn import_of(&self, token: &OldToken, create_users: bool) -> Import {
        let operator = &self.operator;
        Import {
            id: token.id.clone(),
            user_id: token.user_id.clone(),
            owner: create_users
                .then(|| operator.new_user(Some(token.user_id.clone()), None, token.email.as_ref(), None)),
            name: token.name.clone(),
            // The older system knew none: its tokens did everything.
            scopes: Scopes::all(),
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
            created_at: token.created_at.unwrap_or_else(|| operator.clock.now()),
            secret_id: operator.chance.with(|rng| TokenSecretId::generate(rng)),
            digest: self.token_digests.digest(&[token.secret.expose()]),
            seal_key: self.token_digests.id().clone(),
            prefix: token.secret.prefix().to_owned(),
            hint: token.secret.hint(),
        }
    }
}
