//! `cargo xtask test`

use anyhow::Result;

use crate::{packages, step};

/// Everything that can be tested on one machine, doc tests included.
pub(crate) fn run() -> Result<()> {
    packages::install_missing()?;
    step::run(&["cargo", "test", "--workspace", "--all-features", "--locked"])
}
