//! What has become of the counts.

use std::fmt;

use super::Counts;

/// How much a path may grow, or shrink, before anybody is told, in percent. What the compiler does otherwise after a
/// change elsewhere is less.
const TOLERANCE: u64 = 5;

/// The paths of which there is something to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Comparison(Vec<Finding>);

#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Grew {
        name: String,
        from: u64,
        to: u64,
    },
    Shrank {
        name: String,
        from: u64,
        to: u64,
    },
    /// Counted and not in the file.
    New {
        name: String,
        to: u64,
    },
    /// In the file and not counted.
    Gone {
        name: String,
        from: u64,
    },
}

/// Compares what is committed with what was counted.
pub(super) fn compare(committed: &Counts, counted: &Counts) -> Comparison {
    let mut findings = Vec::new();
    for (name, &to) in counted {
        let name = name.clone();
        match committed.get(&name) {
            None => findings.push(Finding::New { name, to }),
            Some(&from) if to * 100 > from * (100 + TOLERANCE) => findings.push(Finding::Grew { name, from, to }),
            Some(&from) if to * 100 < from * (100 - TOLERANCE) => findings.push(Finding::Shrank { name, from, to }),
            Some(_) => {}
        }
    }
    let gone = committed.iter().filter(|(name, _)| !counted.contains_key(*name));
    findings.extend(gone.map(|(name, &from)| Finding::Gone { name: name.clone(), from }));
    Comparison(findings)
}

impl Comparison {
    /// Whether the file does not allow what was counted. A path that has become shorter is only mentioned: nobody has to
    /// touch a file for having made something faster, though the next who makes it longer will be told later.
    pub(super) fn fails(&self) -> bool {
        self.0.iter().any(|finding| !matches!(finding, Finding::Shrank { .. }))
    }
}

/// One line for each finding.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|finding| writeln!(f, "counts: {finding}"))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grew { name, from, to } => write!(f, "`{name}` grew from {from} to {to} ({})", change(*from, *to)),
            Self::Shrank { name, from, to } => {
                write!(
                    f,
                    "`{name}` shrank from {from} to {to} ({}): `cargo xtask counts` keeps it so",
                    change(*from, *to)
                )
            }
            Self::New { name, to } => write!(f, "`{name}` is new, with {to}"),
            Self::Gone { name, from } => write!(f, "`{name}` is gone; it was {from}"),
        }
    }
}

/// In percent with one digit, signed.
#[expect(clippy::cast_precision_loss, reason = "only shown, with one digit")]
fn change(from: u64, to: u64) -> String {
    format!("{:+.1} %", (to as f64 / from as f64 - 1.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[(&str, u64)]) -> Counts {
        counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn growth_of_more_than_five_percent_fails_and_says_how_much() {
        let comparison = compare(&counts(&[("a", 1000), ("b", 1000)]), &counts(&[("a", 1051), ("b", 1050)]));
        assert!(comparison.fails());
        assert_eq!(comparison.to_string(), "counts: `a` grew from 1000 to 1051 (+5.1 %)\n");
    }

    #[test]
    fn what_stays_within_five_percent_is_not_mentioned() {
        for now in [950, 999, 1000, 1001, 1050] {
            let comparison = compare(&counts(&[("a", 1000)]), &counts(&[("a", now)]));
            assert_eq!((comparison.fails(), comparison.to_string()), (false, String::new()), "{now}");
        }
    }

    #[test]
    fn shrinking_is_mentioned_and_does_not_fail() {
        let comparison = compare(&counts(&[("a", 1000)]), &counts(&[("a", 900)]));
        assert!(!comparison.fails());
        let expected = "counts: `a` shrank from 1000 to 900 (-10.0 %): `cargo xtask counts` keeps it so\n";
        assert_eq!(comparison.to_string(), expected);
    }

    #[test]
    fn what_only_one_side_knows_fails() {
        let comparison = compare(&counts(&[("old", 7)]), &counts(&[("new", 8)]));
        assert!(comparison.fails());
        assert_eq!(comparison.to_string(), "counts: `new` is new, with 8\ncounts: `old` is gone; it was 7\n");
    }
}
