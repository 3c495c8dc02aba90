//! Programs that tests start and that a fresh Debian lacks.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::step;

struct Package {
    /// Its name in Debian.
    name: &'static str,
    /// The program of it that tests start.
    program: &'static str,
}

const NEEDED: &[Package] = &[
    // The tour of the README is run as pasted.
    Package { name: "curl", program: "curl" },
    Package { name: "sqlite3", program: "sqlite3" },
    // The wallets' libraries and the browser's driver of `test-clients`.
    Package { name: "nodejs", program: "node" },
    Package { name: "npm", program: "npm" },
    // The pages are used in a real browser.
    Package { name: "chromium", program: "chromium" },
];

/// Installs what is missing. Where everything is there, no package manager is needed or asked.
pub(crate) fn install_missing() -> Result<()> {
    let path: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    let is_there = |program: &str| path.iter().any(|folder| folder.join(program).is_file());

    let missing: Vec<&str> =
        NEEDED.iter().filter(|package| !is_there(package.program)).map(|package| package.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_there("apt-get") {
        bail!("tests need {}, and there is no apt-get to install it: please do so yourself", missing.join(" and "));
    }
    eprintln!("xtask: tests need {}: installing", missing.join(" and "));
    apt_get(&["update", "--quiet"])?;
    apt_get(&[&["install", "--quiet", "--yes", "--no-install-recommends"], &missing[..]].concat())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    // `env`, because sudo passes no variables on.
    let apt_get = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"];
    let sudo: &[&str] = if is_root()? { &[] } else { &["sudo"] };
    step::run(&[sudo, &apt_get, arguments].concat())
}

fn is_root() -> Result<bool> {
    Ok(std::process::Command::new("id").arg("-u").output()?.stdout.trim_ascii() == b"0")
}
