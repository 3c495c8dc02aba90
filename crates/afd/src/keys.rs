//! `afd keys …`.

use auth::{OldKeys, rotate_signing_keys};
use clap::Subcommand;
use domain::{Chance, Clock as _, SystemClock};

use crate::config::{self, Source};
use crate::{say, services};

/// What can be done with the keys that sign access and narrowed JWTs.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make the next key. It needs the settings of `afd auth`; running instances take it up by themselves.
    Rotate {
        /// End the keys before it now, since one of them may have leaked. Otherwise they verify for another 30 days.
        #[arg(long)]
        end_old: bool,
    },
}

/// Runs the command.
pub(crate) async fn run(Command::Rotate { end_old }: Command) -> anyhow::Result<()> {
    let (url, secrets) = config::signing(Source::of_process())?;
    let store = services::open_existing_store(&url).await?;
    let old = if end_old { OldKeys::End } else { OldKeys::Overlap };
    let kid = rotate_signing_keys(&store, &secrets, Chance::of_the_system(), SystemClock.now(), old).await?;
    let others =
        if end_old { "the keys before it are at an end" } else { "those before it verify for another 30 days" };
    say(&format!("{kid} signs from now on; {others}."));
    Ok(())
}
