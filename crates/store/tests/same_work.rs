//! What a wrong code makes the database do, statement by statement: the same whether a code was sent and whether there is
//! an account. Time follows the work, and a stranger measures time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "the cases of the conformance suite use the rest")]
#[path = "conformance/database.rs"]
mod database;

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use store::{Flow, Redemption};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::database::{Database, NOW};

/// Notes each statement that sqlx says it has sent, in their order.
struct Recorder(Arc<Mutex<Vec<String>>>);

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
        let sql = if statement.whole.trim().is_empty() { statement.summary } else { statement.whole };
        let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        // A connection that is new says first how long it waits; which guess opens one is chance.
        if !sql.starts_with("SET ") && !sql.starts_with("PRAGMA ") {
            self.0.lock().unwrap().push(sql);
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

/// The statements of a wrong guess at each kind of address, in its own flow and in none.
async fn guesses(db: &Database, recorded: &Mutex<Vec<String>>) -> Vec<(String, Vec<String>)> {
    db.user("known@example.com").await;
    let mut all = Vec::new();
    for (email, has_code) in [
        ("known@example.com", true),
        ("known@example.com", false),
        ("new@example.com", true),
        ("no@example.com", false),
    ] {
        let (flow, _) = db.begin_flow(email, "123456", NOW).await;
        if !has_code {
            db.by_hand("DELETE FROM one_time_codes").await;
        }
        let (plain, named) = (db.redemption(email, "000000", NOW), db.redemption(email, "000000", NOW));
        for redemption in [Redemption { flow, ..named }, plain] {
            let what = if matches!(redemption.flow, Flow::Named(_)) { "in a flow" } else { "in none" };
            recorded.lock().unwrap().clear();
            db.store.redeem_code(&redemption).await.unwrap();
            all.push((what.to_owned(), std::mem::take(&mut *recorded.lock().unwrap())));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_code_is_the_same_work_for_known_and_unknown() {
    let recorded = Arc::new(Mutex::new(Vec::new()));
    tracing::subscriber::set_global_default(Recorder(Arc::clone(&recorded))).unwrap();
    for db in [Database::sqlite().await, Database::postgres().await] {
        let all = guesses(&db, &recorded).await;
        for kind in ["in a flow", "in none"] {
            let of_kind: Vec<_> = all.iter().filter(|(what, _)| what == kind).map(|(_, sent)| sent).collect();
            assert_eq!(of_kind.len(), 4);
            assert!(of_kind[0].len() >= 8, "they are seen: {of_kind:?}");
            assert!(of_kind.windows(2).all(|pair| pair[0] == pair[1]), "{kind}: {of_kind:#?}");
        }
    }
}
