//! One command at a time, said aloud.

use std::io::{self, BufRead as _, BufReader};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Runs the command in the repository's root with its output going to the terminal, and tells how long it took.
pub(crate) fn run(command: &[&str]) -> Result<()> {
    run_by(command, Command::status)
}

/// The same, and shows each line of its standard output to `look` on the way.
#[expect(clippy::print_stdout, reason = "what the command prints is what was asked for")]
pub(crate) fn run_watched(command: &[&str], mut look: impl FnMut(&str)) -> Result<()> {
    run_by(command, |command| {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        for line in child.stdout.take().into_iter().flat_map(|output| BufReader::new(output).lines()) {
            let line = line?;
            look(&line);
            println!("{line}");
        }
        child.wait()
    })
}

#[expect(clippy::disallowed_methods, reason = "the time is only shown")]
fn run_by(command: &[&str], start: impl FnOnce(&mut Command) -> io::Result<ExitStatus>) -> Result<()> {
    let [program, arguments @ ..] = command else { bail!("there is nothing to run") };
    let shown = command.join(" ");
    eprintln!("xtask: {shown}");
    let started = Instant::now();
    let status = start(Command::new(program).args(arguments).current_dir(crate::root()))
        .with_context(|| format!("cannot run `{program}`"))?;
    let seconds = started.elapsed().as_secs_f32();
    if !status.success() {
        bail!("`{shown}` failed after {seconds:.1} s: {status}");
    }
    eprintln!("xtask: {shown}: done in {seconds:.1} s");
    Ok(())
}
