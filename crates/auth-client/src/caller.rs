//! [`Caller`]: who is calling, as an argument of a handler.

use std::sync::Arc;

use auth_api::ValidReply;
use axum::extract::FromRequestParts;
use axum::response::Response;
use domain::{ClientInfo, Scopes, UserId};
use http::request::Parts;
use web::ApiError;

use crate::{AuthClient, Credential, EndUser, Valid};

/// Whom the auth service has just vouched for. An extractor, for routes behind an [`AuthLayer`](crate::AuthLayer):
///
/// ```
/// use auth_client::Caller;
///
/// async fn greet(caller: Caller) -> String {
///     format!("Hello, {}", caller.email().unwrap_or("you"))
/// }
/// ```
///
/// On a route without a layer it is a 500, so that a forgotten layer opens nothing.
#[derive(Debug, Clone)]
pub struct Caller(Arc<(Valid, ClientInfo)>);

impl Caller {
    pub(crate) fn new(valid: Valid, client: ClientInfo) -> Self {
        Self(Arc::new((valid, client)))
    }

    /// All that the auth service said.
    #[must_use]
    pub fn reply(&self) -> &ValidReply {
        &self.0.0.reply
    }

    /// Whose the credential is.
    #[must_use]
    pub fn user_id(&self) -> &UserId {
        &self.reply().user_id
    }

    /// By what they called.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.0.0.credential
    }

    /// Their e-mail address, if they have one.
    #[must_use]
    pub fn email(&self) -> Option<&str> {
        self.reply().email.as_deref()
    }

    /// What the credential may do.
    #[must_use]
    pub fn scopes(&self) -> &Scopes {
        &self.reply().scopes
    }

    /// Whether it may do this, for questions that a handler decides: `*` may all, `reports:*` may `reports:read`.
    #[must_use]
    pub fn may(&self, scope: &str) -> bool {
        self.scopes().allow(scope)
    }

    /// In whose name [`AuthClient`] makes calls for them, to list their tokens for example.
    #[must_use]
    pub fn end_user(&self) -> EndUser {
        self.0.0.end_user(self.0.1.clone())
    }
}

/// In the extensions of a request that passed. Private, so that nothing but the layer can put one there.
#[derive(Clone)]
pub(crate) struct Vouched {
    pub(crate) caller: Caller,
    pub(crate) by: Arc<AuthClient>,
    pub(crate) request_id: String,
}

impl Vouched {
    /// Whether it was this client who asked: another one's auth service has other people.
    pub(crate) fn is_by(&self, client: &Arc<AuthClient>) -> bool {
        Arc::ptr_eq(&self.by, client)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        if let Some(vouched) = parts.extensions.get::<Vouched>() {
            return Ok(vouched.caller.clone());
        }
        let request_id = parts.headers.get("x-request-id").and_then(|id| id.to_str().ok());
        let request_id = request_id.filter(|id| ClientInfo::is_sane_request_id(id)).unwrap_or_default();
        let problem = format!("{} asks for its caller and has no AuthLayer", parts.uri.path());
        Err(ApiError::internal(&problem).render(request_id))
    }
}
