//! wrk (Debian package), the load: one run, its figures.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::stage::Stage;

/// What is sent: requests that differ at most in their body are sent in turn.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// Where to.
    pub(crate) url: String,
    /// By what right, if any.
    pub(crate) authorization: Option<Authorization>,
    /// What is posted.
    pub(crate) bodies: Bodies,
    /// What every reply must be.
    pub(crate) expected: Expected,
}

/// The header `Authorization`.
#[derive(Debug, Clone)]
pub(crate) enum Authorization {
    /// A service's, made anew for each run.
    Service,
    /// This credential.
    Bearer(String),
}

/// Bodies of the requests.
#[derive(Debug, Clone)]
pub(crate) enum Bodies {
    /// The same every time.
    One(String),
    /// `prefix`, a line of the file, `suffix`; the lines in turn, each thread from another place.
    Lines {
        /// The file's path.
        file: String,
        /// Before the line.
        prefix: &'static str,
        /// After it.
        suffix: &'static str,
    },
}

impl Bodies {
    /// Whether requests differ.
    pub(crate) fn are_many(&self) -> bool {
        matches!(self, Self::Lines { .. })
    }
}

/// What a run's replies must be; anything else is no measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// All below 400.
    Success,
    /// All 400 or above.
    Refusal,
    /// The same but for so many: a window gives some places back while it is exhausted again and again.
    RefusalButFor(u32),
    /// It does not matter.
    Anything,
}

/// One run's figures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    /// Replies a second.
    pub(crate) rate: f64,
    /// Half of the replies came within these microseconds.
    pub(crate) p50: f64,
    /// 99 of 100 came within these microseconds.
    pub(crate) p99: f64,
}

/// How hard and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Connections, kept open.
    pub(crate) connections: u32,
    /// Seconds.
    pub(crate) seconds: u32,
}

/// Drives the load and checks its replies.
pub(crate) async fn run(folder: &Path, load: &Load, effort: Effort) -> Result<Figures> {
    let script = folder.join("load.lua");
    std::fs::write(&script, lua(load))?;
    let output = Command::new("wrk")
        .args(["--threads", "2", "--timeout", "10s"])
        .args(["--connections", &effort.connections.to_string()])
        .args(["--duration", &format!("{}s", effort.seconds)])
        .arg("--script")
        .arg(&script)
        .arg(&load.url)
        .output()
        .await
        .context("cannot start wrk")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let line = printed.lines().find_map(|line| line.strip_prefix("figures: "));
    let Some(line) = line.filter(|_| output.status.success()) else {
        bail!("wrk failed: {printed}{}", String::from_utf8_lossy(&output.stderr));
    };
    let numbers: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().context("wrk's figures")?;
    let [requests, micros, broken, refused, p50, p99] = numbers[..] else { bail!("wrk's figures: {line}") };
    ensure!(broken == 0.0, "{broken} connections of the load broke: {}", load.url);
    let admitted = requests - refused;
    match load.expected {
        Expected::Success => ensure!(refused == 0.0, "{refused} of {requests} were refused: {}", load.url),
        Expected::Refusal => ensure!(admitted == 0.0, "{admitted} of {requests} were not refused: {}", load.url),
        Expected::RefusalButFor(some) => {
            ensure!(admitted <= f64::from(some), "{admitted} of {requests} were not refused: {}", load.url);
        }
        Expected::Anything => {}
    }
    Ok(Figures { rate: requests / micros * 1e6, p50, p99 })
}

/// The script. Requests are written out once, before the first is sent, so that the load costs the same whatever it is.
fn lua(load: &Load) -> String {
    let mut lua = "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\n".to_owned();
    if let Some(authorization) = &load.authorization {
        let header = match authorization {
            Authorization::Service => Stage::service_authorization(),
            Authorization::Bearer(credential) => format!("Bearer {credential}"),
        };
        let _ = writeln!(lua, "wrk.headers['Authorization'] = '{header}'");
    }
    match &load.bodies {
        Bodies::One(body) => {
            let _ = writeln!(lua, "wrk.body = [==[{body}]==]");
        }
        Bodies::Lines { file, prefix, suffix } => {
            let _ = write!(
                lua,
                "local threads = 0\n\
                 function setup(thread) thread:set('place', threads); threads = threads + 1 end\n\
                 local requests, at = {{}}, 0\n\
                 function init(args)\n\
                 \x20 for line in io.lines('{file}') do\n\
                 \x20   requests[#requests + 1] = wrk.format(nil, nil, nil, [==[{prefix}]==] .. line .. [==[{suffix}]==])\n\
                 \x20 end\n\
                 \x20 at = math.floor(#requests / 2) * place\n\
                 end\n\
                 function request() at = at % #requests + 1; return requests[at] end\n"
            );
        }
    }
    lua.push_str(
        "function done(summary, latency, requests)\n\
         \x20 local e = summary.errors\n\
         \x20 io.write(string.format('figures: %d %d %d %d %f %f\\n', summary.requests, summary.duration,\n\
         \x20   e.connect + e.read + e.write + e.timeout, e.status, latency:percentile(50), latency:percentile(99)))\n\
         end\n",
    );
    lua
}
