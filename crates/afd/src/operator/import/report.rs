//! What is told about an import.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::operator::count;
use crate::operator::table::printable;
use crate::{complain, say};

/// Counts what became of the rows; tells of each that was refused when it is.
pub(super) struct Report {
    file: String,
    json: bool,
    pub(super) imported: u64,
    pub(super) users_created: u64,
    pub(super) already_there: u64,
    pub(super) deleted_since: u64,
    pub(super) without_user: u64,
    refused: Vec<Value>,
    notes: Vec<Value>,
}

impl Report {
    pub(super) fn new(file: String, json: bool) -> Self {
        Self {
            file,
            json,
            imported: 0,
            users_created: 0,
            already_there: 0,
            deleted_since: 0,
            without_user: 0,
            refused: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A row that is not imported. The reason names ids and times, never a token.
    pub(super) fn refuse(&mut self, line: u64, reason: &str) {
        if !self.json {
            complain(&format!("{}:{line}: refused: {}", self.file, printable(reason)));
        }
        self.refused.push(json!({ "line": line, "reason": reason }));
    }

    /// Something about a row that is imported.
    pub(super) fn note(&mut self, line: u64, note: &str) {
        if !self.json {
            complain(&format!("{}:{line}: note: {}", self.file, printable(note)));
        }
        self.notes.push(json!({ "line": line, "note": note }));
    }

    /// The sum, and the command's exit code.
    pub(super) fn conclude(self, only_checked: bool) -> ExitCode {
        let refused = self.refused.len();
        if self.json {
            let whole = json!({
                "checked": only_checked,
                "imported": self.imported,
                "usersCreated": self.users_created,
                "alreadyThere": self.already_there,
                "deletedSince": self.deleted_since,
                "refused": self.refused,
                "notes": self.notes,
            });
            say(&format!("{whole:#}"));
        } else {
            say(&self.sum(only_checked).join(" "));
        }
        if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Sentences for people.
    fn sum(&self, only_checked: bool) -> Vec<String> {
        let counted = |number: u64, noun| count(usize::try_from(number).unwrap_or(usize::MAX), noun);
        let verb = if only_checked { "can be imported" } else { "imported" };
        let (tokens, refused) = (counted(self.imported, "token"), self.refused.len());
        let mut sentences = vec![format!("{tokens} {verb}, {} already there, {refused} refused.", self.already_there)];
        if self.users_created > 0 {
            sentences.push(format!("{} created.", counted(self.users_created, "user")));
        }
        if self.deleted_since > 0 {
            sentences.push(format!("{} deleted since they were imported: they stay deleted.", self.deleted_since));
        }
        if self.without_user > 0 {
            sentences.push(format!(
                "{} of those refused belong to users that do not exist: --create-users creates them.",
                self.without_user
            ));
        }
        sentences
    }
}
