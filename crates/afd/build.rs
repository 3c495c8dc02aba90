//! Tells the binary which commit it was built from; a packager without git sets `COMMIT_HASH`.

use std::process::Command;

#[expect(clippy::disallowed_methods, reason = "a build script is configured by its environment")]
fn main() {
    println!("cargo::rerun-if-env-changed=COMMIT_HASH");
    println!("cargo::rerun-if-changed=../../.git/HEAD");
    let from_git = || {
        let output =
            Command::new("git").args(["rev-parse", "HEAD"]).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    };
    let commit = std::env::var("COMMIT_HASH").ok().or_else(from_git).unwrap_or_default();
    let commit = commit.trim();
    println!("cargo::rustc-env=AFD_COMMIT={}", if commit.is_empty() { "unknown" } else { commit });
}
