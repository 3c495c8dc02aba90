//! `cargo xtask bench`

use anyhow::Result;

use crate::{packages, step};

/// Builds what is measured with the release profile and measures it. Without options, what was measured is written
/// into `docs/benchmarks.md`.
pub(crate) fn run(options: &[&str]) -> Result<()> {
    packages::install_missing()?;
    step::run(&["cargo", "build", "--release", "--locked", "--package", "afd", "--package", "bench"])?;
    let options = if options.is_empty() { &["--write", "docs/benchmarks.md"] } else { options };
    step::run(&[&["target/release/bench"], options].concat())
}
