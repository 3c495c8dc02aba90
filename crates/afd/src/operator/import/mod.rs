//! `afd token import FILE.csv`.

mod progress;
mod report;
mod rows;
mod time;

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use auth::{Issuer, OldToken};
use clap::Args;
use domain::TokenId;
use store::ImportOutcome;

use self::progress::Progress;
use self::report::Report;
use self::rows::{Columns, Lines, OldRow};
use super::Common;

/// Rows in one transaction: at bcrypt's usual cost two seconds of work that a kill costs, and a lock of milliseconds.
const BATCH: usize = 100;

/// Which file, and how.
#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Options {
    /// The file, or - for standard input
    file: PathBuf,
    /// Create users that do not exist, with the id of the file (and its e-mail address, where it has one)
    #[arg(long)]
    create_users: bool,
    /// Change nothing; say what would be imported and what refused
    #[arg(long)]
    check: bool,
}

const HELP: &str = "\
The first line names the columns, in any order and case: id, token and userId are required; name, expiresAt,
lastUsedAt, createdAt and email are taken where they are there; others are ignored. Times are ISO 8601, as PostgreSQL
writes them, or milliseconds since 1970. Tokens keep ids and times, and may do everything (scope *).

The same file can be imported again, also after it was interrupted: what is there is passed over, what was deleted
since stays deleted. JWT_SECRET (or TOKEN_SEAL_KEY) must be the auth service's. docs/moving-in.md says more.

Exit codes: 0 every row is in, 1 some were refused (each is told with its line) or nothing could be done,
2 wrong usage, 78 wrong configuration.";

/// Imports the file.
pub(crate) async fn run(options: &Options, common: &Common) -> anyhow::Result<ExitCode> {
    let issuer = common.issuer().await?;
    let (name, content) = read(&options.file)?;
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&content);

    let mut records = records(content);
    let mut record = csv::ByteRecord::new();
    records.read_byte_record(&mut record).with_context(|| format!("{name} cannot be read"))?;
    let (columns, ignored) = Columns::of(&record).with_context(|| name.clone())?;
    let mut report = Report::new(name, common.json);
    if !ignored.is_empty() {
        report.note(1, &format!("columns that are not used: {}", ignored.join(", ")));
    }

    let total = self::records(content).into_byte_records().count().saturating_sub(1);
    let mut import = Import { issuer, options, report, progress: Progress::new(total), batch: Vec::new() };
    let mut lines = Lines::of(content);
    let mut lines_of_ids: HashMap<TokenId, u64> = HashMap::new();
    while records.read_byte_record(&mut record)? {
        let line = lines.of_record(&record);
        match columns.read(&record) {
            Err(reason) => import.refuse(line, &reason),
            Ok(OldRow { token, note }) => {
                if let Some(first) = lines_of_ids.get(&token.id) {
                    import.refuse(line, &format!("the id is that of line {first} too"));
                    continue;
                }
                if let Some(note) = note {
                    import.report.note(line, &note);
                }
                lines_of_ids.insert(token.id.clone(), line);
                import.batch.push((line, token));
                if import.batch.len() == BATCH {
                    import.flush().await?;
                }
            }
        }
    }
    import.flush().await?;
    import.progress.end();
    Ok(import.report.conclude(options.check))
}

fn read(path: &Path) -> anyhow::Result<(String, Vec<u8>)> {
    if path == Path::new("-") {
        let mut content = Vec::new();
        std::io::stdin().lock().read_to_end(&mut content).context("standard input cannot be read")?;
        return Ok(("standard input".to_owned(), content));
    }
    let name = path.display().to_string();
    let content = std::fs::read(path).with_context(|| format!("{name} cannot be read"))?;
    Ok((name, content))
}

fn records(content: &[u8]) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(content)
}

struct Import<'a> {
    issuer: Issuer,
    options: &'a Options,
    report: Report,
    progress: Progress,
    batch: Vec<(u64, OldToken)>,
}

impl Import<'_> {
    fn refuse(&mut self, line: u64, reason: &str) {
        self.progress.clear();
        self.report.refuse(line, reason);
        self.progress.advance(1);
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        let (lines, tokens): (Vec<u64>, Vec<OldToken>) = std::mem::take(&mut self.batch).into_iter().unzip();
        let outcomes = if self.options.check {
            self.issuer.preview(&tokens, self.options.create_users).await?
        } else {
            self.issuer.import(&tokens, self.options.create_users).await?
        };
        self.progress.clear();
        for ((line, token), outcome) in lines.iter().zip(&tokens).zip(outcomes) {
            self.conclude(*line, token, outcome);
        }
        self.progress.advance(tokens.len());
        Ok(())
    }

    fn conclude(&mut self, line: u64, token: &OldToken, outcome: ImportOutcome) {
        let report = &mut self.report;
        match outcome {
            ImportOutcome::Imported { user_created } => {
                report.imported += 1;
                report.users_created += u64::from(user_created);
            }
            ImportOutcome::AlreadyThere => report.already_there += 1,
            ImportOutcome::DeletedSince => report.deleted_since += 1,
            ImportOutcome::NoUser => {
                report.without_user += 1;
                report.refuse(line, &format!("there is no user {}", token.user_id));
            }
            ImportOutcome::IdTaken => report.refuse(line, &format!("another token has the id {}", token.id)),
            ImportOutcome::SecretTaken(id) => report.refuse(line, &format!("the same token is kept under the id {id}")),
            ImportOutcome::AddressTaken(owner) => {
                report.refuse(line, &format!("the e-mail address is that of user {owner} already"));
            }
        }
    }
}
