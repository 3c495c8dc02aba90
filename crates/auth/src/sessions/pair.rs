//! The access and refresh JWT of a session, derived from its row: the same row always gives the same pair, so a pair
//! whose reply was lost can be given again without keeping it.

use auth_api::{SessionReply, SessionUser};
use domain::{SessionId, Timestamp};
use store::{NewSession, Session, User};

use crate::AuthService;
use crate::keys::{Claims, SessionClaims};

/// A session that begins now.
pub(crate) fn new_session(auth: &AuthService, id: SessionId, now: Timestamp) -> NewSession {
    NewSession {
        refresh_digest: auth.refresh_key.digest(&id, 0),
        id,
        expires_at: now.plus(auth.config.refresh_lifetime),
        absolute_expires_at: now.plus(auth.config.session_max_lifetime),
    }
}

/// What the client gets after every sign-in and refresh.
pub(crate) fn session_reply(auth: &AuthService, session: &Session, user: User) -> SessionReply {
    let ends = session.expires_at;
    let access = SessionClaims::new(session, &user, session.rotated_at.plus(auth.config.access_lifetime).min(ends));
    let refresh = SessionClaims::new(session, &user, ends);
    SessionReply {
        success: true,
        access_token: auth.validator.keys.sign(&Claims::Access(access), auth.clock.now()),
        refresh_token: auth.refresh_key.sign(refresh),
        user: SessionUser {
            id: user.id,
            email: user.email,
            phone: user.phone,
            display_name: user.display_name,
            avatar_url: user.avatar_url,
            wallet_address: user.wallet_address,
        },
    }
}
