//! Private PostgreSQL servers: made anew in a temporary folder, on a free port of 127.0.0.1, and never left behind.

mod system;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, test_kill_process};
use tempfile::TempDir;

use self::system::{ServerUser, children, programs, signal};
use crate::free_port;

/// A server that takes longer than so many looks has failed. It is given long: after a crash PostgreSQL first brings all
/// its files to the disk, which takes its time on one that builds keep busy.
const LOOKS: u32 = 12_000;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Starts the server and outlives everybody: when whoever started this goes away, by whatever way, its standard input
/// ends; then it ends the server and takes the folder along. A line on it says that the server's end is seen to.
const KEEPER: &str = r#"
folder=$1
shift
"$@" >>"$folder/server.log" 2>&1 </dev/null &
server=$!
echo $server
if read -r _; then
    wait $server
else
    kill -CONT $server
    kill -QUIT $server
    wait $server
    rm -rf "$folder"
fi
"#;

/// A server. Its sort order is deliberately not that of bytes, its superuser is `postgres`, and nobody is asked for a
/// password. Stopped, with its data gone, when dropped and when the process of the test ends in any way.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    user: Option<ServerUser>,
    settings: &'static [&'static str],
    port: u16,
    databases: AtomicU32,
    running: Option<Running>,
    /// Last, so that it goes after the server.
    folder: TempDir,
}

#[derive(Debug)]
struct Running {
    keeper: Child,
    /// While it is open, the keeper lets the server run.
    line: ChildStdin,
    server: Pid,
}

/// What no test loses by; a server that is to be killed keeps its promises instead.
const FAST: &[&str] = &["fsync=off", "synchronous_commit=off", "full_page_writes=off"];

