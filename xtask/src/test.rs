//! `cargo xtask test`

use anyhow::Result;

use crate::{packages, root, step};

/// Everything that can be tested on one machine, doc tests included.
pub(crate) fn run() -> Result<()> {
    packages::install_missing()?;
    install_test_clients()?;
    step::run(&["cargo", "test", "--workspace", "--all-features", "--locked"])
}

/// What the tests run by node, as the lock file has it. npm writes its own copy of the lock file last, so that an
/// installation that was cut off is done again.
fn install_test_clients() -> Result<()> {
    if root().join("test-clients/node_modules/.package-lock.json").exists() {
        return Ok(());
    }
    eprintln!("xtask: tests need the packages of test-clients/package-lock.json: installing");
    step::run(&["npm", "ci", "--prefix", "test-clients", "--no-audit", "--no-fund"])
}
