//! Secrets that operators make for others.

use std::sync::Arc;
use std::time::Duration;

use domain::token::{Kind, TokenSecret};
use domain::{DigestKey, Limit, Scopes, Timestamp, TokenId, TokenName, TokenSecretId, UserId};
use secrecy::{ExposeSecret, SecretString};
use store::{CreationLimits, CreationOutcome, NewToken, NewTokenSecret, StoreError, Token};

use super::Operator;
use crate::hashing::{HashError, Hasher, Waiting};
use crate::keys::Seal;

/// An operator who also has the service's secret under which tokens are sealed.
pub struct Issuer {
    pub(super) operator: Operator,
    pub(super) hasher: Arc<Hasher>,
    pub(super) token_digests: DigestKey,
}

/// A token that an operator wants for a user.
pub struct WishedToken {
    /// Whose it is to be.
    pub user_id: UserId,
    /// Its name.
    pub name: TokenName,
    /// What it may do.
    pub scopes: Scopes,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// Why nothing was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The secret is not the running service's; what it seals, the service would not find.
    #[error("is not what the auth service uses with this database")]
    OtherSecret,
    /// The database is away or broken.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// bcrypt failed.
    #[error("{0}")]
    Hash(String),
}

impl From<HashError> for IssuerError {
    fn from(error: HashError) -> Self {
        Self::Hash(error.to_string())
    }
}

/// An operator's decision counts for more than what users are granted.
const NO_LIMITS: CreationLimits =
    CreationLimits { creations: Limit { count: u32::MAX, window: Duration::from_secs(1) }, max_active: u32::MAX };

impl Issuer {
    /// `sealing`: `TOKEN_SEAL_KEY` if it is set, then `JWT_SECRET`, in this order.
    ///
    /// # Errors
    /// When the service has run on this database, and never with one of these secrets.
    pub async fn new(operator: Operator, sealing: &[SecretString], bcrypt_cost: u32) -> Result<Self, IssuerError> {
        let first = sealing.first().ok_or(IssuerError::OtherSecret)?;
        let seals: Vec<Seal> = sealing.iter().map(Seal::new).collect();
        let known = operator.store.list_signing_keys().await?;
        if !known.is_empty() && !known.iter().any(|key| seals.iter().any(|seal| *seal.id() == key.seal_key)) {
            return Err(IssuerError::OtherSecret);
        }
        let hasher = Arc::new(Hasher::new(bcrypt_cost, operator.chance.clone(), Waiting::default()));
        let token_digests = DigestKey::derive(first.expose_secret().as_bytes(), "tokens");
        Ok(Self { operator, hasher, token_digests })
    }

    /// The operator without the secret.
    #[must_use]
    pub const fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Creates a token; `None` when there is no such user, or they are disabled.
    pub async fn issue(&self, wish: WishedToken) -> Result<Option<(Token, TokenSecret)>, IssuerError> {
        let (secret, kept) = self.new_secret().await?;
        let WishedToken { user_id, name, scopes, expires_at } = wish;
        let id = self.operator.chance.with(|rng| TokenId::generate(rng));
        let new = NewToken { id, user_id, name, scopes, expires_at, secret: kept };
        match self.operator.store.create_token(&new, &NO_LIMITS, &self.operator.event()).await? {
            CreationOutcome::Created(token) => Ok(Some((*token, secret))),
            _ => Ok(None),
        }
    }

    /// A new secret for this token; the ones before it work for the grace.
    pub async fn rotate(&self, token: &Token, grace: Duration) -> Result<Option<(Token, TokenSecret)>, IssuerError> {
        let (secret, kept) = self.new_secret().await?;
        let event = self.operator.event();
        let rotated = self.operator.store.rotate_token(&token.user_id, &token.id, &kept, grace, &event).await?;
        Ok(rotated.map(|token| (token, secret)))
    }

    async fn new_secret(&self) -> Result<(TokenSecret, NewTokenSecret), IssuerError> {
        let chance = &self.operator.chance;
        let (secret, id) = chance.with(|rng| (TokenSecret::generate(Kind::Live, rng), TokenSecretId::generate(rng)));
        let hash = self.hasher.hash(&secret).await?;
        let kept = NewTokenSecret {
            id,
            hash,
            digest: self.token_digests.digest(&[secret.expose()]),
            seal_key: self.token_digests.id().clone(),
            prefix: secret.prefix().to_owned(),
        };
        Ok((secret, kept))
    }
}
