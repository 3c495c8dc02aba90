//! Notes the statements that sqlx says it has sent.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// From now on, whoever sends them; what is returned tells which have been sent, with their white space made one.
pub(super) fn start() -> impl FnOnce() -> BTreeSet<String> {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    tracing::subscriber::set_global_default(Recorder(Arc::clone(&seen))).expect("the only one of this process");
    move || std::mem::take(&mut *seen.lock().unwrap())
}

struct Recorder(Arc<Mutex<BTreeSet<String>>>);

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !metadata.is_span() && metadata.target() == "sqlx::query"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut statement = Statement::default();
        event.record(&mut statement);
        // Short ones have nothing but a summary.
        let sql = if statement.whole.trim().is_empty() { statement.summary } else { statement.whole };
        let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_data = ["SELECT ", "INSERT ", "UPDATE ", "DELETE "].iter().any(|verb| sql.starts_with(verb));
        let is_about_tables = ["sqlite_master", "pragma_", "_sqlx_migrations", "store_copy", "migration_turnstile"];
        if is_data && !is_about_tables.iter().any(|name| sql.contains(name)) {
            self.0.lock().unwrap().insert(sql);
        }
    }
}

#[derive(Default)]
struct Statement {
    summary: String,
    whole: String,
}

impl Visit for Statement {
    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.whole),
            _ => {}
        }
    }
}
