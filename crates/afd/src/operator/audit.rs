//! `afd audit …`.

use std::process::ExitCode;

use clap::Subcommand;
use domain::audit::EventType;
use serde_json::{Value, json};
use store::{Event, Tampering};

use super::Common;
use super::table::{optional, table};
use super::who::Who;
use crate::complain;

/// What can be asked about the audit log.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List events, newest first
    List {
        /// Only those that concern this user: id (also of one who was deleted), e-mail address or phone number
        #[arg(long)]
        user: Option<Who>,
        /// Only those of this type, such as token.deleted
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<EventType>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u32,
    },
    /// Check that no event was altered, removed or slipped in; exit code 1 if one was
    Verify,
}

/// Runs the command.
pub(crate) async fn run(command: Command, common: &Common) -> anyhow::Result<ExitCode> {
    match command {
        Command::List { user, kind, limit } => {
            list(user, kind, limit, common).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Verify => verify(common).await,
    }
}

async fn list(user: Option<Who>, kind: Option<EventType>, limit: u32, common: &Common) -> anyhow::Result<()> {
    let operator = common.operator().await?;
    let store = operator.store();
    let events = match user {
        Some(user) => store.list_events(&user.id(store).await?, kind, None, limit).await?.events,
        None => store.list_everybodys_events(kind, limit).await?,
    };
    let row = |event: &Event| {
        let by = match &event.actor {
            actor if actor.token_id.is_some() => format!("token {}", optional(actor.token_id.as_ref())),
            actor if actor.session_id.is_some() => format!("session {}", optional(actor.session_id.as_ref())),
            actor => optional(actor.service.as_deref()),
        };
        let metadata: Vec<_> = event.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
        [
            event.at.to_string(),
            event.kind.to_string(),
            optional(event.user_id.as_ref()),
            by,
            optional(event.client.ip),
            metadata.join(" "),
        ]
    };
    common.answer(
        || table(["AT", "TYPE", "USER", "BY", "ADDRESS", "DETAILS"], &events.iter().map(row).collect::<Vec<_>>()),
        &events.iter().map(event_json).collect(),
    );
    Ok(())
}

async fn verify(common: &Common) -> anyhow::Result<ExitCode> {
    let report = common.operator().await?.store().verify_chain().await?;
    let Some(problem) = report.problem else {
        common.answer(
            || format!("The chain is whole: {} events sealed, {} not sealed yet.", report.sealed, report.unsealed),
            &json!({ "whole": true, "sealed": report.sealed, "unsealed": report.unsealed }),
        );
        return Ok(ExitCode::SUCCESS);
    };
    let (what, word) = match problem.what {
        Tampering::Altered => ("was altered", "altered"),
        Tampering::Removed => ("was removed", "removed"),
        Tampering::SlippedIn => ("was slipped in", "slipped_in"),
    };
    if common.json {
        let problem = json!({ "seq": problem.seq, "eventId": problem.event_id, "what": word });
        common.answer(
            String::new,
            &json!({ "whole": false, "sealed": report.sealed, "unsealed": report.unsealed, "problem": problem }),
        );
        return Ok(ExitCode::FAILURE);
    }
    let event = problem.event_id.map(|id| format!(" (id {id})")).unwrap_or_default();
    complain(&format!(
        "The chain is broken: event {}{event} {what}. {} events before it are whole, {} are not sealed yet.",
        problem.seq, report.sealed, report.unsealed
    ));
    Ok(ExitCode::FAILURE)
}

fn event_json(event: &Event) -> Value {
    json!({
        "id": event.id,
        "type": event.kind,
        "at": event.at,
        "actor": {
            "userId": event.user_id,
            "tokenId": event.actor.token_id,
            "sessionId": event.actor.session_id,
            "service": event.actor.service,
        },
        "ip": event.client.ip,
        "userAgent": event.client.user_agent,
        "requestId": event.client.request_id,
        "metadata": event.metadata,
    })
}
