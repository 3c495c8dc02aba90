//! `afd`: both services, and what an operator does with them, in one binary.

mod config;
mod copy;
mod dev;
mod documents;
mod healthcheck;
mod keys;
mod log_lines;
mod logging;
mod metrics;
mod operator;
mod services;
mod traces;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Problems, Source};

/// Requests allocate and free much that is small, on several threads; this takes less time and room for it than the
/// system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Unified authentication: the auth service, the GraphQL backend, and the operator's commands.
#[derive(Parser)]
#[command(version, about, long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Both services on this machine, for development; what `afd` without a command does.
    Dev(dev::Options),
    /// The auth service (REST).
    Auth,
    /// The GraphQL backend.
    Backend,
    /// Apply database migrations and exit.
    Migrate,
    /// The keys that sign JWTs.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Users: make, find, disable, enable and delete them.
    User {
        #[command(subcommand)]
        command: operator::user::Command,
        #[command(flatten)]
        common: operator::Common,
    },
    /// Tokens: issue, list, revoke, rotate and import them.
    Token {
        #[command(subcommand)]
        command: operator::token::Command,
        #[command(flatten)]
        common: operator::Common,
    },
    /// The audit log: read it, and check that nobody has touched it.
    Audit {
        #[command(subcommand)]
        command: operator::audit::Command,
        #[command(flatten)]
        common: operator::Common,
    },
    /// The database as a whole.
    #[command(subcommand)]
    Store(copy::Command),
    /// Exit 0 if the service at this address answers healthy.
    Healthcheck {
        /// Such as <http://localhost:3001>; without it, `PORT` (3001) of this machine.
        url: Option<String>,
    },
    /// Print the auth service's OpenAPI document.
    Openapi,
    /// Print the backend's GraphQL schema.
    Schema,
}

/// BSD's `EX_CONFIG`: the configuration is at fault, trying again does not help.
const EXIT_CONFIG: u8 = 78;

#[tokio::main]
async fn main() -> ExitCode {
    let command = Cli::parse().command.unwrap_or_else(|| Command::Dev(dev::Options::default()));
    match run(command).await {
        Ok(code) => code,
        Err(error) => {
            let is_config = error.is::<Problems>();
            complain(&format!("{error:#}"));
            ExitCode::from(if is_config { EXIT_CONFIG } else { 1 })
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Dev(options) => dev::run(&options).await?,
        Command::Auth => {
            let settings = config::auth(Source::of_process())?;
            let unsent = logging::start(&logging::Settings::read(Source::of_process())?, auth_api::AUTH_SERVICE)?;
            services::run_auth(settings).await?;
            unsent.finish().await;
        }
        Command::Backend => {
            let settings = config::backend(Source::of_process())?;
            let unsent = logging::start(&logging::Settings::read(Source::of_process())?, auth_api::BACKEND_SERVICE)?;
            services::run_backend(settings).await?;
            unsent.finish().await;
        }
        Command::Migrate => {
            let (url, options) = config::migration(Source::of_process())?;
            services::open_store_with(&url, &options).await?.migrate().await?;
            say("The database is up to date.");
        }
        Command::Keys(command) => keys::run(command).await?,
        Command::User { command, common } => return operator::user::run(command, &common).await,
        Command::Token { command, common } => return operator::token::run(command, &common).await,
        Command::Audit { command, common } => return operator::audit::run(command, &common).await,
        Command::Store(command) => copy::run(command).await?,
        Command::Healthcheck { url } => healthcheck::run(url).await?,
        Command::Openapi => say(&documents::openapi()),
        Command::Schema => say(&documents::schema()),
    }
    Ok(ExitCode::SUCCESS)
}

/// What a command was asked for.
#[expect(clippy::print_stdout, reason = "the output of a command")]
fn say(text: &str) {
    println!("{}", text.trim_end());
}

/// Why a command could not do it.
#[expect(clippy::print_stderr, reason = "the failure of a command, also before logging has started")]
fn complain(text: &str) {
    eprintln!("{}", text.trim_end());
}

/// A line that the next one overwrites, on a terminal: ECMA-48's `EL` empties what is left of the one before.
#[expect(clippy::print_stderr, reason = "how far a command is")]
fn complain_in_place(text: &str) {
    eprint!("\r\u{1b}[K{text}");
}
