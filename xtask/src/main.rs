//! The project's own chores. `cargo xtask help` lists them; `.ci/run` is the list of what has to pass.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to a terminal")]

mod bench;
mod counts;
mod docs;
mod packages;
mod step;
mod test;

use std::path::Path;
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask test            install the Debian packages that tests need, where missing, and run all tests
cargo xtask rolling-upgrade replace two auth services and two backends one after the other under load, show what failed
cargo xtask bench           build for speed, measure beside a bare server, write docs/benchmarks.md
cargo xtask bench --quick   the same in short, only shown; other options: cargo xtask bench --help
cargo xtask counts          count the instructions of the hot paths under callgrind, write crates/counts/counts.txt anew
cargo xtask counts --check  fail, saying which and by how much, when one has grown by more than 5 %
cargo xtask docs            write openapi.json and schema.graphql anew from the code
cargo xtask docs --check    fail, showing the difference, when they are not what the code says
cargo xtask help            this text
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["test"] => test::run(),
        ["rolling-upgrade"] => test::rolling_upgrade(),
        ["bench", ref options @ ..] => bench::run(options),
        ["counts"] => counts::write(),
        ["counts", "--check"] => counts::check(),
        ["docs"] => docs::write(),
        ["docs", "--check"] => docs::check(),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root, wherever the command was started.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the repository")
}
