//! Real processes: started in a folder of their own with nothing of this one's environment, and never left behind.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::until::PATIENCE;

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How to start a process. It can be started several times in the same folder, as after a crash.
#[derive(Debug, Clone)]
pub struct Launch {
    binary: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    ports: Vec<u16>,
    folder: Arc<TempDir>,
}

/// A process that ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout and stderr, one after the other.
    pub output: String,
}

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct Afd {
    child: Child,
    launch: Launch,
}

/// A port that nobody listened on a moment ago, and that the system gives to no connection of its own accord: those
/// begin at 32768 (`net.ipv4.ip_local_port_range`). Otherwise a server that is started again could find its port taken
/// by some client's end of a connection.
#[must_use]
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Tests run in many processes at once: each begins elsewhere.
    let start = std::process::id().wrapping_mul(7_919);
    for _ in 0..COUNT {
        let place = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + place).expect("below 32768");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("every port is taken");
}

impl Launch {
    /// The program at `binary`, in a new folder that goes with the last clone of this.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        Self { binary: binary.into(), args: Vec::new(), env: Vec::new(), ports: Vec::new(), folder }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// The same program in the same folder and environment with other arguments, beside it.
    #[must_use]
    pub fn command<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Sets a variable of its environment, which is otherwise empty.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// It will answer `GET /health` on this port of 127.0.0.1; [`start`](Self::start) waits for that.
    #[must_use]
    pub fn healthy_on(mut self, port: u16) -> Self {
        self.ports.push(port);
        self
    }

    /// The folder it runs in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What all its runs so far wrote to stdout and then to stderr.
    #[must_use]
    pub fn output(&self) -> String {
        let read = |name| std::fs::read(self.folder().join(name)).unwrap_or_default();
        let bytes = [read(STDOUT), read(STDERR)].concat();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Starts it and waits until every port answers healthy.
    pub async fn start(&self) -> Afd {
        let mut afd = Afd { child: self.spawn(), launch: self.clone() };
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).no_proxy().build().expect("a client");
        for port in &self.ports {
            let url = format!("http://127.0.0.1:{port}/health");
            let healthy = async || client.get(&url).send().await.is_ok_and(|reply| reply.status() == 200);
            afd.wait_until(healthy, &format!("{url} to answer")).await;
        }
        afd
    }

    /// Runs it to its end, as a command that serves nothing.
    pub async fn run(&self) -> Finished {
        let mut child = self.spawn();
        let status = ended(&mut child).await.unwrap_or_else(|| panic!("it does not end:\n{}", self.output()));
        Finished { code: status.code(), output: self.output() }
    }

    fn spawn(&self) -> Child {
        Command::new(&self.binary)
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .stdout(self.log(STDOUT))
            .stderr(self.log(STDERR))
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", self.binary.display()))
    }

    /// Appended to, so that the output of earlier runs stays.
    fn log(&self, name: &str) -> File {
        let path = self.folder().join(name);
        OpenOptions::new().create(true).append(true).open(path).expect("a file in the temporary folder")
    }
}

const STDOUT: &str = "stdout.log";
const STDERR: &str = "stderr.log";

impl Afd {
    /// Its process id; `None` once it has ended.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Asks it to end (SIGTERM) and returns its exit code; `None` when the signal itself ended it.
    pub async fn terminate(&mut self) -> Option<i32> {
        self.end_by(Signal::TERM).await
    }

    /// The same by SIGINT, as Ctrl+C does.
    pub async fn interrupt(&mut self) -> Option<i32> {
        self.end_by(Signal::INT).await
    }

    async fn end_by(&mut self, signal: Signal) -> Option<i32> {
        kill_process(self.pid(), signal).expect("a child of ours can be signalled");
        self.wait().await.code()
    }

    /// Stops it in its tracks (SIGSTOP): connections stay open, and nobody answers.
    pub fn freeze(&self) {
        kill_process(self.pid(), Signal::STOP).expect("a child of ours can be signalled");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        kill_process(self.pid(), Signal::CONT).expect("a child of ours can be signalled");
    }

    fn pid(&self) -> Pid {
        self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it is still running")
    }

    /// Ends it without asking (SIGKILL) and returns when it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("a child of ours can be killed");
    }

    /// Returns when it has ended by itself.
    pub async fn wait(&mut self) -> ExitStatus {
        ended(&mut self.child).await.unwrap_or_else(|| panic!("it does not end:\n{}", self.output()))
    }

    /// Returns once its output contains `text`.
    pub async fn printed(&mut self, text: &str) {
        let launch = self.launch.clone();
        self.wait_until(async || launch.output().contains(text), &format!("{text:?} in its output")).await;
    }

    /// What it and earlier runs in its folder wrote to stdout and then to stderr.
    #[must_use]
    pub fn output(&self) -> String {
        self.launch.output()
    }

    /// The folder it runs in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.launch.folder()
    }

    async fn wait_until(&mut self, is_there: impl AsyncFn() -> bool, what: &str) {
        let waiting = async {
            while !is_there().await {
                if let Some(status) = self.child.try_wait().expect("the state of a child of ours") {
                    // It may have printed its last words between the look and its end.
                    assert!(is_there().await, "waiting for {what}, it ended ({status}):\n{}", self.launch.output());
                    return;
                }
                sleep(LOOK_EVERY).await;
            }
        };
        let waited = timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "waited too long for {what}:\n{}", self.launch.output());
    }
}

async fn ended(child: &mut Child) -> Option<ExitStatus> {
    Some(timeout(PATIENCE, child.wait()).await.ok()?.expect("the state of a child of ours"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Launch {
        Launch::new("/bin/sh").args(["-c", script])
    }

    #[tokio::test]
    async fn a_command_runs_in_its_folder_with_its_environment_and_no_other() {
        let launch = shell("echo to stdout; echo $HOME-$CARGO_MANIFEST_DIR-$MINE; pwd; echo to stderr >&2; exit 78")
            .env("MINE", "mine");
        let finished = launch.run().await;
        assert_eq!(finished.code, Some(78));
        let folder = launch.folder().canonicalize().unwrap();
        assert_eq!(finished.output, format!("to stdout\n--mine\n{}\nto stderr\n", folder.display()));
    }

    #[tokio::test]
    async fn termination_asks_and_reports_the_exit_code() {
        let mut afd = shell("trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.02; done")
            .env("PATH", "/usr/bin:/bin")
            .start()
            .await;
        afd.printed("ready").await;
        assert_eq!(afd.terminate().await, Some(7));
        assert_eq!(afd.output(), "ready\nasked\n");
    }

    #[tokio::test]
    async fn killing_does_not_ask() {
        let launch =
            shell("trap 'echo asked' TERM; echo ready; while :; do sleep 0.02; done").env("PATH", "/usr/bin:/bin");
        let mut afd = launch.start().await;
        afd.printed("ready").await;
        afd.kill().await;
        assert_eq!(launch.output(), "ready\n");
        let again = launch.start().await;
        assert_eq!(again.folder(), launch.folder());
    }

    #[tokio::test]
    #[should_panic(expected = "no such luck")]
    async fn a_process_that_ends_instead_of_answering_is_shown() {
        let _ = shell("echo no such luck; exit 1").healthy_on(free_port()).start().await;
    }

    #[test]
    fn a_free_port_can_be_bound() {
        std::net::TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    }
}
