//! What `docs/guard/secret-scanning.md` tells scanners is true of the tokens that we make.

use domain::token::{Kind, TokenSecret, is_well_formed};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use regex::Regex;

const PAGE: &str = include_str!("../../../docs/guard/secret-scanning.md");

/// What stands between these two on the page, where they come first.
fn between(before: &str, after: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(before).unwrap_or_else(|| panic!("{before:?} is not on the page"));
    rest.split_once(after).unwrap_or_else(|| panic!("no {after:?} after {before:?}")).0
}

/// The page's three ways to write it: for any tool, for gitleaks, and for GitHub, which puts it together.
fn expressions() -> Vec<Regex> {
    let github = format!(
        "(?:{})({})(?:{})",
        between("the secret `", "`"),
        between("secret format `", "`"),
        between("after it `", "`")
    );
    let all = [between("**Regular expression.** `", "`"), between("regex = '''", "'''"), &github];
    all.iter().map(|expression| Regex::new(expression).expect("the page has an expression that can be read")).collect()
}

fn tokens() -> impl Iterator<Item = String> {
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    (0..1_000).map(move |n| {
        let kind = if n % 2 == 0 { Kind::Live } else { Kind::Test };
        TokenSecret::generate(kind, &mut rng).expose().to_owned()
    })
}

#[test]
fn the_worked_example_is_a_token_and_its_steps_are_right() {
    let token = between("| token | `", "`");
    let first = between("| its first forty characters | `", "`");
    let in_base_62 = between("| in base 62 | `", "`");
    assert_eq!((token, first.len()), (format!("{first}{in_base_62}").as_str(), 40));

    let (decimal, hexadecimal) = between("| their CRC-32 | `", "` |").split_once("`, hexadecimal `").unwrap();
    let crc = crc32fast::hash(first.as_bytes());
    assert_eq!((decimal, hexadecimal), (crc.to_string().as_str(), format!("{crc:08x}").as_str()));
    let alphabet = between("ALPHABET = \"", "\"");
    let value = |character| u64::try_from(alphabet.find(character).unwrap()).unwrap();
    assert_eq!(in_base_62.chars().fold(0, |number, character| number * 62 + value(character)), u64::from(crc));
    assert!(is_well_formed(token));
    assert!(expressions().iter().all(|expression| expression.is_match(token)));
}

#[test]
fn the_expressions_find_every_token_wherever_it_stands() {
    let expressions = expressions();
    for token in tokens() {
        for expression in &expressions {
            for text in [token.clone(), format!("TOKEN=\"{token}\""), format!("a {token}."), format!("x\n{token}\ny")] {
                let found = expression.captures(&text).unwrap_or_else(|| panic!("{expression} in {text:?}"));
                assert!(found[0].contains(&token), "{expression} in {text:?}");
            }
        }
    }
}

#[test]
fn the_expressions_find_no_near_miss() {
    let expressions = expressions();
    for token in tokens() {
        let (body, last) = token.split_at(token.len() - 1);
        let near = [
            body.to_owned(),
            format!("{token}x"),
            format!("{token}_"),
            format!("x{token}"),
            format!("_{token}"),
            format!("{body}-"),
            format!("{body} {last}"),
            token.replacen("af_", "ag_", 1),
            token.replacen("af_", "AF_", 1),
            token.replacen("live_", "prod_", 1).replacen("test_", "prod_", 1),
            token.replacen('_', "-", 1),
        ];
        for text in near {
            assert!(expressions.iter().all(|expression| !expression.is_match(&text)), "{text:?}");
        }
    }
}

/// What fits the expression and not the checksum is no token; a scanner that checks both is sure.
#[test]
fn a_changed_character_fits_the_expressions_and_not_the_checksum() {
    let expressions = expressions();
    for token in tokens() {
        let changed = if token.ends_with('x') { 'y' } else { 'x' };
        let changed = format!("{}{changed}", &token[..token.len() - 1]);
        assert!(expressions.iter().all(|expression| expression.is_match(&changed)));
        assert!(is_well_formed(&token) && !is_well_formed(&changed));
    }
}
