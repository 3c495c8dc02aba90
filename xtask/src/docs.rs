//! `cargo xtask docs`: the documents that the code writes about itself. They are committed, so that a change of what
//! the world sees shows in the diff of the change that makes it.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{root, step};

struct Document {
    /// The file, at the repository's root.
    file: &'static str,
    /// The command of `afd` that prints it.
    command: &'static str,
}

const DOCUMENTS: &[Document] =
    &[Document { file: "openapi.json", command: "openapi" }, Document { file: "schema.graphql", command: "schema" }];

/// Writes the committed documents anew.
pub(crate) fn write() -> Result<()> {
    build()?;
    for document in DOCUMENTS {
        fs::write(root().join(document.file), print(document)?).with_context(|| document.file)?;
        eprintln!("xtask: wrote {}", document.file);
    }
    Ok(())
}

/// Fails when a committed document is not what the code prints. Looks at all of them before it does.
pub(crate) fn check() -> Result<()> {
    let folder = root().join("target/xtask");
    fs::create_dir_all(&folder)?;
    build()?;
    let mut outdated = Vec::new();
    for document in DOCUMENTS {
        let printed = folder.join(document.file);
        fs::write(&printed, print(document)?)?;
        let status = Command::new("diff")
            .args(["--unified", "--new-file", document.file])
            .arg(&printed)
            .current_dir(root())
            .status()
            .context("cannot start `diff`")?;
        match status.code() {
            Some(0) => eprintln!("xtask: {} is what the code says", document.file),
            Some(1) => outdated.push(document.file),
            _ => bail!("diff failed on {}: {status}", document.file),
        }
    }
    if !outdated.is_empty() {
        bail!("not what the code says: {}; `cargo xtask docs` writes them anew", outdated.join(", "));
    }
    Ok(())
}

/// Built as the tests are: built by itself it would have other features, and all that it is made of be built once more.
fn build() -> Result<()> {
    step::run(&["cargo", "test", "--workspace", "--all-features", "--locked", "--no-run"])
}

fn print(document: &Document) -> Result<Vec<u8>> {
    let command = document.command;
    let output = Command::new("target/debug/afd")
        .arg(command)
        .current_dir(root())
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot start `target/debug/afd`")?;
    // An empty document would be committed, and compared, as if it were one.
    if !output.status.success() || output.stdout.trim_ascii().is_empty() {
        bail!("`afd {command}` printed no document: {}", output.status);
    }
    Ok(output.stdout)
}
