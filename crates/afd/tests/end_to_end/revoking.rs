//! What a command has done when it has returned: nothing that it took away is accepted from whoever asks then, whatever
//! state the service is in. The commands are those of the table in `docs/operations.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use testkit::{Afd, Redis, until};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::databases::Database;
use crate::fleet::GENEROUS;
use crate::installation::{Installation, Reply, afd};

const OPERATIONS: &str = include_str!("../../../../docs/operations.md");

/// What is dead when the command has returned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Token,
    Everything,
    Sessions,
}

const COMMANDS: [(&str, Takes); 5] = [
    ("afd token revoke", Takes::Token),
    ("afd token rotate", Takes::Token),
    ("afd user disable", Takes::Everything),
    ("afd user delete", Takes::Everything),
    ("afd keys rotate --end-old", Takes::Sessions),
];

/// What the service is doing while the command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// All who read from the database are busy with somebody else's lists.
    Busy,
    /// By SIGSTOP, from before the command until after it.
    Frozen,
    /// Its connections to the database are open, and nothing comes over them.
    Cut,
}

#[test]
fn the_table_has_every_command_and_says_what_it_takes_away() {
    let (_, table) = OPERATIONS.split_once("## What a command has done when it returns").unwrap();
    let rows = table.lines().skip_while(|line| !line.starts_with("| `afd ")).take_while(|line| line.starts_with("| `"));
    let rows: BTreeMap<&str, bool> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            (cells[1].trim_matches('`'), cells[2] != "nothing")
        })
        .collect();
    let taking: BTreeSet<_> = rows.iter().filter(|(_, takes)| **takes).map(|(command, _)| *command).collect();
    assert_eq!(taking, COMMANDS.iter().map(|(command, _)| *command).collect(), "each of these is tested below");
}

