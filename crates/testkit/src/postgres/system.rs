//! What PostgreSQL is given by the machine: its programs, a user to run as, and its processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

/// PostgreSQL refuses to run as root.
#[derive(Debug)]
pub(super) struct ServerUser {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl ServerUser {
    pub(super) fn find() -> Self {
        let id = |kind: &str, user: &str| {
            let output = Command::new("id").args([kind, user]).output().expect("id runs");
            String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().ok()
        };
        let find = |user| Some(Self { uid: id("-u", user)?, gid: id("-g", user)? });
        find("postgres").or_else(|| find("nobody")).expect("a user that is not root")
    }
}

/// Where the newest installed server's programs are: Debian keeps them out of `PATH`.
pub(super) fn programs() -> PathBuf {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|version| version.path());
    let mut debian: Vec<(u32, PathBuf)> = debian
        .filter_map(|folder| Some((folder.file_name()?.to_str()?.parse().ok()?, folder.join("bin"))))
        .filter(|(_, programs)| programs.join("postgres").is_file())
        .collect();
    debian.sort_unstable();
    let of_path = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).find(|folder| folder.join("initdb").is_file())
    };
    let newest = debian.pop().map(|(_, programs)| programs);
    newest.or_else(of_path).expect("PostgreSQL 15 or later is installed; `cargo xtask test` does that")
}

pub(super) fn signal(process: Pid, signal: Signal) {
    // One that is gone needs no signal any more.
    let _ = kill_process(process, signal);
}

/// The processes that this one has started and that still run.
pub(super) fn children(parent: Pid) -> Vec<Pid> {
    let is_child = |process: &Path| {
        // pid (name) state parent …; the name may hold anything.
        let stat = fs::read_to_string(process.join("stat")).ok()?;
        let after_name = stat.rsplit_once(')')?.1;
        (after_name.split_whitespace().nth(1)? == parent.as_raw_pid().to_string()).then_some(())
    };
    let processes = fs::read_dir("/proc").expect("Linux").flatten().map(|entry| entry.path());
    processes
        .filter(|process| is_child(process).is_some())
        .filter_map(|process| Pid::from_raw(process.file_name()?.to_str()?.parse().ok()?))
        .collect()
}
