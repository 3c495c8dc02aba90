//! What a JWT of ours stands for: a session, or a part of a token for a while.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use domain::{Moment, Scopes, Timestamp};
use limiter::Evidence;

use super::cache::{Credential, CredentialId};
use super::description::{Described, describe};
use super::validate::{Rejection, Validator};
use crate::keys::{Claims, NarrowedClaims, SessionClaims};

impl Validator {
    /// `copy` is what an earlier validation of this very text learned, if it did: the signature was checked then, and
    /// stays right as long as its key does.
    pub(super) async fn load_jwt(
        &self,
        jwt: &str,
        copy: Option<&Credential>,
        at: Moment,
    ) -> Result<Credential, Rejection> {
        self.ensure_keys_are_current(at).await?;
        let known = copy.and_then(|copy| copy.signed.clone()).filter(|signed| self.keys.accepts(&signed.kid, at.wall));
        let signed = if let Some(signed) = known {
            signed
        } else {
            let mut signed = self.keys.verify(jwt, &*self.clock, at).await?;
            if let Claims::Narrowed(claims) = &mut signed.claims {
                claims.scope = self.scopes.share(claims.scope.clone());
            }
            Arc::new(signed)
        };
        let mut credential = match &signed.claims {
            Claims::Access(claims) => self.load_session(claims, at).await?,
            Claims::Narrowed(claims) => self.load_narrowed(claims, at.steady).await?,
        };
        credential.signed = Some(signed);
        Ok(credential)
    }

    async fn load_session(&self, claims: &SessionClaims, at: Moment) -> Result<Credential, Rejection> {
        let found = self.store.find_session(&claims.session_id).await?;
        let (session, user) = found.ok_or(Rejection::SessionEnded)?;
        if user.id != claims.user_id || user.disabled_at.is_some() {
            return Err(Rejection::Invalid);
        }
        if session.absolute_expires_at <= at.wall {
            return Err(Rejection::Expired);
        }
        let id = CredentialId::Session(session.id);
        let (scopes, expires_at) = (Scopes::all(), Some(claims.expires_at()));
        let description = describe(Described {
            kind: id.kind(),
            is_narrowed: false,
            user_id: &user.id,
            id: id.as_str(),
            name: None,
            scopes: &scopes,
            email: user.email.clone(),
            display_name: user.display_name,
            avatar_url: user.avatar_url,
            expires_at,
        });
        Ok(Credential {
            window_key: id.window_key(),
            last_use: self.usage.of(&id),
            id,
            version: 0,
            user_id: user.id,
            scopes,
            allowed_ips: None,
            secret_id: None,
            signed: None,
            issued_at: claims.issued_at(),
            email: user.email,
            expires_at,
            loaded_at: at.steady,
            renewed_from: None,
            is_renewed: AtomicBool::new(false),
            evidence: Evidence::default(),
            window: None,
            description,
        })
    }

    /// A narrowed JWT is its parent, for a while and within some of its scopes: it lives while the secret works that it
    /// was got with, and has the parent's owner, networks and window.
    async fn load_narrowed(&self, claims: &NarrowedClaims, loaded_at: Timestamp) -> Result<Credential, Rejection> {
        let found = self.store.find_token_by_secret(&claims.parent_secret_id).await?.ok_or(Rejection::Invalid)?;
        let is_parent = found.token.id == claims.parent
            && found.token.user_id == claims.sub
            && found.token.scopes.contain(&claims.scope);
        if is_parent { self.token_credential(found, Some(claims), loaded_at) } else { Err(Rejection::Invalid) }
    }
}
