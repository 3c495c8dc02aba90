//! What a token may do.

mod pool;

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize, Serializer};

pub use pool::ScopePool;

/// One scope: `*`, or `[a-z][a-z0-9_.-]*(:[a-z0-9_.-]+)*(:\*)?`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Scope(Box<str>);

/// The most scopes one token carries.
const MAX_SCOPES: usize = 32;
const MAX_LENGTH: usize = 256;

/// Text that is not a scope, or a list that is too long or empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Outside the grammar.
    #[error("must be * or lower-case words joined by colons, such as projects:read or projects:*")]
    Malformed,
    /// More than 32.
    #[error("a token carries at most 32 scopes")]
    TooMany,
    /// A token that may do nothing; leaving the list out means everything.
    #[error("name at least one scope, or leave the list out for all of them")]
    Empty,
}

impl Scope {
    /// Everything.
    pub const ALL: &'static str = "*";

    /// The scope's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether whoever holds this scope holds `wanted` too: `*` covers all, `a:*` covers `a:b`, `a:b:c` and `a:b:*`.
    fn covers(&self, wanted: &str) -> bool {
        if *self.0 == *Self::ALL || *self.0 == *wanted {
            return true;
        }
        // `a:*` without its star is `a:`, with which all that it covers begins; `a` itself does not.
        self.0.strip_suffix('*').is_some_and(|stem| wanted.len() > stem.len() && wanted.starts_with(stem))
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |word: &str| {
            !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte))
        };
        let stem = text.strip_suffix(":*").unwrap_or(text);
        let well_formed = stem.starts_with(|first: char| first.is_ascii_lowercase())
            && stem.split(':').all(word)
            && text.len() <= MAX_LENGTH;
        if well_formed || text == Self::ALL { Ok(Self(text.into())) } else { Err(ScopeError::Malformed) }
    }
}

impl TryFrom<String> for Scope {
    type Error = ScopeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The scopes of one token: 1 to 32, without repetitions, in the order given. Clones share them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "Vec<Scope>")]
pub struct Scopes(Arc<[Scope]>);

static ALL: LazyLock<Scopes> = LazyLock::new(|| Scopes([Scope(Scope::ALL.into())].into()));

impl Scopes {
    /// All that its owner may do: what a token gets for which nobody named scopes.
    #[must_use]
    pub fn all() -> Self {
        ALL.clone()
    }

    /// Whether these scopes allow `wanted`.
    #[must_use]
    pub fn allow(&self, wanted: &str) -> bool {
        self.0.iter().any(|scope| scope.covers(wanted))
    }

    /// Whether everything that `narrower` allows is allowed here as well.
    #[must_use]
    pub fn contain(&self, narrower: &Self) -> bool {
        narrower.0.iter().all(|scope| self.allow(scope.as_str()))
    }

    /// The scopes one by one.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// Bytes that they take in memory, shared or not.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.0) + self.0.iter().map(|scope| scope.0.len()).sum::<usize>()
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl TryFrom<Vec<Scope>> for Scopes {
    type Error = ScopeError;

    fn try_from(scopes: Vec<Scope>) -> Result<Self, Self::Error> {
        if scopes.is_empty() {
            return Err(ScopeError::Empty);
        }
        if scopes.len() > MAX_SCOPES {
            return Err(ScopeError::TooMany);
        }
        let mut unique = Vec::with_capacity(scopes.len());
        for scope in scopes {
            if !unique.contains(&scope) {
                unique.push(scope);
            }
        }
        Ok(Self(unique.into()))
    }
}

/// Space-separated, as OAuth writes scopes (RFC 6749 §3.3) and as the database keeps them.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, scope) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl FromStr for Scopes {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(' ').filter(|part| !part.is_empty()).map(str::parse).collect::<Result<Vec<Scope>, _>>()?.try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(text: &str) -> Scopes {
        text.parse().unwrap()
    }

    #[test]
    fn the_grammar_is_the_contracts() {
        for text in ["*", "a", "tokens:read", "a1_.-:b:c", "projects:*", "a:b:*", "a:1"] {
            assert!(text.parse::<Scope>().is_ok(), "{text}");
        }
        for text in ["", "**", ":", "a:", ":a", "a::b", "*:a", "a:*:b", "A", "1a", "a b", "a:*x", "ä", "a\n", ":*"] {
            assert_eq!(text.parse::<Scope>(), Err(ScopeError::Malformed), "{text:?}");
        }
    }

    #[test]
    fn a_wildcard_covers_what_is_below_it_only() {
        let held = scopes("projects:* tokens:read");
        for allowed in ["projects:read", "projects:a:b", "projects:*", "tokens:read"] {
            assert!(held.allow(allowed), "{allowed}");
        }
        for refused in ["projects", "projectsx", "projectsx:read", "tokens:write", "tokens:*", "*", "tokens"] {
            assert!(!held.allow(refused), "{refused}");
        }
        assert!(Scopes::all().allow("anything:at:all"));
    }

    #[test]
    fn nothing_contains_more_than_itself() {
        assert!(Scopes::all().contain(&scopes("* a:b")));
        assert!(scopes("a:*").contain(&scopes("a:b a:c:*")));
        assert!(!scopes("a:b:*").contain(&scopes("a:*")));
        assert!(!scopes("a:*").contain(&Scopes::all()));
    }

    #[test]
    fn lists_are_bounded_and_without_repetitions() {
        assert_eq!(scopes("a b a").to_string(), "a b");
        assert_eq!("".parse::<Scopes>(), Err(ScopeError::Empty));
        let many = (0..33).map(|n| format!("s{n}")).collect::<Vec<_>>().join(" ");
        assert_eq!(many.parse::<Scopes>(), Err(ScopeError::TooMany));
        assert!(many[..many.rfind(' ').unwrap()].parse::<Scopes>().is_ok());
    }
}
