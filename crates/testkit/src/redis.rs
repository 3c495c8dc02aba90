//! Private `redis-server`s: one, or a cluster of three masters with a replica each.
//!
//! They listen on free ports of 127.0.0.1, keep nothing on disk, and end with the test, however that ends.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::until::PATIENCE;
use crate::{free_port, until};

const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Another process may take the free port first.
const PORTS_TRIED: usize = 5;

/// A `redis-server` of the test's own; killed when dropped.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    args: Vec<String>,
    folder: TempDir,
    child: Option<Child>,
}

impl Redis {
    /// Starts one that is empty and stays in memory.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts one with further settings, as on its command line: `["--maxmemory", "1mb"]`.
    pub async fn with(settings: &[&str]) -> Self {
        for _ in 0..PORTS_TRIED {
            if let Some(redis) = Self::try_start(settings, free_port()).await {
                return redis;
            }
        }
        panic!("redis-server does not start; `cargo xtask test` installs it");
    }

    async fn try_start(settings: &[&str], port: u16) -> Option<Self> {
        let args = settings.iter().map(|&setting| setting.to_owned()).collect();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut redis = Self { port, args, folder, child: None };
        redis.child = Some(redis.spawn());
        redis.answers().await.then_some(redis)
    }

    /// `redis://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The folder it runs in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it at once (SIGKILL); what it held is gone.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.expect("a child of ours can be killed");
        }
    }

    /// Starts it again on its port, empty, after [`kill`](Self::kill).
    pub async fn restart(&mut self) {
        self.kill().await;
        self.child = Some(self.spawn());
        assert!(self.answers().await, "redis-server does not start again");
    }

    /// Stops it in its tracks (SIGSTOP): connections stay open, and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Runs a command by `redis-cli` and returns what that prints, without the last line's end.
    pub async fn cli(&self, command: &[&str]) -> String {
        let port = self.port.to_string();
        redis_cli(&[&["-p", &port][..], command].concat()).await
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(Child::id).and_then(|id| Pid::from_raw(id.cast_signed()));
        kill_process(pid.expect("it is running"), signal).expect("a child of ours can be signalled");
    }

    fn spawn(&self) -> Child {
        // By setpriv, which makes the kernel kill it when this process is killed and can drop nothing.
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "redis-server", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &self.port.to_string(), "--loglevel", "warning"])
            .args(&self.args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("setpriv, of util-linux, starts")
    }

    /// Waits until it answers; `false` when it ends instead.
    async fn answers(&mut self) -> bool {
        let child = self.child.as_mut().expect("it has just been started");
        let waiting = async {
            loop {
                if child.try_wait().expect("the state of a child of ours").is_some() {
                    return false;
                }
                if is_answering(self.port).await.is_ok_and(|it_is| it_is) {
                    return true;
                }
                sleep(LOOK_EVERY).await;
            }
        };
        timeout(PATIENCE, waiting).await.expect("redis-server neither answers nor ends")
    }
}

/// Whether somebody who speaks Redis's protocol is there, with or without a password.
async fn is_answering(port: u16) -> std::io::Result<bool> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
    connection.write_all(b"PING\r\n").await?;
    let mut reply = [0; 5];
    connection.read_exact(&mut reply).await?;
    Ok(matches!(&reply, b"+PONG" | b"-NOAU"))
}

async fn redis_cli(args: &[&str]) -> String {
    let output = Command::new("redis-cli").args(args).kill_on_drop(true).output();
    let output = timeout(PATIENCE, output).await.expect("redis-cli ends").expect("redis-cli starts");
    let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    assert!(output.status.success(), "redis-cli {args:?}: {text}");
    text
}

/// Three masters, each with a replica that takes over a second or two after its master is gone.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

const MASTERS: usize = 3;

