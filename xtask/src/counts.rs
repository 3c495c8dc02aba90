//! `cargo xtask counts`: instructions of the hot paths. They are committed, so that what makes a path longer shows in
//! the diff of the change that does it. See `docs/decisions/0020-instruction-counts.md`.

mod compare;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use self::compare::compare;
use crate::{packages, root, step};

/// Instructions of one call, by the path's name.
type Counts = BTreeMap<String, u64>;

/// What is committed.
const FILE: &str = "crates/counts/counts.txt";
const HEAD: &str = "\
# Instructions of one call, by the path's name, as callgrind counts them on x86-64.
# `cargo xtask counts` writes this file anew; .ci/run fails when one of them has grown by more than 5 %.
";

/// Where callgrind writes; what is there can be read with `callgrind_annotate`.
const FOLDER: &str = "target/counts/callgrind";
/// The function of `crates/counts/src/counted.rs` whose inside is counted. Its whole name: given one pattern for two
/// purposes, callgrind forgets one of them.
const SECTION: &str = "counts::counted::counted_section";

/// Counts, and writes the committed file anew.
pub(crate) fn write() -> Result<()> {
    if !can_count() {
        bail!("the committed counts are those of x86-64");
    }
    let now = count()?;
    let before = read(&fs::read_to_string(root().join(FILE)).unwrap_or_default())?;
    eprint!("{}", compare(&before, &now));
    fs::write(root().join(FILE), written(&now))?;
    eprintln!("xtask: wrote {FILE}");
    Ok(())
}

/// Fails when a path takes more instructions than the committed file allows, or is not in it.
pub(crate) fn check() -> Result<()> {
    if !can_count() {
        eprintln!("xtask: the committed counts are those of x86-64: nothing can be compared on this machine");
        return Ok(());
    }
    let committed = read(&fs::read_to_string(root().join(FILE)).context(FILE)?)?;
    let comparison = compare(&committed, &count()?);
    eprint!("{comparison}");
    if comparison.fails() {
        bail!(
            "{FILE} does not allow the above. If it is meant so, `cargo xtask counts` writes the file anew: commit it with \
             what made it grow. If not, `callgrind_annotate` on the files in {FOLDER} shows where the instructions are"
        );
    }
    eprintln!("xtask: no path is longer than {FILE} allows");
    Ok(())
}

fn can_count() -> bool {
    cfg!(all(target_arch = "x86_64", target_os = "linux"))
}

/// Builds what is counted, and runs it under callgrind.
fn count() -> Result<Counts> {
    packages::install_for_counts()?;
    step::run(&["cargo", "build", "--profile", "counts", "--locked", "--package", "counts"])?;
    let folder = root().join(FOLDER);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir_all(&folder)?,
    }
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--quiet", "--tool=callgrind"])
        .arg(format!("--callgrind-out-file={FOLDER}/out"))
        .arg(format!("--toggle-collect={SECTION}"))
        .arg(format!("--dump-after={SECTION}"))
        .arg("target/counts/counts")
        .current_dir(root())
        .stderr(Stdio::inherit());
    eprintln!("xtask: counting");
    let output = valgrind.output().context("cannot run `valgrind`")?;
    ensure!(output.status.success(), "what is counted failed: {}", output.status);
    pair(&String::from_utf8(output.stdout)?, |number| {
        let path = folder.join(format!("out.{number}"));
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    })
}

/// Each line that the program said, `CALLS NAME`, belongs to what callgrind wrote down at that moment: `dump` 1, 2, ….
fn pair(said: &str, dump: impl Fn(usize) -> Result<String>) -> Result<Counts> {
    let mut counts = Counts::new();
    for (line, number) in said.lines().zip(1..) {
        let (calls, name) = line.split_once(' ').with_context(|| format!("not a path: {line}"))?;
        let calls: u64 = calls.parse().with_context(|| format!("not a path: {line}"))?;
        let dump = dump(number)?;
        let total = dump.lines().find_map(|line| line.strip_prefix("totals: ")).context("a dump without its total")?;
        let total: u64 = total.trim().parse().with_context(|| format!("not a total: {total}"))?;
        ensure!(total > 0 && calls > 0, "{name}: nothing was counted");
        ensure!(counts.insert(name.to_owned(), total.div_ceil(calls)).is_none(), "{name} is there twice");
    }
    ensure!(!counts.is_empty(), "nothing was counted");
    Ok(counts)
}

/// The file to be committed.
fn written(counts: &Counts) -> String {
    counts.iter().fold(HEAD.to_owned(), |text, (name, count)| format!("{text}{name}: {count}\n"))
}

/// The counts of a committed file.
fn read(text: &str) -> Result<Counts> {
    let is_comment = |line: &&str| line.is_empty() || line.starts_with('#');
    let read = |line: &str| {
        let (name, count) = line.rsplit_once(": ")?;
        Some((name.to_owned(), count.parse::<u64>().ok()?))
    };
    let lines = text.lines().filter(|line| !is_comment(line));
    lines.map(|line| read(line).with_context(|| format!("{FILE}: not a count: {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_gets_what_was_counted_of_it_divided_by_its_calls() {
        let dump = |number: usize| Ok(format!("version: 1\nfn=(1) a\nsummary: 7\ntotals: {}\n", number * 2001));
        let counts = pair("1000 b: second letter\n10 a\n", dump).unwrap();
        assert_eq!(counts, Counts::from([("b: second letter".to_owned(), 3), ("a".to_owned(), 401)]));
    }

    /// Callgrind counts nothing, without a word, when it does not find the function.
    #[test]
    fn nothing_counted_is_an_error() {
        let dump = |_| Ok("totals: 0\n".to_owned());
        assert_eq!(pair("1000 a\n", dump).unwrap_err().to_string(), "a: nothing was counted");
        assert_eq!(pair("", dump).unwrap_err().to_string(), "nothing was counted");
        assert_eq!(pair("1000 a\n", |_| Ok(String::new())).unwrap_err().to_string(), "a dump without its total");
        assert_eq!(pair("a\n", dump).unwrap_err().to_string(), "not a path: a");
    }

    #[test]
    fn the_committed_file_is_read_as_it_is_written() {
        let text = fs::read_to_string(root().join(FILE)).unwrap();
        let counts = read(&text).unwrap();
        assert!(counts["auth: validate"] > 0);
        assert_eq!(written(&counts), text);
        assert!(read("auth: validate: many\n").is_err());
    }
}
