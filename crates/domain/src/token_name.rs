//! Names that people give their tokens.

use std::fmt;
use std::str::FromStr;

/// A token's name: trimmed, 1 to 100 characters of `[A-Za-z0-9 ._-]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenName(String);

const MAX_LENGTH: usize = 100;

/// A name that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("A token's name has 1 to 100 characters: letters, digits, spaces, dots, underscores and hyphens")]
pub struct TokenNameError;

impl TokenName {
    /// The nearest name to one that an older system allowed: characters that names do not have here become hyphens,
    /// what is too long is cut, and nothing at all becomes `imported`.
    #[must_use]
    pub fn nearest(text: &str) -> Self {
        let allowed = |c: char| if c.is_ascii_alphanumeric() || " ._-".contains(c) { c } else { '-' };
        let name: String = text.trim().chars().map(allowed).take(MAX_LENGTH).collect();
        name.parse().unwrap_or_else(|_| Self("imported".to_owned()))
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenName {
    type Err = TokenNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.trim();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b" ._-".contains(&byte);
        if name.is_empty() || name.len() > MAX_LENGTH || !name.bytes().all(allowed) {
            return Err(TokenNameError);
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed() {
        assert_eq!("  CI deploy_1.2-x \n".parse::<TokenName>().unwrap().as_str(), "CI deploy_1.2-x");
    }

    #[test]
    fn names_of_older_systems_become_the_nearest() {
        for (text, name) in [
            ("CI deploy", "CI deploy"),
            ("  Ann's laptop\t(old) ", "Ann-s laptop--old-"),
            ("naïve/名前", "na-ve---"),
            (" \n", "imported"),
            ("", "imported"),
        ] {
            assert_eq!(TokenName::nearest(text).as_str(), name, "{text:?}");
        }
        let long = format!("{}  end", "ä".repeat(99));
        assert_eq!(TokenName::nearest(&long).as_str(), "-".repeat(99), "cut to 100 and trimmed");
        assert_eq!(TokenName::nearest(&long).as_str().parse(), Ok(TokenName::nearest(&long)));
    }

    #[test]
    fn names_outside_the_grammar_are_refused() {
        for text in ["", "   ", "a\nb", "a\tb", "naïve", "a/b", "<b>", "a\0", "😀", &"x".repeat(101)] {
            assert_eq!(text.parse::<TokenName>(), Err(TokenNameError), "{text:?}");
        }
        assert!("x".repeat(100).parse::<TokenName>().is_ok());
    }
}
