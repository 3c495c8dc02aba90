//! The hot paths of the house, each called many times over. `cargo xtask counts` runs this under callgrind and keeps
//! what it counted in `crates/counts/counts.txt`: how many instructions one call takes, which the machine's load does
//! not change. By itself this program only calls.
//!
//! Everything is as in production but what would wobble: the clock stands still, randomness is seeded, and there are no
//! sockets. SQLite, which works on threads of its own, and the set-up are not counted.

#![expect(clippy::print_stdout, reason = "it tells what it called")]

mod auth_service;
mod backend_service;
mod counted;
mod parts;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use crate::counted::Counter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    // Log lines as `afd` writes them, to nobody.
    let lines = fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
    let filter = EnvFilter::new("info,afd_trace=off");
    tracing_subscriber::registry().with(lines.with_writer(std::io::sink).with_filter(filter)).try_init()?;

    // One thread, as those that answer requests have it in production.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let counter = Counter::new(runtime);
    parts::count(&counter);
    auth_service::count(&counter)?;
    backend_service::count(&counter)
}
