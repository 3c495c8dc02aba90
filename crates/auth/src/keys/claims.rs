//! What the JWTs say that the key ring signs. Each kind names itself, so that none is taken where another is due.

use domain::{Scopes, SessionId, Timestamp, TokenId, TokenSecretId, UserId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use store::{Session, User};

use super::{ISSUER, SESSION_AUDIENCE};

/// The claims of a JWT of the key ring's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Claims {
    /// A person's session.
    Access(SessionClaims),
    /// Got for a personal access token by token exchange (RFC 8693).
    Narrowed(NarrowedClaims),
}

/// The claims of the two JWTs of a person's session, of which only the kind differs. Together with the signature they say
/// everything about the JWT, so the pair can be made again for a client that lost the reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionClaims {
    #[serde(rename = "userId")]
    pub(crate) user_id: UserId,
    pub(crate) email: Option<String>,
    #[serde(rename = "sessionId")]
    pub(crate) session_id: SessionId,
    iss: String,
    aud: String,
    iat: i64,
    exp: i64,
    /// Which pair of its session this belongs to, counted from 0.
    #[serde(rename = "jti")]
    generation: String,
}

impl SessionClaims {
    /// Those of the session's present pair, of which this JWT lives until `expires_at`.
    pub(crate) fn new(session: &Session, user: &User, expires_at: Timestamp) -> Self {
        Self {
            user_id: user.id.clone(),
            email: user.email.clone(),
            session_id: session.id.clone(),
            iss: ISSUER.to_owned(),
            aud: SESSION_AUDIENCE.to_owned(),
            iat: session.rotated_at.as_seconds(),
            exp: expires_at.as_seconds(),
            generation: session.generation.to_string(),
        }
    }

    /// Bytes that its texts take in memory.
    fn bytes(&self) -> usize {
        let Self { user_id, email, session_id, iss, aud, iat: _, exp: _, generation } = self;
        let ids = user_id.as_str().len() + session_id.as_str().len();
        ids + email.as_deref().map_or(0, str::len) + iss.len() + aud.len() + generation.len()
    }

    pub(crate) fn generation(&self) -> Option<i64> {
        self.generation.parse().ok()
    }

    pub(crate) fn issued_at(&self) -> Timestamp {
        Timestamp::from_seconds(self.iat)
    }

    pub(crate) fn expires_at(&self) -> Timestamp {
        Timestamp::from_seconds(self.exp)
    }

    /// Whether the claims that all these JWTs have in common are right.
    pub(super) fn are_in_order(&self) -> bool {
        self.iss == ISSUER && self.aud == SESSION_AUDIENCE
    }
}

/// The claims of a narrowed JWT (RFC 8693 §4, RFC 9068 §2.2 names where they have them).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NarrowedClaims {
    iss: String,
    /// Whose the parent is.
    pub(crate) sub: UserId,
    aud: Bound,
    iat: i64,
    exp: i64,
    /// Its own id; it is kept nowhere.
    pub(crate) jti: String,
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub(crate) scope: Scopes,
    /// The personal access token.
    pub(crate) parent: TokenId,
    /// The secret by which it was got; when that is dead, so is this.
    pub(crate) parent_secret_id: TokenSecretId,
    /// RFC 8693 §4.1: who acts, for `sub`.
    act: Act,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Act {
    sub: TokenId,
}

/// What a narrowed JWT is made from.
pub(crate) struct Narrowing {
    pub(crate) user_id: UserId,
    pub(crate) parent: TokenId,
    pub(crate) parent_secret_id: TokenSecretId,
    pub(crate) scope: Scopes,
    /// Empty for whoever names no audience.
    pub(crate) audience: Vec<String>,
    pub(crate) jti: String,
    pub(crate) issued_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// The `aud` of narrowed JWTs for which nobody named an audience: not that of sessions, so that a program that verifies
/// those offline takes none of these.
const GENERAL_AUDIENCE: &str = "alternatefutures-api";

impl NarrowedClaims {
    pub(crate) fn new(narrowing: Narrowing) -> Self {
        let Narrowing { user_id, parent, parent_secret_id, scope, audience, jti, issued_at, expires_at } = narrowing;
        let general = || vec![GENERAL_AUDIENCE.to_owned()];
        Self {
            iss: ISSUER.to_owned(),
            sub: user_id,
            aud: Bound(if audience.is_empty() { general() } else { audience }),
            iat: issued_at.as_seconds(),
            exp: expires_at.as_seconds(),
            jti,
            scope,
            act: Act { sub: parent.clone() },
            parent,
            parent_secret_id,
        }
    }

    /// Bytes that its texts take in memory, without the scopes.
    fn bytes(&self) -> usize {
        let Self { iss, sub, aud, iat: _, exp: _, jti, scope: _, parent, parent_secret_id, act } = self;
        let ids = [sub.as_str(), parent.as_str(), parent_secret_id.as_str(), act.sub.as_str(), iss, jti];
        let audiences = aud.0.iter().map(|audience| size_of::<String>() + audience.len()).sum::<usize>();
        ids.into_iter().map(str::len).sum::<usize>() + audiences
    }

    /// For whom alone it is good, if it was asked for so.
    pub(crate) fn audience(&self) -> Option<&[String]> {
        if self.aud.0 == [GENERAL_AUDIENCE] { None } else { Some(&self.aud.0) }
    }

    pub(crate) fn issued_at(&self) -> Timestamp {
        Timestamp::from_seconds(self.iat)
    }

    pub(crate) fn expires_at(&self) -> Timestamp {
        Timestamp::from_seconds(self.exp)
    }
}

impl Claims {
    /// Bytes that their texts take in memory; each is an allocation of its own, so some more. Scopes are not counted.
    pub(super) fn bytes(&self) -> usize {
        /// What is lost to rounding, of ten texts.
        const ROUNDED: usize = 80;
        ROUNDED
            + match self {
                Self::Access(claims) => claims.bytes(),
                Self::Narrowed(claims) => claims.bytes(),
            }
    }

    pub(super) fn expires_at(&self) -> Timestamp {
        match self {
            Self::Access(claims) => claims.expires_at(),
            Self::Narrowed(claims) => claims.expires_at(),
        }
    }

    /// Whether the claims that every JWT of this kind has in common are right.
    pub(super) fn are_in_order(&self) -> bool {
        match self {
            Self::Access(claims) => claims.are_in_order(),
            Self::Narrowed(claims) => claims.iss == ISSUER && claims.act.sub == claims.parent,
        }
    }
}

/// RFC 7519 §4.1.3: one audience is a string, several are a list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bound(Vec<String>);

impl Serialize for Bound {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => serializer.serialize_str(one),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrSeveral {
            One(String),
            Several(Vec<String>),
        }
        Ok(Self(match OneOrSeveral::deserialize(deserializer)? {
            OneOrSeveral::One(audience) => vec![audience],
            OneOrSeveral::Several(audiences) => audiences,
        }))
    }
}

fn as_text<S: Serializer>(scopes: &Scopes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(scopes)
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Scopes, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}
