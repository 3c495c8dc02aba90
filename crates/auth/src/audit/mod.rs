//! The audit log as its owner reads it. Who writes it is in `store`: each change with its event, in one transaction.

use auth_api::{AuditActor, AuditEvent, AuditPage};
use domain::audit::EventType;
use store::{Cursor, Event};
use web::ApiError;

use crate::principal::Principal;
use crate::{AuthService, no_list};

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 100;

/// Which part of the log is wanted, checked.
pub(crate) struct Wanted {
    limit: u32,
    after: Option<Cursor>,
    kind: Option<EventType>,
}

impl Wanted {
    /// Reads the query's fields.
    pub(crate) fn read(limit: Option<u32>, cursor: Option<&str>, kind: Option<&str>) -> Result<Self, ApiError> {
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(ApiError::validation("limit", "must be between 1 and 100"));
        }
        let after = cursor.map(str::parse).transpose().map_err(|error| ApiError::validation("cursor", error))?;
        let kind = kind.map(str::parse).transpose().map_err(|error| ApiError::validation("type", error))?;
        Ok(Self { limit, after, kind })
    }
}

/// One page of the caller's own events, newest first.
pub(crate) async fn page(auth: &AuthService, caller: &Principal, wanted: Wanted) -> Result<AuditPage, ApiError> {
    let Wanted { limit, after, kind } = wanted;
    let page = auth.store.list_events(&caller.user_id, kind, after.as_ref(), limit).await.map_err(no_list(auth))?;
    Ok(AuditPage {
        events: page.events.into_iter().map(wire).collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    })
}

fn wire(event: Event) -> AuditEvent {
    AuditEvent {
        id: event.id,
        kind: event.kind,
        at: event.at,
        actor: AuditActor {
            user_id: event.user_id,
            token_id: event.actor.token_id,
            session_id: event.actor.session_id,
            service: event.actor.service,
        },
        ip: event.client.ip.map(|ip| ip.to_string()),
        user_agent: event.client.user_agent,
        request_id: event.client.request_id,
        metadata: event.metadata,
    }
}