impl RedisCluster {
    /// Starts the six and waits until they agree.
    pub async fn start() -> Self {
        let mut nodes = Vec::new();
        for _ in 0..2 * MASTERS {
            let bus = free_port().to_string();
            let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1000"];
            // A replica must not refuse for having been long without its master.
            let eager = ["--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"];
            let node = Redis::with(&[&cluster[..], &eager].concat()).await;
            nodes.push((node, bus));
        }
        let addresses: Vec<String> =
            nodes.iter().map(|(node, bus)| format!("127.0.0.1:{}@{bus}", node.port())).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let create = [&["--cluster", "create"], &addresses[..], &["--cluster-replicas", "1", "--cluster-yes"]].concat();
        redis_cli(&create).await;

        let cluster = Self { nodes: nodes.into_iter().map(|(node, _)| node).collect() };
        for node in &cluster.nodes {
            node.until(&["cluster", "info"], |info| info.contains("cluster_state:ok")).await;
            node.until(&["cluster", "nodes"], |nodes| nodes.matches("slave ").count() == MASTERS).await;
            // A replica that has not yet copied its master would take over with nothing.
            let is_copy = |info: &str| info.contains("role:master") || info.contains("master_link_status:up");
            node.until(&["info", "replication"], is_copy).await;
        }
        cluster
    }

    /// The addresses of all six, as `REDIS_URL` takes them.
    #[must_use]
    pub fn url(&self) -> String {
        self.nodes.iter().map(Redis::url).collect::<Vec<_>>().join(",")
    }

    /// The master that holds the key now.
    pub async fn master_of(&mut self, key: &str) -> &mut Redis {
        let asked = self.running();
        let slot: u16 = asked.cli(&["cluster", "keyslot", key]).await.parse().expect("a slot is a number");
        let nodes = asked.cli(&["cluster", "nodes"]).await;
        let port = nodes.lines().find_map(|node| port_if_master_of(node, slot)).expect("a master for every slot");
        self.nodes.iter_mut().find(|node| node.port() == port).expect("it is one of ours")
    }

    /// Begins to move the key's slot to another master, as `redis-cli --cluster reshard` does: from now on the old one
    /// answers `ASK` for what it does not hold. Finished by [`finish_move`](Self::finish_move).
    pub async fn begin_move(&mut self, key: &str) -> MovingSlot {
        let from = self.master_of(key).await.port();
        let slot = self.node(from).cli(&["cluster", "keyslot", key]).await;
        let nodes = self.node(from).cli(&["cluster", "nodes"]).await;
        let to = (0..=16_383).find_map(|other| {
            let port = nodes.lines().find_map(|node| port_if_master_of(node, other))?;
            (port != from).then_some(port)
        });
        let moving = MovingSlot { slot, from, to: to.expect("another master") };
        let (from_id, to_id) = (self.id_of(moving.from).await, self.id_of(moving.to).await);
        self.set_slot(moving.to, &moving, ["importing", &from_id]).await;
        self.set_slot(moving.from, &moving, ["migrating", &to_id]).await;
        moving
    }

    /// Moves what the slot holds; from now on the old master answers `MOVED`.
    pub async fn finish_move(&self, moving: &MovingSlot) {
        let (from, to) = (self.node(moving.from), moving.to.to_string());
        loop {
            let keys = from.cli(&["cluster", "getkeysinslot", &moving.slot, "100"]).await;
            let keys: Vec<&str> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                break;
            }
            let migrate = ["migrate", "127.0.0.1", &to, "", "0", "10000", "keys"];
            assert_eq!(from.cli(&[&migrate[..], &keys].concat()).await, "OK");
        }
        let to_id = self.id_of(moving.to).await;
        // The new one first: while both say no, nobody would serve it.
        for port in [moving.to, moving.from] {
            self.set_slot(port, moving, ["node", &to_id]).await;
        }
    }

    async fn set_slot(&self, port: u16, moving: &MovingSlot, to: [&str; 2]) {
        let command = [&["cluster", "setslot", &moving.slot][..], &to].concat();
        assert_eq!(self.node(port).cli(&command).await, "OK", "{command:?}");
    }

    async fn id_of(&self, port: u16) -> String {
        self.node(port).cli(&["cluster", "myid"]).await
    }

    fn node(&self, port: u16) -> &Redis {
        self.nodes.iter().find(|node| node.port() == port).expect("it is one of ours")
    }

    /// Returns once all slots are served by masters that run.
    pub async fn healed(&self) {
        let serves = |node: &str, slot| {
            let port = port_if_master_of(node, slot);
            self.nodes.iter().any(|node| node.child.is_some() && Some(node.port()) == port)
        };
        // The ends and the middle of the three ranges.
        let is_served =
            |nodes: &str| [0, 8_000, 16_383].iter().all(|slot| nodes.lines().any(|node| serves(node, *slot)));
        self.running().until(&["cluster", "nodes"], is_served).await;
        self.running().until(&["cluster", "info"], |info| info.contains("cluster_state:ok")).await;
    }

    fn running(&self) -> &Redis {
        self.nodes.iter().find(|node| node.child.is_some()).expect("some node runs")
    }
}

