//! Programs that the chores start and that a fresh Debian lacks.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::step;

struct Package {
    /// Its name in Debian.
    name: &'static str,
    /// The program of it that is started.
    program: &'static str,
}

const FOR_TESTS: &[Package] = &[
    // The tour of the README and the lines of docs/ways-in.md are run as pasted.
    Package { name: "curl", program: "curl" },
    Package { name: "jq", program: "jq" },
    // Certificates for servers with TLS, too.
    Package { name: "openssl", program: "openssl" },
    Package { name: "sqlite3", program: "sqlite3" },
    // The wallets' libraries and the browser's driver of `test-clients`.
    Package { name: "nodejs", program: "node" },
    Package { name: "npm", program: "npm" },
    // The proxies of docs/guard.
    Package { name: "nginx", program: "nginx" },
    Package { name: "caddy", program: "caddy" },
    // One of the kinds of APIs behind them.
    Package { name: "php-cli", program: "php" },
    // The pages are used in a real browser.
    Package { name: "chromium", program: "chromium" },
    // Redis by itself and as a cluster.
    Package { name: "redis-server", program: "redis-server" },
    Package { name: "redis-tools", program: "redis-cli" },
    Package { name: "postgresql", program: "initdb" },
    // The rolling upgrade: a load balancer that asks /ready, and load.
    Package { name: "haproxy", program: "haproxy" },
    Package { name: "wrk", program: "wrk" },
];

const FOR_COUNTS: &[Package] = &[Package { name: "valgrind", program: "valgrind" }];

/// The other side of the public keys, and an example, in environments of their own.
const PYTHON: &str = "python3-venv";

/// Debian's python3 comes without what makes environments, and no program of its own shows it.
fn can_make_environments() -> bool {
    let mut python = std::process::Command::new("python3");
    python.args(["-c", "import ensurepip, venv"]).stderr(std::process::Stdio::null());
    python.status().is_ok_and(|status| status.success())
}

/// Debian keeps a server's programs in a folder for each of its versions, outside `PATH`.
const POSTGRESQL: &str = "/usr/lib/postgresql";

/// Installs what tests need, where it is missing.
pub(crate) fn install_missing() -> Result<()> {
    let mut missing = missing(FOR_TESTS);
    if !can_make_environments() {
        missing.push(PYTHON);
    }
    provide("tests need", &missing)
}

/// Installs what counting instructions needs, where it is missing.
pub(crate) fn install_for_counts() -> Result<()> {
    provide("counting needs", &missing(FOR_COUNTS))
}

/// Those of the packages whose programs are not there.
fn missing(packages: &[Package]) -> Vec<&'static str> {
    packages.iter().filter(|package| !is_there(package.program)).map(|package| package.name).collect()
}

fn is_there(program: &str) -> bool {
    let mut path: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    let versions = std::fs::read_dir(POSTGRESQL).into_iter().flatten().flatten();
    path.extend(versions.map(|version| version.path().join("bin")));
    // Not everybody has it in `PATH`.
    path.push("/usr/sbin".into());
    path.iter().any(|folder| folder.join(program).is_file())
}

/// Installs these packages. Where none is missing, no package manager is needed or asked.
fn provide(who_needs: &str, missing: &[&str]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" and ");
    if !is_there("apt-get") {
        bail!("{who_needs} {names}, and there is no apt-get to install it: please do so yourself");
    }
    eprintln!("xtask: {who_needs} {names}: installing");
    apt_get(&["update", "--quiet"])?;
    if missing.contains(&"postgresql") {
        forbid_main_cluster()?;
    }
    install_unstarted(missing)?;
    eprintln!("xtask: installed {names}");
    Ok(())
}

/// Debian's package would make a database and start a server on port 5432. Tests need the programs only, and have
/// servers of their own.
fn forbid_main_cluster() -> Result<()> {
    const SETTINGS: &str = "/etc/postgresql-common/createcluster.conf";
    install(&["postgresql-common"])?;
    as_root(&["sed", "--in-place", r"s/^#\?\s*create_main_cluster\b.*/create_main_cluster = false/", SETTINGS])?;
    eprintln!("xtask: {SETTINGS} now says that installing PostgreSQL starts no server");
    Ok(())
}

/// Debian's packages start the servers that they bring, which would take ports. While they are installed, a policy
/// (invoke-rc.d(8)) forbids it; one that is there already stays.
fn install_unstarted(packages: &[&str]) -> Result<()> {
    const POLICY: &str = "/usr/sbin/policy-rc.d";
    if std::path::Path::new(POLICY).exists() {
        return install(packages);
    }
    as_root(&["sh", "-c", &format!("printf '#!/bin/sh\\nexit 101\\n' >{POLICY} && chmod 755 {POLICY}")])?;
    let installed = install(packages);
    as_root(&["rm", POLICY])?;
    installed
}

fn install(packages: &[&str]) -> Result<()> {
    apt_get(&[&["install", "--quiet", "--yes", "--no-install-recommends"], packages].concat())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    // `env`, because sudo passes no variables on.
    as_root(&[&["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"], arguments].concat())
}

fn as_root(command: &[&str]) -> Result<()> {
    let sudo: &[&str] = if is_root()? { &[] } else { &["sudo"] };
    step::run(&[sudo, command].concat())
}

fn is_root() -> Result<bool> {
    Ok(std::process::Command::new("id").arg("-u").output()?.stdout.trim_ascii() == b"0")
}
