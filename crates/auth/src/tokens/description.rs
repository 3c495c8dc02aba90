//! What the validate route says of a credential, without the state of its window: written when the credential is read,
//! so that the copy holds these texts once.

use auth_api::{CredentialKind, RateLimit, ValidReply};
use domain::{Scopes, Timestamp, UserId};

/// What is said.
pub(super) struct Described<'a> {
    pub(super) kind: CredentialKind,
    pub(super) is_narrowed: bool,
    pub(super) user_id: &'a UserId,
    /// The token's, or the session's.
    pub(super) id: &'a str,
    /// A token's name; sessions have none.
    pub(super) name: Option<String>,
    pub(super) scopes: &'a Scopes,
    pub(super) email: Option<String>,
    pub(super) display_name: Option<String>,
    pub(super) avatar_url: Option<String>,
    pub(super) expires_at: Option<Timestamp>,
}

/// A [`ValidReply`] up to the value of its last field, the state of the window.
pub(super) fn describe(described: Described<'_>) -> Box<[u8]> {
    const LAST_FIELD: &[u8] = br#""rateLimit":"#;
    let Described { kind, is_narrowed, user_id, id, name, scopes, email, display_name, avatar_url, expires_at } =
        described;
    let reply = ValidReply {
        valid: true,
        kind,
        narrowed: is_narrowed,
        user_id: user_id.clone(),
        token_id: id.to_owned(),
        name,
        scopes: scopes.clone(),
        email,
        display_name,
        avatar_url,
        expires_at,
        rate_limit: RateLimit { limit: 0, remaining: 0, reset_at: Timestamp::from_millis(0) },
        user: None,
        bounds: None,
    };
    let mut json = serde_json::to_vec(&reply).expect("texts, numbers and lists are JSON");
    let last = json.windows(LAST_FIELD.len()).rposition(|text| text == LAST_FIELD).expect("it is the last field");
    json.truncate(last + LAST_FIELD.len());
    json.into()
}