#[tokio::test]
async fn no_command_on_accounts_tokens_or_keys_is_without_a_line() {
    for group in ["user", "token", "keys"] {
        let help = afd(&[group, "--help"]).run().await.output;
        let commands = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
        let commands: Vec<_> = commands.take_while(|line| !line.trim().is_empty()).collect();
        assert!(!commands.is_empty(), "{help}");
        for command in commands.iter().filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help")
        {
            let line = format!("\n| `afd {group} {command}");
            assert!(OPERATIONS.contains(&line), "`afd {group} {command}` has no line in docs/operations.md");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_without_redis() {
    let db = Database::sqlite();
    let service = Service::start(&db, &db.url, &[], 1).await;
    service.commands_hold(&[State::Running, State::Busy, State::Frozen]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_with_redis() {
    let (db, redis) = (Database::sqlite(), Redis::start().await);
    let service = Service::start(&db, &db.url, &[("REDIS_URL", &redis.url())], 1).await;
    service.commands_hold(&[State::Running, State::Busy, State::Frozen]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_without_redis() {
    let db = Database::postgres();
    let line = Line::to(&db.url).await;
    let mut service = Service::start(&db, &line.url, &[], 1).await;
    service.line = Some(line);
    service.commands_hold(&[State::Running, State::Busy, State::Frozen, State::Cut]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_with_redis() {
    let (db, redis) = (Database::postgres(), Redis::start().await);
    let line = Line::to(&db.url).await;
    let mut service = Service::start(&db, &line.url, &[("REDIS_URL", &redis.url())], 2).await;
    service.line = Some(line);
    service.commands_hold(&[State::Running, State::Busy, State::Frozen, State::Cut]).await;
}

/// Instances on one database, and the line that they reach it by.
struct Service<'d> {
    db: &'d Database,
    instances: Vec<Installation>,
    processes: Vec<Afd>,
    line: Option<Line>,
}

/// What somebody gets in with.
struct Person {
    email: String,
    token_id: String,
    token: String,
    session: String,
    /// Got with the token, for an hour at most.
    narrowed: String,
}

impl<'d> Service<'d> {
    async fn start(db: &'d Database, url: &str, settings: &[(&str, &str)], count: usize) -> Self {
        // So that whoever meets a line that is cut is told before the test runs out of patience.
        let impatient =
            [("DATABASE_STATEMENT_TIMEOUT", "1s"), ("DATABASE_ACQUIRE_TIMEOUT", "1s"), ("DATABASE_URL", url)];
        let settings = [&GENEROUS[..], &impatient, settings].concat();
        let (mut instances, mut processes) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let instance = Installation::new(&settings).await;
            processes.push(instance.auth.start().await);
            instances.push(instance);
        }
        Self { db, instances, processes, line: None }
    }

    async fn commands_hold(&self, states: &[State]) {
        for (number, &state) in states.iter().enumerate() {
            for (place, &(command, takes)) in COMMANDS.iter().enumerate() {
                let rounds = if matches!(state, State::Running | State::Busy) { 3 } else { 1 };
                for round in 0..rounds {
                    let person = self.person(&format!("p{number}-{place}-{round}@example.com")).await;
                    self.command_holds(command, takes, state, &person).await;
                }
            }
        }
    }

    async fn command_holds(&self, command: &str, takes: Takes, state: State, person: &Person) {
        let dead: &[&String] = match takes {
            Takes::Token => &[&person.token, &person.narrowed],
            Takes::Everything => &[&person.token, &person.session, &person.narrowed],
            Takes::Sessions => &[&person.session, &person.narrowed],
        };
        // So often that every instance has a copy that it trusts.
        for _ in 0..3 {
            for reply in self.validate_all(dead).await {
                assert_eq!(reply.status, 200, "before {command}: {reply:?}");
            }
        }
        let busy = Arc::new(AtomicBool::new(state == State::Busy));
        let readers = self.keep_readers_busy(&busy).await;
        match state {
            State::Running | State::Busy => {}
            State::Frozen => self.freeze().await,
            State::Cut => self.line.as_ref().unwrap().cut(),
        }
        self.run(command, person).await;
        let asking = self.validate_all(dead);
        if state == State::Frozen {
            // The requests are there before it goes on.
            let thaw = async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                self.processes.iter().for_each(Afd::thaw);
            };
            let (replies, ()) = tokio::join!(asking, thaw);
            refused(&replies, command, state);
        } else {
            refused(&asking.await, command, state);
        }
        if let (State::Cut, Some(line)) = (state, &self.line) {
            line.mend();
            for instance in &self.instances {
                let ready = async || instance.http.get(format!("{}/ready", instance.auth_url)).send().await.unwrap();
                until("it to be ready again", ready, |reply| reply.status() == 200).await;
            }
        }
        busy.store(false, Ordering::SeqCst);
        for reader in readers {
            reader.await.unwrap();
        }
        for reply in self.validate_all(dead).await {
            assert_eq!(reply.status, 401, "later, {command}, {state:?}: {reply:?}");
        }
    }

    /// But not while they hold locks that the command would wait for in vain.
    async fn freeze(&self) {
        loop {
            self.processes.iter().for_each(Afd::freeze);
            if self.db.is_at_rest().await {
                return;
            }
            self.processes.iter().for_each(Afd::thaw);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn run(&self, command: &str, person: &Person) {
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        let rest: &[&str] = match words[..] {
            ["token", _] => &[&person.token_id],
            ["user", "delete"] => &[&person.email, "--yes"],
            ["user", _] => &[&person.email],
            _ => &[],
        };
        let launch = self.instances[0].auth.clone().command([&words[..], rest].concat());
        // By its own way to the database.
        let done = launch.env("DATABASE_URL", &self.db.url).run().await;
        assert_eq!(done.code, Some(0), "{command}: {}", done.output);
    }

    async fn validate_all(&self, credentials: &[&String]) -> Vec<Reply> {
        let one = |credential| self.instances.iter().map(move |instance| instance.validate(credential));
        join_all(credentials.iter().flat_map(|credential| one(credential.as_str()))).await
    }

    async fn person(&self, email: &str) -> Person {
        let instance = &self.instances[0];
        let session = instance.sign_in(email).await;
        let created = instance.post("/tokens", Some(&session), json!({ "name": "ci" })).await;
        let (token_id, token) = (created.text("/token/id").to_owned(), created.text("/token/token").to_owned());
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", token.as_str()),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ];
        let reply = instance.http.post(format!("{}/oauth/token", instance.auth_url)).form(&form).send().await;
        let narrowed = Reply::of(reply.unwrap()).await.text("/access_token").to_owned();
        Person { email: email.to_owned(), token_id, token, session, narrowed }
    }

    /// More at once than there are connections, until they are told that it is enough.
    async fn keep_readers_busy(&self, busy: &Arc<AtomicBool>) -> Vec<tokio::task::JoinHandle<()>> {
        if !busy.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let instance = &self.instances[0];
        let session = instance.sign_in("reader@example.com").await;
        let read = || {
            let (http, busy) = (instance.http.clone(), Arc::clone(busy));
            let request = http.get(format!("{}/audit?limit=100", instance.auth_url)).bearer_auth(&session);
            tokio::spawn(async move {
                while busy.load(Ordering::SeqCst) {
                    let _ = request.try_clone().unwrap().send().await;
                }
            })
        };
        (0..40).map(|_| read()).collect()
    }
}

fn refused(replies: &[Reply], command: &str, state: State) {
    for reply in replies {
        let expected: &[u16] = if state == State::Cut { &[401, 503] } else { &[401] };
        assert!(expected.contains(&reply.status), "after {command}, {state:?}: {reply:?}");
    }
}

/// A way to a database that can be cut: then connections stay open, and nothing comes over them.
struct Line {
    url: String,
    is_cut: watch::Sender<bool>,
}

impl Line {
    async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (host, database) = url.split_once('@').unwrap().1.split_once('/').unwrap();
        let cut_url = format!("postgres://postgres@127.0.0.1:{port}/{database}");
        let (is_cut, cut) = watch::channel(false);
        let host = host.to_owned();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, host.clone(), cut.clone()));
            }
        });
        Self { url: cut_url, is_cut }
    }

    fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

/// Carries bytes until the line is cut; from then on nothing, also when it is mended, as after a lost route.
async fn carry(mut near: TcpStream, host: String, mut cut: watch::Receiver<bool>) {
    if cut.wait_for(|is_cut| !is_cut).await.is_err() {
        return;
    }
    let Ok(mut far) = TcpStream::connect(host).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = async { cut.wait_for(|is_cut| *is_cut).await.is_ok() } => {
            // Longer than anybody waits for it.
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
    }
}
