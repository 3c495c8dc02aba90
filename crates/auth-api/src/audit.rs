//! The audit log as its owner reads it.

use domain::audit::EventType;
use domain::{EventId, SessionId, Timestamp, TokenId, UserId};
use serde::{Deserialize, Serialize};

/// `GET /audit`: one page, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AuditPage {
    /// The events of this page.
    pub events: Vec<AuditEvent>,
    /// What to pass as `cursor` for the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// Something that happened to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// The event's id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: EventId,
    /// What happened.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub kind: EventType,
    /// When.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// Who did it, and by what means.
    pub actor: AuditActor,
    /// From what address.
    pub ip: Option<String>,
    /// With what program.
    pub user_agent: Option<String>,
    /// Under what request id it is in the logs.
    pub request_id: Option<String>,
    /// What else is worth knowing; never a secret.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub metadata: std::collections::BTreeMap<String, String>,
}

impl AuditEvent {
    /// What to pass as `cursor` to read on after this event; [`AuditPage::next_cursor`] is that of its last event.
    #[must_use]
    pub fn cursor(&self) -> String {
        format!("{}.{}", self.at.as_millis(), self.id)
    }
}

/// Who did something, and by what means.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AuditActor {
    /// The user.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub user_id: Option<UserId>,
    /// The personal access token that was used.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub token_id: Option<TokenId>,
    /// The session that was used.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub session_id: Option<SessionId>,
    /// The service that called on the user's behalf, or acted by itself.
    pub service: Option<String>,
}
