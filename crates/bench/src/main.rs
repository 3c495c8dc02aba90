//! `cargo xtask bench`: speed as ratios to a bare server, measured side by side.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to a terminal")]

mod footprint;
mod seed;
mod stage;
mod table;
mod wrk;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::json;
use testkit::{Afd, Launch, Postgres, Redis, free_port};

use crate::stage::{Stage, program};
use crate::table::Row;
use crate::wrk::{Bodies, Effort, Expected, Load};

/// Speed as ratios to a bare server in the same run.
#[derive(Parser)]
struct Options {
    /// Under a minute, for a first look: short rounds and few of them.
    #[arg(long)]
    quick: bool,
    /// Rounds; each drives every row once.
    #[arg(long)]
    rounds: Option<u32>,
    /// Seconds that each row is driven in each round.
    #[arg(long)]
    seconds: Option<u32>,
    /// Connections of the load.
    #[arg(long, default_value_t = 32)]
    connections: u32,
    /// Only rows whose name contains this, and the bare servers.
    #[arg(long)]
    only: Option<String>,
    /// Write the tables into this file.
    #[arg(long)]
    write: Option<PathBuf>,
}

/// Different tokens that are driven in turn.
const MANY: usize = 100_000;
/// A limit that the load does not reach.
const UNLIMITED: (&str, &str) = ("RATE_LIMIT_TOKEN_PER_MINUTE", "10000000");

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let rounds = options.rounds.unwrap_or(if options.quick { 2 } else { 7 });
    let effort = Effort {
        connections: options.connections,
        seconds: options.seconds.unwrap_or(if options.quick { 1 } else { 3 }),
    };
    let folder = tempfile::tempdir()?;

    eprintln!("bench: starting services on free ports");
    let embedded = Stage::start(&[UNLIMITED], true).await?;
    let limited = Stage::start(&[], false).await?;
    let postgres = Postgres::start();
    let redis = Redis::start().await;
    let (database, redis_url) = (postgres.database(), redis.url());
    let shared = Stage::start(&[UNLIMITED, ("DATABASE_URL", &database), ("REDIS_URL", &redis_url)], false).await?;
    let reply = embedded.validate(&embedded.token).await?;
    let (_bare, bare_url) = bare(&reply).await?;

    eprintln!("bench: writing {MANY} tokens into the embedded database");
    let lines = folder.path().join("tokens.txt");
    seed::seed(&embedded.launch.folder().join("data/auth.db"), &embedded.user_id, MANY, &lines).await?;
    let many = Bodies::Lines { file: lines.display().to_string(), prefix: r#"{"token":""#, suffix: r#""}"# };

    let rows = rows(&embedded, &limited, &shared, &bare_url, &many);
    let rows = measure(folder.path(), rows, options.only.as_deref(), rounds, effort).await?;
    let mut report = table::render(&rows);
    if options.only.is_none() {
        report.push('\n');
        report.push_str(&footprint::measure(&embedded, &redis, &lines, options.quick).await?);
    }
    println!("{report}");
    if let Some(path) = options.write {
        write(&path, &report, rounds, effort)?;
    }
    Ok(())
}

/// Starts the bare server with a reply as long as `reply`.
async fn bare(reply: &str) -> Result<(Afd, String)> {
    let port = free_port();
    let launch = Launch::new(program("bare")?).args([port.to_string(), reply.to_owned()]).healthy_on(port);
    Ok((launch.start().await, format!("http://127.0.0.1:{port}/tokens/validate")))
}

const BARE: usize = 0;
const BARE_MANY: usize = 1;

