//! `cargo xtask counts`: instructions of the hot paths. They are committed, so that what makes a path longer shows in
//! the diff of the change that does it. See `docs/decisions/0020-instruction-counts.md`.

mod compare;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use self::compare::{Comparison, compare};
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
/// The function of `crates/counts/src/counted.rs` whose inside is counted.
const SECTION: &str = "*counted_section*";

/// Counts, and writes the committed file anew.
pub(crate) fn write() -> Result<()> {
    if !can_count() {
        bail!("the committed counts are those of x86-64");
    }
    let now = count()?;
    let before = read(&fs::read_to_string(root().join(FILE)).unwrap_or_default())?;
    eprint!("{}", compare(&before, &now));
    let mut text = HEAD.to_owned();
    for (name, count) in &now {
        writeln!(text, "{name}: {count}")?;
    }
    fs::write(root().join(FILE), text)?;
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
            "the counts above are not those of {FILE}. If that is meant, `cargo xtask counts` writes it anew: commit it \
             with what made it grow. If not, `callgrind_annotate` on the files in {FOLDER} shows where they go"
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

/// The counts of a committed file.
fn read(text: &str) -> Result<Counts> {
    let is_comment = |line: &&str| line.is_empty() || line.starts_with('#');
    let read = |line: &str| {
        let (name, count) = line.rsplit_once(": ")?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    let lines = text.lines().filter(|line| !is_comment(line));
    lines.map(|line| read(line).with_context(|| format!("{FILE}: not a count: {line}"))).collect()
}