/// A slot on its way from one master to another.
#[derive(Debug)]
pub struct MovingSlot {
    slot: String,
    from: u16,
    to: u16,
}

/// The port of the node that a line of `CLUSTER NODES` is about, if that is a live master of the slot.
fn port_if_master_of(node: &str, slot: u16) -> Option<u16> {
    let fields: Vec<&str> = node.split(' ').collect();
    let holds = fields.iter().skip(8).any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let bound = |text: &str| text.parse::<u16>().ok();
        bound(first).zip(bound(last)).is_some_and(|(first, last)| (first..=last).contains(&slot))
    });
    let is_master = fields.get(2)?.contains("master") && !fields[2].contains("fail");
    let port = fields.get(1)?.split(['@', ':']).nth(1)?.parse().ok()?;
    (holds && is_master).then_some(port)
}

impl Redis {
    /// Returns once what the command prints is as wanted.
    async fn until(&self, command: &[&str], is_as_wanted: impl Fn(&str) -> bool) {
        until(&format!("{command:?}"), async || self.cli(command).await, |printed| is_as_wanted(printed)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_comes_back_empty() {
        let mut redis = Redis::start().await;
        assert_eq!(redis.cli(&["set", "key", "value"]).await, "OK");
        redis.restart().await;
        assert_eq!(redis.cli(&["dbsize"]).await, "0");
        redis.kill().await;
        assert!(is_answering(redis.port()).await.is_err());
    }

    #[tokio::test]
    async fn frozen_it_takes_connections_and_answers_nothing_until_it_goes_on() {
        let redis = Redis::start().await;
        redis.freeze();
        let mut connection = TcpStream::connect(("127.0.0.1", redis.port())).await.unwrap();
        connection.write_all(b"PING\r\n").await.unwrap();
        let mut reply = [0; 7];
        let read = timeout(Duration::from_millis(50), connection.read_exact(&mut reply)).await;
        assert!(read.is_err(), "it answered");
        redis.thaw();
        connection.read_exact(&mut reply).await.unwrap();
        assert_eq!(&reply, b"+PONG\r\n");
    }

    #[tokio::test]
    async fn it_ends_with_its_owner() {
        let redis = Redis::start().await;
        let port = redis.port();
        redis.freeze();
        drop(redis);
        let connect = async || TcpStream::connect(("127.0.0.1", port)).await;
        until("it to be gone", connect, Result::is_err).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_replica_takes_over_with_what_its_master_held() {
        let mut cluster = RedisCluster::start().await;
        let master = cluster.master_of("key").await;
        let port = master.port();
        assert_eq!(master.cli(&["set", "key", "value"]).await, "OK");
        assert_eq!(master.cli(&["wait", "1", "10000"]).await, "1");
        master.kill().await;
        cluster.healed().await;
        let successor = cluster.master_of("key").await;
        assert_ne!(successor.port(), port);
        assert_eq!(successor.cli(&["get", "key"]).await, "value");
    }
}
