//! A look at a document's characters, before the parser recurses into its brackets.

use super::too_complex;
use crate::error::{self, CodedError};

/// How many brackets may be open at once. `GraphiQL`'s introspection query opens 15.
const MAX_NESTING: usize = 32;
/// Names, numbers, strings and punctuation together. `GraphiQL`'s introspection query has 200.
const MAX_TOKENS: usize = 2_000;

/// How many tokens a document has; refuses one with too much nesting or too many of them.
pub(super) fn scan(document: &str) -> Result<usize, CodedError> {
    let mut rest = document.as_bytes();
    let mut open = 0_usize;
    let mut tokens = 0_usize;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            // The byte order mark counts as white space (GraphQL §2.1.1), as do commas.
            b' ' | b'\t' | b'\n' | b'\r' | b',' | 0xEF | 0xBB | 0xBF => {
                rest = after;
                continue;
            }
            b'#' => {
                rest = skip_while(after, |byte| byte != b'\n' && byte != b'\r');
                continue;
            }
            b'"' => skip_string(rest)?,
            b'{' | b'[' | b'(' => {
                open += 1;
                after
            }
            b'}' | b']' | b')' => {
                open = open.saturating_sub(1);
                after
            }
            _ if is_word(byte) => skip_while(after, is_word),
            _ => after,
        };
        tokens += 1;
        if open > MAX_NESTING {
            return Err(too_complex(format!("The document nests deeper than {MAX_NESTING} levels")));
        }
        if tokens > MAX_TOKENS {
            return Err(too_complex(format!("The document has more than {MAX_TOKENS} tokens")));
        }
    }
    Ok(tokens)
}

/// Letters and digits of names and numbers.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn skip_while(bytes: &[u8], skip: impl Fn(u8) -> bool) -> &[u8] {
    let end = bytes.iter().position(|&byte| !skip(byte)).unwrap_or(bytes.len());
    &bytes[end..]
}

/// What follows the string at the beginning of `bytes`.
///
/// A string that does not end is refused here: the parser would take it up differently from us, and what we believe to
/// be within the string could be brackets to it.
fn skip_string(bytes: &[u8]) -> Result<&[u8], CodedError> {
    let unterminated = || error::new(error::GRAPHQL_PARSE_FAILED, "The document does not parse: a string does not end");
    if let Some(mut rest) = bytes.strip_prefix(br#"""""#) {
        loop {
            if let Some(after) = rest.strip_prefix(br#"""""#) {
                return Ok(after);
            }
            rest = match rest.strip_prefix(br#"\""""#) {
                Some(after) => after,
                None => rest.split_first().ok_or_else(unterminated)?.1,
            };
        }
    }
    let mut rest = &bytes[1..];
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Ok(after),
            [b'\\', b'\n' | b'\r', ..] | [b'\n' | b'\r', ..] | [] | [b'\\'] => return Err(unterminated()),
            [b'\\', _, after @ ..] | [_, after @ ..] => after,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_wherever_the_parser_would_recurse() {
        for (open, close) in [("{a", "}"), ("[", "]"), ("(a:[", "])"), ("{a:{", "}}")] {
            let depth = MAX_NESTING + 1;
            assert!(scan(&(open.repeat(depth) + &close.repeat(depth))).is_err(), "{open}");
            assert!(scan(&open.repeat(depth)).is_err(), "{open} without an end");
        }
        assert!(scan(&("{a".repeat(MAX_NESTING) + &"}".repeat(MAX_NESTING))).is_ok());
        assert!(scan(&"{a}".repeat(MAX_NESTING * 3)).is_ok(), "side by side is not nested");
    }

    #[test]
    fn brackets_in_strings_and_comments_do_not() {
        let many = "[{(".repeat(50);
        for document in [
            format!("{{a(b:\"{many}\")}}"),
            format!("{{a(b:\"\\\"{many}\")}}"),
            format!("{{a(b:\"\"\"{many}\"\"\")}}"),
            format!("{{a(b:\"\"\"\\\"\"\"{many}\n\"\"\")}}"),
            format!("{{a #{many}\n}}"),
            format!("{{a #{many}\r}}"),
        ] {
            assert!(scan(&document).is_ok(), "{document}");
        }
    }

    #[test]
    fn brackets_cannot_hide_behind_a_string_that_only_we_would_see() {
        let many = "[".repeat(50);
        for document in [
            format!("{{a(b:[\"\"\"x\" {many}"),
            format!("{{a(b:[\"\" {many}"),
            format!("{{a(b:[\"x\n {many}"),
            format!("{{a(b:[\"x\\\n {many}"),
            format!("{{a(b:[\"x\\\\\" {many}"),
            format!("{{a #\n {many}"),
            format!("{{a(b:[\"\"\"\"\"\" {many}"),
            "{a(b:\"".to_owned(),
            "{a(b:\"\\".to_owned(),
            "{a(b:\"\"\"\"".to_owned(),
        ] {
            assert!(scan(&document).is_err(), "{document}");
        }
    }

    #[test]
    fn tokens_are_counted() {
        assert!(scan(&"a ".repeat(MAX_TOKENS)).is_ok());
        assert!(scan(&"a ".repeat(MAX_TOKENS + 1)).is_err());
        assert!(scan(&"@skip ".repeat(MAX_TOKENS)).is_err());
        assert!(scan(&"$".repeat(MAX_TOKENS + 1)).is_err());
        assert!(scan(&"ä".repeat(MAX_TOKENS)).is_err());
        assert!(scan(&", \n".repeat(MAX_TOKENS * 9)).is_ok());
    }
}
