//! On whose behalf a call is made.

use auth_api::Bounds;
use domain::{ClientInfo, Scopes, SessionId, Timestamp, TokenId, UserId};

/// The credential by which a user called us. The auth service holds our calls for the user to what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A personal access token.
    Token(TokenId),
    /// A JWT that was got for a personal access token by token exchange.
    Narrowed {
        /// The token.
        parent: TokenId,
        /// What of the token's scopes it has.
        scopes: Scopes,
    },
    /// A person's session.
    Session(SessionId),
}

/// A user whose credential was validated, and their call as we saw it. [`Valid::end_user`](crate::Valid::end_user) makes
/// one of what the auth service has said; whoever makes one otherwise and leaves the bounds out is held to the least that
/// the credential has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndUser {
    /// Who.
    pub id: UserId,
    /// By what means.
    pub credential: Credential,
    /// What bounds the credential besides.
    pub bounds: Bounds,
    /// When it ends; `None` when it does not.
    pub expires_at: Option<Timestamp>,
    /// From where, for the audit log.
    pub client: ClientInfo,
}