/// The rows in the order in which each round drives them. Bodies of the bare rows are those of what is compared.
fn rows(embedded: &Stage, limited: &Stage, shared: &Stage, bare: &str, many: &Bodies) -> Vec<(Row, Load)> {
    let row = |name, over, target| Row { name, over, target, rounds: Vec::new() };
    let token = |token: &str| Bodies::One(json!({ "token": token }).to_string());
    let validate = |stage: &Stage, bodies: Bodies, expected| Load {
        url: stage.validate_url(),
        authorization: Some("service".to_owned()),
        bodies,
        expected,
    };
    let to_bare = |bodies: Bodies| Load {
        url: bare.to_owned(),
        authorization: Some("service".to_owned()),
        bodies,
        expected: Expected::Success,
    };
    let graphql = |bearer: Option<&str>, query: &str| Load {
        url: embedded.backend.as_ref().map(|(_, url)| url.clone()).unwrap_or_default(),
        authorization: bearer.map(|bearer| format!("Bearer {bearer}")),
        bodies: Bodies::One(json!({ "query": query }).to_string()),
        expected: Expected::Success,
    };
    let garbage = "af_live_0123456789012345678901234567890123456x";
    let unknown = "af_live_000000000000000000000000000000001Rwe4s";
    vec![
        (row("bare server", None, None), to_bare(token(&embedded.token))),
        (row("bare server, 100,000 bodies in turn", None, None), to_bare(many.clone())),
        (
            row("validate, embedded", Some(BARE), Some(0.85)),
            validate(embedded, token(&embedded.token), Expected::Success),
        ),
        (
            // With the body of the row above, which it does not read, so that the load costs the same.
            row("forward-auth, embedded", Some(BARE), Some(0.80)),
            Load {
                url: format!("{}/forward-auth", embedded.auth_url),
                authorization: Some(format!("Bearer {}", embedded.token)),
                bodies: token(&embedded.token),
                expected: Expected::Success,
            },
        ),
        (
            row("validate, embedded, 100,000 tokens in turn", Some(BARE_MANY), Some(0.85)),
            validate(embedded, many.clone(), Expected::Success),
        ),
        (row("validate, garbage", Some(BARE), Some(0.80)), validate(embedded, token(garbage), Expected::Refusal)),
        (
            row("validate, well-formed unknown", Some(BARE), Some(0.80)),
            validate(embedded, token(unknown), Expected::Refusal),
        ),
        (
            row("validate, over its limit (429)", Some(BARE), Some(0.80)),
            validate(limited, token(&limited.token), Expected::Refusal),
        ),
        (
            row("validate, Redis and PostgreSQL", Some(BARE), Some(0.50)),
            validate(shared, token(&shared.token), Expected::Success),
        ),
        (row("GraphQL version", Some(BARE), Some(0.50)), graphql(None, "{ version { version } }")),
        (
            row("GraphQL me, both services, embedded", Some(BARE), Some(0.20)),
            graphql(Some(&embedded.token), "{ me { id email } }"),
        ),
        (
            row("token creation (bcrypt cost 10)", Some(BARE), None),
            Load {
                url: format!("{}/tokens", embedded.auth_url),
                authorization: Some(format!("Bearer {}", embedded.session)),
                bodies: Bodies::One(json!({ "name": "load" }).to_string()),
                expected: Expected::Success,
            },
        ),
    ]
}

/// Drives all rows in turn, round after round, after one that is not counted.
async fn measure(
    folder: &Path,
    rows: Vec<(Row, Load)>,
    only: Option<&str>,
    rounds: u32,
    effort: Effort,
) -> Result<Vec<Row>> {
    let is_wanted = |row: &Row| row.over.is_none() || only.is_none_or(|only| row.name.contains(only));
    let (mut rows, mut loads): (Vec<Row>, Vec<Load>) = rows.into_iter().filter(|(row, _)| is_wanted(row)).unzip();
    for round in 0..=rounds {
        for (row, load) in rows.iter_mut().zip(&mut loads) {
            let mut load = load.clone();
            if load.authorization.as_deref() == Some("service") {
                load.authorization = Some(Stage::service_authorization());
            }
            let warming = round == 0;
            // The 429s are those of a token that has used up its minute, which warming sees to.
            let expected_only_when_warm = warming && load.expected == Expected::Refusal;
            let effort = if warming { Effort { seconds: 1, ..effort } } else { effort };
            match wrk::run(folder, &load, effort).await {
                Ok(figures) if !warming => row.rounds.push(figures),
                Err(error) if !expected_only_when_warm => return Err(error).context(row.name),
                _ => {}
            }
        }
        eprintln!("bench: round {round} of {rounds} done");
    }
    Ok(rows)
}

fn write(path: &Path, report: &str, rounds: u32, effort: Effort) -> Result<()> {
    let mut head = String::new();
    writeln!(head, "Commit {}, {}.", footprint::commit()?, footprint::machine()?)?;
    writeln!(
        head,
        "{rounds} rounds of {} s a row, {} connections of wrk with two threads on the same processors; medians.\n",
        effort.seconds, effort.connections
    )?;
    let page = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let (begin, end) = ("<!-- measured -->\n", "<!-- /measured -->");
    let (before, rest) = page.split_once(begin).context("no <!-- measured --> in the page")?;
    let (_, after) = rest.split_once(end).context("no <!-- /measured --> in the page")?;
    std::fs::write(path, format!("{before}{begin}{head}{report}{end}{after}"))?;
    Ok(())
}
