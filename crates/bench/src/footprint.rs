//! What is not speed: start-up, memory, room in Redis and on disk.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use testkit::{Redis, SmtpSink, free_port};

use crate::stage::{Stage, auth_launch, program};
use crate::{UNLIMITED, seed, wrk};

/// Tokens in the database whose start is timed.
const STORED: usize = 1_000_000;

/// Measures and renders the second table. `quick` leaves out what needs a million rows.
pub(crate) async fn measure(embedded: &Stage, redis: &Redis, lines: &Path, quick: bool) -> Result<String> {
    let mut table = "| what | measured | target |\n|---|--:|--:|\n".to_owned();
    let size = std::fs::metadata(program("afd")?)?.len();
    writeln!(table, "| binary of the release build, MiB | {:.1} | 40 |", mib(size))?;
    let loaded = memory(&embedded.auth)?;
    writeln!(table, "| `afd auth` with 100,000 cached tokens, MiB | {:.1} | 200 |", mib(loaded))?;
    let key = redis.cli(&["--scan", "--pattern", "*pat*"]).await;
    if let Some(key) = key.lines().next() {
        let bytes = redis.cli(&["MEMORY", "USAGE", key]).await;
        writeln!(table, "| Redis, one busy token, bytes | {} | 1024 |", bytes.trim())?;
    }

    let mail = SmtpSink::start().await;
    let port = free_port();
    let launch = auth_launch(&mail, port, &[UNLIMITED])?;
    let mut idle = launch.start().await;
    writeln!(table, "| `afd auth` idle, MiB | {:.1} | 40 |", mib(memory(&idle)?))?;
    idle.terminate().await;

    if !quick {
        eprintln!("bench: writing {STORED} tokens for the start-up time");
        let stage = Stage::start(&[UNLIMITED], false).await?;
        let database = stage.launch.folder().join("data/auth.db");
        let few = lines.with_file_name("few.txt");
        seed::sqlite(&database, &stage.user_id, 1_000, &few).await?;
        let before = rate(&stage, &few).await?;
        seed::sqlite(&database, &stage.user_id, STORED - 1_000, &lines.with_file_name("stored.txt")).await?;
        let after = rate(&stage, &few).await?;
        writeln!(table, "| throughput with 1,000,000 stored tokens against 1,000 | {:.2} | 0.95 |", after / before)?;
        let launch = stage.launch.clone();
        let Stage { mut auth, .. } = stage;
        auth.terminate().await;
        let took = time_to_ready(&launch).await?;
        writeln!(table, "| start to `/ready` with 1,000,000 stored tokens, ms | {} | 300 |", took.as_millis())?;
    }
    Ok(table)
}

async fn rate(stage: &Stage, lines: &Path) -> Result<f64> {
    let load = wrk::Load {
        url: stage.validate_url(),
        authorization: Some(wrk::Authorization::Service),
        bodies: wrk::Bodies::Lines { file: lines.display().to_string(), prefix: r#"{"token":""#, suffix: r#""}"# },
        expected: wrk::Expected::Success,
    };
    let folder = lines.parent().context("the file is in a folder")?;
    wrk::run(folder, &load, wrk::Effort { connections: 32, seconds: 1 }).await?;
    let mut rates = Vec::new();
    for _ in 0..3 {
        rates.push(wrk::run(folder, &load, wrk::Effort { connections: 32, seconds: 3 }).await?.rate);
    }
    rates.sort_by(f64::total_cmp);
    Ok(rates[1])
}

#[expect(clippy::disallowed_methods, reason = "a start is timed")]
async fn time_to_ready(launch: &testkit::Launch) -> Result<Duration> {
    let started = std::time::Instant::now();
    let mut auth = launch.start().await;
    let took = started.elapsed();
    auth.terminate().await;
    Ok(took)
}

/// Resident memory in bytes (`VmRSS`).
fn memory(process: &testkit::Afd) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id().context("it runs")?))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1024)
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

/// The commit that was measured.
pub(crate) fn commit() -> Result<String> {
    let output = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The processor, and how many of them.
pub(crate) fn machine() -> Result<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo")?;
    let models: Vec<&str> = info.lines().filter_map(|line| line.strip_prefix("model name")).collect();
    let model = models.first().map_or("unknown", |model| model.trim_start_matches([' ', '\t', ':']));
    Ok(format!("{} × {model}", models.len()))
}
