//! `cargo xtask test`

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

/// The count in `test result: ok. 12 passed; …`, cargo's last line about each part.
fn passed_in(line: &str) -> usize {
    let count = line.strip_prefix("test result: ok. ").and_then(|rest| rest.split_once(" passed"));
    count.and_then(|(count, _)| count.parse().ok()).unwrap_or(0)
}

/// What the tests run by node, as the folder's lock file has it. npm writes its own copy of the lock file last, so that
/// an installation that was cut off is done again.
fn install_node_packages(folder: &str) -> Result<()> {
    let lock = format!("{folder}/package-lock.json");
    if !is_older(&format!("{folder}/node_modules/.package-lock.json"), &lock)? {
        return Ok(());
    }
    eprintln!("xtask: tests need the packages of {lock}: installing");
    step::run(&["npm", "ci", "--prefix", folder, "--no-audit", "--no-fund"])
}

/// What the tests run by python, in an environment of its own. The copy of the list is written last, likewise.
fn install_python_packages(list: &str, environment: &str) -> Result<()> {
    let installed = format!("{environment}/requirements.txt");
    if !is_older(&installed, list)? {
        return Ok(());
    }
    eprintln!("xtask: tests need the packages of {list}: installing");
    step::run(&["python3", "-m", "venv", environment])?;
    let pip = format!("{environment}/bin/pip");
    step::run(&[&pip, "install", "--quiet", "--disable-pip-version-check", "--requirement", list])?;
    step::run(&["cp", list, &installed])
}

/// Whether `made` is missing or older than what it was made from.
fn is_older(made: &str, from: &str) -> Result<bool> {
    let Ok(made) = root().join(made).metadata() else { return Ok(true) };
    Ok(made.modified()? < root().join(from).metadata()?.modified()?)
}
