//! `cargo xtask test`

use std::fs;

use anyhow::Result;

use crate::{packages, root, step};

/// Everything that can be tested on one machine, doc tests included; the last line is the sum of all its parts.
#[expect(clippy::print_stdout, reason = "the sum is the result")]
pub(crate) fn run() -> Result<()> {
    packages::install_missing()?;
    for folder in ["test-clients", "examples/hono"] {
        install_node_packages(folder)?;
    }
    install_python_packages("test-clients/requirements.txt", "target/test-clients")?;
    install_python_packages("examples/fastapi/requirements.txt", "target/examples/fastapi")?;
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

/// What the tests run by node, as the folder's lock file has it. A copy of that file is written last, so that an
/// installation that was cut off, or is one of another lock file, is done again.
fn install_node_packages(folder: &str) -> Result<()> {
    let lock = format!("{folder}/package-lock.json");
    install(&lock, &format!("{folder}/node_modules/.installed-lock.json"), || {
        step::run(&["npm", "ci", "--prefix", folder, "--no-audit", "--no-fund"])
    })
}

/// What the tests run by python, in an environment of its own under `target`. The copy of the list is written last,
/// likewise.
fn install_python_packages(list: &str, environment: &str) -> Result<()> {
    install(list, &format!("{environment}/requirements.txt"), || {
        step::run(&["python3", "-m", "venv", environment])?;
        let pip = format!("{environment}/bin/pip");
        step::run(&[&pip, "install", "--quiet", "--disable-pip-version-check", "--requirement", list])
    })
}

/// Runs `steps` and keeps a copy of the list as `installed`, unless that is there and the same.
fn install(list: &str, installed: &str, steps: impl FnOnce() -> Result<()>) -> Result<()> {
    let wanted = fs::read(root().join(list))?;
    if fs::read(root().join(installed)).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    eprintln!("xtask: tests need the packages of {list}: installing");
    steps()?;
    Ok(fs::write(root().join(installed), wanted)?)
}
