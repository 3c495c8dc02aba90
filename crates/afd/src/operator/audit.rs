//! `afd audit …`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use domain::audit::EventType;
use domain::audit_head::{AuditHead, SignedAuditHead};
use domain::{Clock as _, SystemClock};
use serde_json::{Value, json};
use store::{ChainPlace, ChainProblem, Event, Tampering};

use super::table::{optional, table};
use super::who::Who;
use super::{Common, noted};
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
    Verify {
        /// The chain must go through what `afd audit head` has printed: such a line, or a file of them
        #[arg(long, value_name = "FILE|LINE")]
        expect: Option<String>,
        /// And that must be signed by this key, or by the private key that belongs to it
        #[arg(long, value_name = "FILE", requires = "expect")]
        key: Option<PathBuf>,
    },
    /// Print where the chain ends, signed: one line, to be kept where nobody can change it who can change the database
    Head {
        /// The Ed25519 key that signs, in PEM; it is made where there is none
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

/// Runs the command.
pub(crate) async fn run(command: Command, common: &Common) -> anyhow::Result<ExitCode> {
    match command {
        Command::List { user, kind, limit } => {
            list(user, kind, limit, common).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Verify { expect, key } => {
            let noted = expect.map(|expect| noted::read(&expect, key.as_deref())).transpose()?;
            verify(&noted.unwrap_or_default(), common).await
        }
        Command::Head { key } => {
            head(&key, common).await?;
            Ok(ExitCode::SUCCESS)
        }
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

async fn head(key: &Path, common: &Common) -> anyhow::Result<()> {
    let operator = common.operator().await?;
    let key = noted::key_that_signs(key)?;
    let ChainPlace { seq, link } = operator.store().chain_end().await?;
    let note = key.sign(AuditHead { seq, link, at: SystemClock.now() });
    common.answer(
        || note.to_string(),
        &json!({
            "seq": note.head.seq,
            "link": note.head.link,
            "at": note.head.at,
            "key": note.key.to_string(),
            "line": note.to_string(),
        }),
    );
    Ok(())
}

async fn verify(noted: &[SignedAuditHead], common: &Common) -> anyhow::Result<ExitCode> {
    let places: Vec<_> =
        noted.iter().map(|note| ChainPlace { seq: note.head.seq, link: note.head.link.clone() }).collect();
    let mut report = common.operator().await?.store().verify_chain_against(&places).await?;
    if report.problem.is_none() && common.audit_retention()?.is_none() {
        report.problem = pruned_all_the_same(noted, report.pruned);
    }
    let mut counts = json!({ "pruned": report.pruned, "sealed": report.sealed, "unsealed": report.unsealed });
    counts["whole"] = report.problem.is_none().into();
    let Some(problem) = report.problem else {
        // A note of a chain without events says nothing about any.
        let newest = noted.iter().filter(|note| note.head.seq > 0).max_by_key(|note| note.head.seq);
        counts["noted"] = newest.map(|note| note.head.seq).into();
        common.answer(
            || {
                let whole =
                    format!("The chain is whole: {} events sealed, {} not sealed yet.", report.sealed, report.unsealed);
                let pruned = match report.pruned {
                    0 => String::new(),
                    pruned => format!(" {pruned} before them were pruned."),
                };
                let noted = newest.map(|note| {
                    format!(
                        " It is the one that was noted: event {} at {} by {}.",
                        note.head.seq, note.head.at, note.key
                    )
                });
                format!("{whole}{pruned}{}", noted.unwrap_or_default())
            },
            &counts,
        );
        return Ok(ExitCode::SUCCESS);
    };
    let (what, word) = in_words(&problem);
    if common.json {
        counts["problem"] = json!({ "seq": problem.seq, "eventId": problem.event_id, "what": word });
        common.answer(String::new, &counts);
    } else {
        complain(&format!(
            "The chain is broken: {what}; the {} events before it are whole. {} are not sealed yet.",
            report.sealed, report.unsealed
        ));
    }
    Ok(ExitCode::FAILURE)
}

/// Whoever rewrites the log can write as well that it was pruned. Where events are kept for ever, nothing is.
fn pruned_all_the_same(noted: &[SignedAuditHead], pruned: u64) -> Option<ChainProblem> {
    let mut seqs = noted.iter().map(|note| note.head.seq);
    let seq = seqs.find(|seq| u64::try_from(*seq).is_ok_and(|seq| (1..=pruned).contains(&seq)))?;
    Some(ChainProblem { seq, event_id: None, what: Tampering::Removed })
}

/// What is wrong, for people and for programs.
fn in_words(problem: &ChainProblem) -> (String, &'static str) {
    let seq = problem.seq;
    let event = match &problem.event_id {
        Some(id) => format!("event {seq} (id {id})"),
        None => format!("event {seq}"),
    };
    match problem.what {
        Tampering::Altered => (format!("{event} was altered"), "altered"),
        Tampering::Removed => (format!("{event} was removed"), "removed"),
        Tampering::SlippedIn => (format!("{event} was slipped in"), "slipped_in"),
        Tampering::Start => ("its beginning is not where pruning has left it".to_owned(), "start"),
        Tampering::End => (format!("its end is not {event}, the last that there is"), "end"),
        Tampering::NotAsNoted => (format!("{event} is not the one that was noted"), "not_as_noted"),
        Tampering::NotedIsPruned => ("what was noted has been pruned".to_owned(), "noted_is_pruned"),
    }
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
