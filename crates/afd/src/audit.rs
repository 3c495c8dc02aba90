//! `afd audit …`.

use std::process::ExitCode;

use clap::Subcommand;
use store::Tampering;

use crate::config::{self, Source};
use crate::{complain, say, services};

/// What can be asked about the audit log.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Check that no event was altered, removed or slipped in.
    Verify {
        /// Another database than `DATABASE_URL` names, such as `sqlite://.af/auth.db`.
        #[arg(long)]
        database: Option<String>,
    },
}

/// Runs the command; exit code 1 means that the chain is broken.
pub(crate) async fn run(Command::Verify { database }: Command) -> anyhow::Result<ExitCode> {
    let url = match database {
        Some(url) => url,
        None => config::database(Source::of_process())?,
    };
    let report = services::open_existing_store(&url).await?.verify_chain().await?;
    let Some(problem) = report.problem else {
        say(&format!("The chain is whole: {} events sealed, {} not sealed yet.", report.sealed, report.unsealed));
        return Ok(ExitCode::SUCCESS);
    };
    let what = match problem.what {
        Tampering::Altered => "was altered",
        Tampering::Removed => "was removed",
        Tampering::SlippedIn => "was slipped in",
    };
    let event = problem.event_id.map(|id| format!(" (id {id})")).unwrap_or_default();
    complain(&format!(
        "The chain is broken: event {}{event} {what}. {} events before it are whole, {} are not sealed yet.",
        problem.seq, report.sealed, report.unsealed
    ));
    Ok(ExitCode::FAILURE)
}
