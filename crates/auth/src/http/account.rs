//! `/auth/me` and `/audit`.

use std::sync::Arc;

use auth_api::{AuditPage, ErrorBody, MeReply};
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use web::ApiError;

use super::caller::{AuditRead, ProfileRead, User};
use crate::{AuthService, account, audit};

/// Who one is.
#[utoipa::path(get, path = "/auth/me", tag = "account",
    responses((status = 200, body = MeReply), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(super) async fn me(
    State(auth): State<Arc<AuthService>>,
    User { principal, .. }: User<ProfileRead>,
) -> Result<Json<MeReply>, ApiError> {
    account::me(&auth, &principal).await.map(Json)
}

/// Which page of the audit log.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Events a page, 1 to 100; 50 when absent.
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// Only events of this type.
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// What happened to one's account, newest first.
#[utoipa::path(get, path = "/audit", tag = "account", params(AuditQuery),
    responses((status = 200, body = AuditPage), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
              (status = 403, body = ErrorBody)))]
pub(super) async fn audit_log(
    State(auth): State<Arc<AuthService>>,
    User { principal, .. }: User<AuditRead>,
    web::Query(AuditQuery { limit, cursor, kind }): web::Query<AuditQuery>,
) -> Result<Json<AuditPage>, ApiError> {
    let wanted = audit::Wanted::read(limit, cursor.as_deref(), kind.as_deref())?;
    audit::page(&auth, &principal, wanted).await.map(Json)
}
