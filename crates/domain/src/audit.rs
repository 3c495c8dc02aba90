//! What is written down about what happened.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{SessionId, TokenId};

macro_rules! event_types {
    ($($(#[$doc:meta])* $variant:ident => $text:literal,)*) => {
        /// The kind of an audit event: `subject.what_happened`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum EventType {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }

        impl EventType {
            /// All kinds, in the order of their documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The kind's name on the wire and in the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

event_types! {
    /// An account came into being at somebody's first sign-in, or an operator made it.
    UserCreated => "user.created",
    /// A one-time code was sent to an address that has an account.
    CodeRequested => "code.requested",
    /// Somebody proved who they are; a session began.
    SignInSucceeded => "sign_in.succeeded",
    /// A wrong code for an address that has an account.
    SignInFailed => "sign_in.failed",
    /// The first factor was right; the second is awaited.
    MfaRequired => "sign_in.mfa_required",
    /// A way in was added to an account.
    MethodLinked => "method.linked",
    /// A way in was removed from an account.
    MethodUnlinked => "method.unlinked",
    /// A way in became the one that is shown first.
    MethodPrimarySet => "method.primary_set",
    /// A user changed their profile.
    UserUpdated => "user.updated",
    /// An operator shut an account; its sessions ended and its tokens are refused.
    UserDisabled => "user.disabled",
    /// An operator opened an account again; its tokens work again.
    UserEnabled => "user.enabled",
    /// A user deleted their account, or an operator did.
    UserDeleted => "user.deleted",
    /// Whoever reads the person's mail ended all of their sessions and tokens, by the link in a mail.
    UserSecured => "user.secured",
    /// A second factor was switched on.
    MfaEnabled => "mfa.enabled",
    /// A second factor was switched off.
    MfaDisabled => "mfa.disabled",
    /// The backup codes of a second factor gave way to new ones.
    MfaBackupCodesReplaced => "mfa.backup_codes_replaced",
    /// An operator removed the second factor of somebody who had lost it.
    MfaReset => "mfa.reset",
    /// A wrong second proof.
    MfaFailed => "mfa.failed",
    /// A session got a new pair of tokens.
    SessionRefreshed => "session.refreshed",
    /// Whoever has a session proved again who they are.
    SessionReauthenticated => "session.reauthenticated",
    /// Somebody who has a session gave a wrong code for it.
    SessionReauthenticationFailed => "session.reauthentication_failed",
    /// The refresh token before the present one came again, soon enough to be answered, but from another address and
    /// another program than it was first used from.
    SessionRefreshReplayed => "session.refresh_replayed",
    /// A session was ended by its owner or an operator.
    SessionEnded => "session.ended",
    /// An old refresh token came back; its session was ended.
    SessionReuseDetected => "session.reuse_detected",
    /// A personal access token was created.
    TokenCreated => "token.created",
    /// A personal access token of an older system was imported.
    TokenImported => "token.imported",
    /// A personal access token was used from an address that it was not last used from.
    TokenUsed => "token.used",
    /// A personal access token got a new secret.
    TokenRotated => "token.rotated",
    /// A personal access token reached its request limit.
    TokenLimited => "token.rate_limited",
    /// A short-lived JWT was got for a personal access token.
    TokenExchanged => "token.exchanged",
    /// Somebody found a personal access token where it should not be.
    TokenLeaked => "token.leaked",
    /// A personal access token was deleted by its owner or an operator.
    TokenDeleted => "token.deleted",
    /// A personal access token was removed 30 days after it had expired.
    TokenPurged => "token.purged",
    /// Somebody let a program in that had asked for access.
    PairingApproved => "pairing.approved",
    /// Somebody refused a program that had asked for access.
    PairingDenied => "pairing.denied",
    /// A new key pair signs JWTs from now on; the ones before it end.
    SigningKeyAdded => "signing_key.added",
    /// Spent and expired one-time codes were removed.
    CodesPurged => "codes.purged",
    /// The oldest events were removed, since they had been kept for as long as they are.
    AuditPruned => "audit.pruned",
    /// Events that an older version of this program had sealed were sealed anew.
    AuditResealed => "audit.resealed",
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Text that names no kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a type of audit event")]
pub struct UnknownEventType;

impl FromStr for EventType {
    type Err = UnknownEventType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text).ok_or(UnknownEventType)
    }
}

/// By what means a user, or the service itself, acted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    /// The session that was used.
    pub session_id: Option<SessionId>,
    /// The personal access token that was used.
    pub token_id: Option<TokenId>,
    /// The service that called on the user's behalf, or that acted by itself.
    pub service: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_kinds() {
        for &kind in EventType::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        assert_eq!("token.eaten".parse::<EventType>(), Err(UnknownEventType));
    }
}