impl Postgres {
    /// A server for tests that do not touch the server itself: one for each process, in which every test makes a
    /// [`database`](Self::database) of its own. Quick, because it would lose data if it were killed.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        // Statics are never dropped; the keeper ends this one with the process.
        SHARED.get_or_init(|| Self::with(FAST))
    }

    /// A server of one's own, whose commits survive everything that is done to it.
    #[must_use]
    pub fn start() -> Self {
        Self::with(&[])
    }

    fn with(settings: &'static [&'static str]) -> Self {
        let folder = tempfile::Builder::new().prefix("postgres-").tempdir().expect("a temporary folder");
        let user = geteuid().is_root().then(ServerUser::find);
        if let Some(user) = &user {
            std::os::unix::fs::chown(folder.path(), Some(user.uid), Some(user.gid)).expect("root may do so");
        }
        let mut postgres = Self {
            programs: programs(),
            user,
            settings,
            port: free_port(),
            databases: AtomicU32::new(0),
            running: None,
            folder,
        };
        postgres.initialise();
        postgres.restart();
        postgres
    }

    /// Creates an empty database and returns its URL.
    #[must_use]
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let postgres = self.url("postgres");
        self.sql(&postgres, &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of the database of this name.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs SQL as the superuser in the database at this URL and returns what it answers: a line a row, `|` between
    /// the columns.
    pub fn sql(&self, url: &str, sql: &str) -> String {
        let output = Command::new(self.programs.join("psql"))
            .args(["--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--set=ON_ERROR_STOP=1"])
            .args(["--command", sql, url])
            .output()
            .expect("psql runs");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// The port, the same after every restart.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What the server has written to its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    /// Stops it as an operator would in a hurry: connections are cut, and what was committed is written down.
    pub fn stop(&mut self) {
        self.end(|running| signal(running.server, Signal::INT));
    }

    /// Ends all its processes at once (SIGKILL), as a machine that loses its power would.
    pub fn kill(&mut self) {
        self.end(|running| {
            // First, so that it starts no more of them and cannot tidy up.
            signal(running.server, Signal::STOP);
            let children = children(running.server);
            for &process in [running.server].iter().chain(&children) {
                signal(process, Signal::KILL);
            }
            for child in children {
                wait_until("a server process to go", || test_kill_process(child).is_err());
            }
        });
    }

    /// Freezes all its processes (SIGSTOP): connections stay open, and nobody answers.
    pub fn freeze(&self) {
        let server = self.running().server;
        signal(server, Signal::STOP);
        for child in children(server) {
            signal(child, Signal::STOP);
        }
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        let server = self.running().server;
        for child in children(server) {
            signal(child, Signal::CONT);
        }
        signal(server, Signal::CONT);
    }

    /// Starts it again on the same port with the same data, and waits until it answers.
    pub fn restart(&mut self) {
        assert!(self.running.is_none(), "the server runs already");
        let mut server = self.command("postgres");
        server.arg("-D").arg(self.data());
        let port = format!("port={}", self.port);
        for setting in
            ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=400", "shared_buffers=32MB"]
                .into_iter()
                .chain([port.as_str()])
                .chain(self.settings.iter().copied())
        {
            server.args(["-c", setting]);
        }
        self.running = Some(self.keep(&server));
        // The eighth line of the file (PostgreSQL's `miscadmin.h`) tells whether connections are accepted.
        let status = self.data().join("postmaster.pid");
        let is_ready = || {
            let running = self.running();
            assert!(test_kill_process(running.server).is_ok(), "the server has ended:\n{}", self.log());
            let text = fs::read_to_string(&status).unwrap_or_default();
            let mut lines = text.lines();
            lines.next() == Some(&running.server.as_raw_pid().to_string())
                && lines.nth(6).is_some_and(|line| line.trim_end() == "ready")
        };
        wait_until("PostgreSQL to accept connections", is_ready);
    }

    /// Makes the data folder. The order of text is that of a language, so that a query which relies on that of bytes
    /// without saying so shows.
    fn initialise(&self) {
        let output = self
            .command("initdb")
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
            .args(["--locale-provider=icu", "--icu-locale=en-US", "--no-instructions", "-D"])
            .arg(self.data())
            .output()
            .expect("initdb runs");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The program, to be run as somebody who may.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = match &self.user {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid));
                command.arg("--clear-groups").arg(program);
                command
            }
        };
        // The folder of the test may be closed to that user.
        command.current_dir(self.folder.path());
        command
    }

    fn keep(&self, server: &Command) -> Running {
        let mut keeper = Command::new("/bin/sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(self.folder.path())
            .arg(server.get_program())
            .args(server.get_args())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // What ends the test by a signal to its group must not end the one that tidies up.
            .process_group(0)
            .spawn()
            .expect("a shell starts");
        let line = keeper.stdin.take().expect("it is piped");
        let mut pid = String::new();
        BufReader::new(keeper.stdout.take().expect("it is piped")).read_line(&mut pid).expect("the keeper speaks");
        let server = pid.trim().parse().ok().and_then(Pid::from_raw).expect("the keeper tells the server's process");
        Running { keeper, line, server }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the server runs")
    }

    /// Ends the server by `how` and keeps its data.
    fn end(&mut self, how: impl FnOnce(&Running)) {
        let mut running = self.running.take().expect("the server runs");
        running.line.write_all(b"seen to\n").expect("the keeper listens");
        how(&running);
        running.keeper.wait().expect("the keeper ends with the server");
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.running.is_some() {
            // A frozen one would only be ended by its own patience.
            self.thaw();
        }
        if let Some(Running { mut keeper, line, .. }) = self.running.take() {
            drop(line);
            let _ = keeper.wait();
        }
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..LOOKS {
        if is_so() {
            return;
        }
        sleep(LOOK_EVERY);
    }
    panic!("waited too long for {what}");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn databases_are_empty_and_apart() {
        let postgres = Postgres::shared();
        let (one, other) = (postgres.database(), postgres.database());
        postgres.sql(&one, "CREATE TABLE things (name TEXT); INSERT INTO things VALUES ('a'), ('B')");
        assert_eq!(
            postgres.sql(&one, "SELECT name, 1 FROM things ORDER BY name"),
            "a|1\nB|1",
            "not the order of bytes"
        );
        assert_eq!(postgres.sql(&other, "SELECT COUNT(*) FROM pg_tables WHERE tablename = 'things'"), "0");
        let version: u32 = postgres.sql(&one, "SHOW server_version_num").parse().unwrap();
        assert!(version >= 150_000, "{version}");
    }

    #[test]
    fn commits_survive_stops_and_kills() {
        let mut postgres = Postgres::start();
        let (url, port) = (postgres.database(), postgres.port());
        postgres.sql(&url, "CREATE TABLE things (n BIGINT)");
        for n in 1..=2 {
            postgres.sql(&url, "INSERT INTO things VALUES (1)");
            let end = if n == 1 { Postgres::stop } else { Postgres::kill };
            end(&mut postgres);
            assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
            postgres.restart();
            assert_eq!(postgres.sql(&url, "SELECT COUNT(*) FROM things"), n.to_string());
        }
    }

    #[test]
    fn a_frozen_server_answers_nobody_until_it_thaws() {
        let postgres = Postgres::start();
        let url = postgres.url("postgres");
        postgres.freeze();
        let mut asking = Command::new(postgres.programs.join("psql"))
            .args(["-X", "-c", "SELECT 1", &url])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // The kernel takes the connection; it is the server that does not speak.
        wait_until("the connection", || {
            let connections = fs::read_to_string("/proc/net/tcp").unwrap();
            connections.lines().filter(|line| line.contains(&format!(":{:04X} ", postgres.port()))).count() > 1
        });
        assert_eq!(asking.try_wait().unwrap(), None);
        postgres.thaw();
        assert!(asking.wait().unwrap().success());
    }

    #[test]
    fn nothing_is_left_of_a_dropped_server_even_when_it_is_frozen() {
        let postgres = Postgres::start();
        let (server, folder) = (postgres.running().server, postgres.folder.path().to_owned());
        postgres.freeze();
        drop(postgres);
        assert!(test_kill_process(server).is_err());
        assert!(!folder.exists());
    }

    /// Run as a process of its own by the test below.
    #[test]
    fn a_server_whose_owner_is_killed_goes_too() {
        if let Some(told) = std::env::var_os("TELL_THE_SERVER_TO") {
            let postgres = Postgres::start();
            let text = format!("{}\n{}", postgres.running().server.as_raw_pid(), postgres.folder.path().display());
            let told = PathBuf::from(told);
            fs::File::create(told.with_extension("new")).unwrap().write_all(text.as_bytes()).unwrap();
            fs::rename(told.with_extension("new"), told).unwrap();
            loop {
                sleep(LOOK_EVERY);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let told = folder.path().join("told");
        let mut owner = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "postgres::tests::a_server_whose_owner_is_killed_goes_too"])
            .env("TELL_THE_SERVER_TO", &told)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the server's process", || told.exists());
        let text = fs::read_to_string(told).unwrap();
        let (server, data) = text.split_once('\n').unwrap();
        let server = Pid::from_raw(server.parse().unwrap()).unwrap();
        assert!(test_kill_process(server).is_ok() && Path::new(data).exists());
        owner.kill().unwrap();
        owner.wait().unwrap();
        wait_until("the server to go", || test_kill_process(server).is_err() && !Path::new(data).exists());
    }
}
