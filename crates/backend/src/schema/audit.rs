//! What happened to the caller's account.

use std::sync::Arc;

use async_graphql::{Context, ID, Json, Object, Result, SimpleObject};
use auth_client::AuthClient;

use super::date::Date;
use crate::caller::Caller;
use crate::error;

/// The events of a page where nobody says how many.
const DEFAULT_FIRST: i32 = 50;
/// The most events of one page.
const MAX_FIRST: u32 = 100;
/// No cursor of ours is longer.
const MAX_CURSOR_LENGTH: usize = 256;

/// A page of audit events, newest first.
#[derive(SimpleObject)]
struct AuditEventConnection {
    /// The events, each with its place.
    edges: Vec<AuditEventEdge>,
    /// The events.
    nodes: Vec<AuditEvent>,
    /// Whether and where it goes on.
    page_info: PageInfo,
}

/// An audit event and its place.
#[derive(SimpleObject)]
struct AuditEventEdge {
    /// What to pass as `after` to read on from here.
    cursor: String,
    /// The event.
    node: AuditEvent,
}

/// Whether and where a list goes on.
#[derive(SimpleObject)]
struct PageInfo {
    /// Whether there are older events.
    has_next_page: bool,
    /// What to pass as `after` for them.
    end_cursor: Option<String>,
}

/// Something that happened to the caller's account.
#[derive(Clone, SimpleObject)]
struct AuditEvent {
    /// The event's id.
    id: ID,
    /// What happened: `token.created`, for example.
    #[graphql(name = "type")]
    kind: &'static str,
    /// When.
    at: Date,
    /// Who did it, and by what means.
    actor: AuditActor,
    /// From what address.
    ip: Option<String>,
    /// With what program.
    user_agent: Option<String>,
    /// Under what request id it is in the logs.
    request_id: Option<String>,
    /// What else is worth knowing: an object of texts.
    metadata: Json<std::collections::BTreeMap<String, String>>,
}

/// Who did something, and by what means.
#[derive(Clone, SimpleObject)]
struct AuditActor {
    /// The user.
    user_id: Option<ID>,
    /// The personal access token that was used.
    token_id: Option<ID>,
    /// The session that was used.
    session_id: Option<ID>,
    /// The service that called on the user's behalf, or acted by itself.
    service: Option<String>,
}

impl From<auth_api::AuditEvent> for AuditEvent {
    fn from(event: auth_api::AuditEvent) -> Self {
        let actor = event.actor;
        Self {
            id: event.id.as_str().into(),
            kind: event.kind.as_str(),
            at: event.at.into(),
            actor: AuditActor {
                user_id: actor.user_id.map(|id| id.as_str().into()),
                token_id: actor.token_id.map(|id| id.as_str().into()),
                session_id: actor.session_id.map(|id| id.as_str().into()),
                service: actor.service,
            },
            ip: event.ip,
            user_agent: event.user_agent,
            request_id: event.request_id,
            metadata: Json(event.metadata),
        }
    }
}

#[derive(Default)]
pub(super) struct AuditQuery;

#[Object]
impl AuditQuery {
    /// What happened to the caller's account, newest first.
    #[graphql(
        complexity = "usize::try_from(first.unwrap_or(DEFAULT_FIRST)).unwrap_or(0).saturating_mul(child_complexity).saturating_add(1)"
    )]
    async fn audit_events(
        &self,
        context: &Context<'_>,
        #[graphql(default_with = "Some(DEFAULT_FIRST)", desc = "How many: 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Where to go on: a `cursor` or `endCursor` of an earlier page.")] after: Option<String>,
    ) -> Result<AuditEventConnection> {
        let user = Caller::user(context)?;
        let first = u32::try_from(first.unwrap_or(DEFAULT_FIRST)).ok().filter(|first| (1..=MAX_FIRST).contains(first));
        let first = first.ok_or_else(|| error::validation("first", "must be from 1 to 100"))?;
        if after.as_ref().is_some_and(|after| after.len() > MAX_CURSOR_LENGTH) {
            return Err(error::validation("after", "is not a cursor that this service has given out").into());
        }
        let auth = context.data::<Arc<AuthClient>>()?;
        let page = auth.audit_page(user, first, after.as_deref()).await.map_err(error::of_call)?;

        let edges: Vec<_> = page
            .events
            .into_iter()
            .map(|event| AuditEventEdge { cursor: event.cursor(), node: event.into() })
            .collect();
        let has_next_page = page.next_cursor.is_some();
        let end_cursor = page.next_cursor.or_else(|| edges.last().map(|edge| edge.cursor.clone()));
        let nodes = edges.iter().map(|edge| edge.node.clone()).collect();
        Ok(AuditEventConnection { edges, nodes, page_info: PageInfo { has_next_page, end_cursor } })
    }
}
