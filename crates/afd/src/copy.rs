//! `afd store …`.

use std::io::IsTerminal as _;

use anyhow::bail;
use clap::Subcommand;
use store::{CopyOutcome, CopyProgress};

use crate::{say, services};

/// What can be done with a database as a whole.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Copy everything into an empty database, as from SQLite to PostgreSQL. Stop the services first. After an
    /// interruption the same command goes on where it stopped.
    Copy {
        /// The database that is left, such as `sqlite://data/auth.db`.
        #[arg(long)]
        from: String,
        /// The database that is moved into, such as `postgres://afd@db.example.com/auth`.
        #[arg(long)]
        to: String,
    },
}

/// Where nobody watches, a line after this many rows is enough.
const TELL_EVERY: u64 = 5_000;

/// Runs the command.
pub(crate) async fn run(Command::Copy { from, to }: Command) -> anyhow::Result<()> {
    let source = services::open_existing_store(&from).await?;
    let target = services::open_store(&to).await?;
    // Both of this version, so that both have the same tables.
    source.migrate().await?;
    target.migrate().await?;
    let outcome = source.copy_to(&target, tell).await?;
    source.close().await;
    target.close().await;
    match outcome {
        CopyOutcome::Done { chain } => {
            if chain.problem.is_some() {
                bail!("everything was copied, but the audit chain was broken before: see `afd audit verify`");
            }
            say(&format!(
                "Everything is copied and counted; the audit chain is whole: {} events sealed, {} not sealed yet.\n\
                 Set DATABASE_URL to the new database and start the services.",
                chain.sealed, chain.unsealed
            ));
            Ok(())
        }
        CopyOutcome::TargetInUse { table } => {
            bail!("the target is not empty: {table} holds data that this copy has not brought; nothing was written")
        }
        CopyOutcome::SourceChanged => bail!(
            "the source has changed since the copy began: stop the services, empty the target and start the copy anew"
        ),
        CopyOutcome::Differs { what } => bail!("{what} did not arrive as it was sent: empty the target and try again"),
    }
}

#[expect(clippy::print_stderr, reason = "progress, beside the command's output")]
fn tell(progress: &CopyProgress) {
    let CopyProgress { table, copied, total } = progress;
    let is_last = copied >= total;
    if std::io::stderr().is_terminal() {
        eprint!("\r{table}: {copied} of {total} rows{}", if is_last { "\n" } else { "" });
    } else if is_last || copied % TELL_EVERY == 0 {
        eprintln!("{table}: {copied} of {total} rows");
    }
}
