//! `cargo xtask test`

use std::fs;

use anyhow::Result;

use crate::{packages, root, step};

/// Everything that can be tested on one machine, doc tests included; the last line is the sum of all its parts.
#[expect(clippy::print_stdout, reason = "the sum is the result")]
pub(crate) fn run() -> Result<()> {
    packages::install_missing()?;
    install_test_clients()?;
    let mut passed = 0;
    let command = ["cargo", "test", "--workspace", "--all-features", "--locked"];
    step::run_watched(&command, |line| passed += passed_in(line))?;
    // A test that fails ends the run above.
    println!("{passed} passed, 0 failed");
    Ok(())
}

/// The test of a rolling upgrade by itself, with what it prints.
pub(crate) fn rolling_upgrade() -> Result<()> {
    packages::install_missing()?;
    let test =
        ["cargo", "test", "--package", "afd", "--test", "end_to_end", "--locked", "rolling", "--", "--nocapture"];
    step::run(&test)
}

/// The count in `test result: ok. 12 passed; …`, cargo's last line about each part.
fn passed_in(line: &str) -> usize {
    let count = line.strip_prefix("test result: ok. ").and_then(|rest| rest.split_once(" passed"));
    count.and_then(|(count, _)| count.parse().ok()).unwrap_or(0)
}

/// What the tests run by node, as the lock file has it. A copy of that file is written last, so that an installation
/// that was cut off, or is one of another lock file, is done again.
fn install_test_clients() -> Result<()> {
    let folder = root().join("test-clients");
    let installed = folder.join("node_modules/.installed-lock.json");
    let wanted = fs::read(folder.join("package-lock.json"))?;
    if fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    eprintln!("xtask: tests need the packages of test-clients/package-lock.json: installing");
    step::run(&["npm", "ci", "--prefix", "test-clients", "--no-audit", "--no-fund"])?;
    Ok(fs::write(installed, wanted)?)
}
