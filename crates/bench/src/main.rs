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
use crate::table::{Round, Row};
use crate::wrk::{Authorization, Bodies, Effort, Expected, Load};

/// Speed as ratios to a bare server in the same run.
#[derive(Parser)]
struct Options {
    /// About a minute, for a first look: one short round of the rows that have a target.
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
    /// Only rows whose name contains this.
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
    let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { 5 });
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

    eprintln!("bench: writing {MANY} tokens into each database");
    let lines = folder.path().join("tokens.txt");
    seed::sqlite(&embedded.launch.folder().join("data/auth.db"), &embedded.user_id, MANY, &lines).await?;
    let shared_lines = folder.path().join("shared-tokens.txt");
    seed::postgres(&database, &shared.user_id, MANY, &shared_lines).await?;
    let strangers = folder.path().join("strangers.txt");
    seed::strangers(MANY, &strangers)?;
    let many = Many { embedded: in_turn(&lines), shared: in_turn(&shared_lines), strangers: in_turn(&strangers) };
    let rows = rows(&embedded, &limited, &shared, many);
    let is_wanted = |row: &Row| {
        let is_short_enough = !options.quick || row.target.is_some();
        is_short_enough && options.only.as_deref().is_none_or(|only| row.name.contains(only))
    };
    let rows = rows.into_iter().filter(is_wanted);
    let rows = measure(folder.path(), &bare_url, rows.collect(), rounds, effort).await?;
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

/// Requests with the tokens of a file in turn.
fn in_turn(lines: &Path) -> Bodies {
    Bodies::Lines { file: lines.display().to_string(), prefix: r#"{"token":""#, suffix: r#""}"# }
}

/// [`MANY`] tokens each: known to the service that is embedded, to the other, and to none.
struct Many {
    embedded: Bodies,
    shared: Bodies,
    strangers: Bodies,
}

/// The rows in the order in which each round drives them.
fn rows(embedded: &Stage, limited: &Stage, shared: &Stage, many: Many) -> Vec<Row> {
    let one = |token: &str| Bodies::One(json!({ "token": token }).to_string());
    let row = |name, target, load, bare| Row { name, target, load, bare, rounds: Vec::new() };
    let validate = |name, target, stage: &Stage, bodies: Bodies, expected| {
        let authorization = Some(Authorization::Service);
        row(name, target, Load { url: stage.validate_url(), authorization, bodies: bodies.clone(), expected }, bodies)
    };
    let other = |name, target, url: &str, bearer: Option<&str>, body: String| {
        let authorization = bearer.map(|bearer| Authorization::Bearer(bearer.to_owned()));
        let load = Load { url: url.to_owned(), authorization, bodies: Bodies::One(body), expected: Expected::Success };
        row(name, target, load, one(&embedded.token))
    };
    let garbage = "af_live_0123456789012345678901234567890123456x";
    let unknown = "af_live_000000000000000000000000000000001Rwe4s";
    let forward_auth = format!("{}/forward-auth", embedded.auth_url);
    // By somebody who does not have 100,000 already.
    let creation = format!("{}/tokens", limited.auth_url);
    let graphql = embedded.backend.as_ref().map(|(_, url)| url.clone()).unwrap_or_default();
    let query = |query: &str| json!({ "query": query }).to_string();
    let token = Some(embedded.token.as_str());
    vec![
        validate("validate, embedded", Some(0.85), embedded, one(&embedded.token), Expected::Success),
        validate("validate, embedded, 100,000 tokens in turn", Some(0.85), embedded, many.embedded, Expected::Success),
        // With a body, which it does not read, so that the load costs the same.
        other("forward-auth, embedded", Some(0.80), &forward_auth, token, json!({ "token": token }).to_string()),
        validate("validate, garbage", Some(0.80), embedded, one(garbage), Expected::Refusal),
        validate("validate, well-formed unknown", Some(0.80), embedded, one(unknown), Expected::Refusal),
        validate(
            "validate, 100,000 well-formed unknown in turn",
            Some(0.80),
            embedded,
            many.strangers,
            Expected::Refusal,
        ),
        validate(
            "validate, over its limit (429)",
            Some(0.80),
            limited,
            one(&limited.token),
            Expected::RefusalButFor(1_000),
        ),
        validate("validate, Redis and PostgreSQL", Some(0.50), shared, one(&shared.token), Expected::Success),
        validate(
            "validate, Redis and PostgreSQL, 100,000 tokens in turn",
            None,
            shared,
            many.shared,
            Expected::Success,
        ),
        other("GraphQL version", Some(0.50), &graphql, None, query("{ version { version } }")),
        other("GraphQL me, both services, embedded", Some(0.20), &graphql, token, query("{ me { id email } }")),
        other(
            "token creation (bcrypt cost 10)",
            None,
            &creation,
            Some(limited.session.as_str()),
            json!({ "name": "load" }).to_string(),
        ),
    ]
}

/// Drives each row round after round, and right before it the bare server with the same load.
async fn measure(folder: &Path, bare: &str, mut rows: Vec<Row>, rounds: u32, effort: Effort) -> Result<Vec<Row>> {
    for round in 1..=rounds {
        for row in &mut rows {
            let to_bare = Load {
                url: bare.to_owned(),
                authorization: Some(Authorization::Service),
                bodies: row.bare.clone(),
                expected: Expected::Success,
            };
            // Caches are warm, and a window that is to be exhausted is, before anything counts: after a second, or
            // after each of many tokens has had its turn.
            let warming = Effort { seconds: if row.load.bodies.are_many() { effort.seconds + 2 } else { 1 }, ..effort };
            let expected = Expected::Anything;
            wrk::run(folder, &Load { expected, ..row.load.clone() }, warming).await.context(row.name)?;
            let bare = wrk::run(folder, &to_bare, effort).await.context("bare server")?;
            let ours = wrk::run(folder, &row.load, effort).await.context(row.name)?;
            row.rounds.push(Round { bare, ours });
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
        "{rounds} rounds of {} s a row and {} connections of wrk with two threads on the same processors; medians.\n",
        effort.seconds, effort.connections
    )?;
    let page = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let (begin, end) = ("<!-- measured -->\n", "<!-- /measured -->");
    let (before, rest) = page.split_once(begin).context("no <!-- measured --> in the page")?;
    let (_, after) = rest.split_once(end).context("no <!-- /measured --> in the page")?;
    std::fs::write(path, format!("{before}{begin}{head}{report}{end}{after}"))?;
    Ok(())
}
