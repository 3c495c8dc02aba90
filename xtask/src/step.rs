//! One command at a time, said aloud.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Runs the command in the repository's root with its output going to the terminal, and tells how long it took.
#[expect(clippy::disallowed_methods, reason = "the time is only shown")]
pub(crate) fn run(command: &[&str]) -> Result<()> {
    let [program, arguments @ ..] = command else { bail!("there is nothing to run") };
    let shown = command.join(" ");
    eprintln!("xtask: {shown}");
    let start = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .current_dir(crate::root())
        .status()
        .with_context(|| format!("cannot start `{program}`"))?;
    let seconds = start.elapsed().as_secs_f32();
    if !status.success() {
        bail!("`{shown}` failed after {seconds:.1} s: {status}");
    }
    eprintln!("xtask: {shown}: done in {seconds:.1} s");
    Ok(())
}
