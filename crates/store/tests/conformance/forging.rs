//! Somebody who can write to the tables of the audit log, and does.
//!
//! Every column, as the database's own catalog lists them, of every row is forged in every way; then come forgeries of
//! many rows at once. Each has to be found, or is on the list of those that cannot be.

use std::collections::BTreeSet;

use domain::audit::EventType;
use domain::{Chance, ClientInfo};
use sqlx::{AssertSqlSafe, Row as _};
use store::{ChainReport, NewEvent, Tampering};

use crate::chain::seal;
use crate::database::{DAY, Database, MINUTE, NOW};

/// A value of a column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Text(Option<String>),
    Int(Option<i64>),
    /// As it is written in SQL: what only SQLite takes, which stores any value in any column.
    Sql(&'static str),
}

impl Cell {
    fn is_null(&self) -> bool {
        matches!(self, Self::Text(None) | Self::Int(None))
    }
}

struct Column {
    name: String,
    is_text: bool,
}

impl Column {
    /// Values that are nobody's.
    fn strange(&self) -> [Cell; 3] {
        if self.is_text {
            [Cell::Text(None), Cell::Text(Some(String::new())), Cell::Text(Some("x".to_owned()))]
        } else {
            [Cell::Int(None), Cell::Int(Some(0)), Cell::Int(Some(1_234))]
        }
    }

    /// Values of another type, and the least that there are.
    fn mistyped(&self) -> Vec<Cell> {
        if self.is_text {
            vec![Cell::Sql("x'00'")]
        } else {
            vec![Cell::Sql("x'00'"), Cell::Sql("'zz'"), Cell::Sql("-1e300"), Cell::Int(Some(i64::MIN))]
        }
    }
}

/// The columns of a table, from the catalog of whichever database this is.
async fn columns(db: &Database, table: &str) -> Vec<Column> {
    let of_sqlite = "SELECT name, type AS kind FROM pragma_table_info($1) ORDER BY cid";
    let of_postgres = "SELECT CAST(column_name AS TEXT) AS name, CAST(data_type AS TEXT) AS kind \
                       FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = $1 \
                       ORDER BY ordinal_position";
    let rows = match sqlx::query(of_sqlite).bind(table).fetch_all(db.raw()).await {
        Ok(rows) => rows,
        Err(_) => sqlx::query(of_postgres).bind(table).fetch_all(db.raw()).await.unwrap(),
    };
    let column = |row: &sqlx::any::AnyRow| {
        let kind: String = row.get("kind");
        Column { name: row.get("name"), is_text: kind.eq_ignore_ascii_case("text") }
    };
    rows.iter().map(column).collect()
}

/// Some statements of one forger, committed together.
#[derive(Debug, Clone)]
struct Forgery(Vec<(String, Vec<Cell>)>);

impl Forgery {
    fn of(statements: &[&str]) -> Self {
        Self(statements.iter().map(|sql| ((*sql).to_owned(), Vec::new())).collect())
    }

    fn set(table: &str, column: &str, to: &Cell, id: &str) -> Self {
        let id = Cell::Text(Some(id.to_owned()));
        Self(vec![match to {
            Cell::Sql(value) => (format!("UPDATE {table} SET {column} = {value} WHERE id = $1"), vec![id]),
            value => (format!("UPDATE {table} SET {column} = $1 WHERE id = $2"), vec![value.clone(), id]),
        }])
    }

    fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// `false` when the database's own constraints forbid it.
    async fn commit(&self, db: &Database) -> bool {
        let mut tx = db.begin_by_hand().await;
        for (sql, values) in &self.0 {
            let mut query = sqlx::query(AssertSqlSafe(sql.clone()));
            for value in values {
                query = match value {
                    Cell::Text(text) => query.bind(text.clone()),
                    Cell::Int(number) => query.bind(*number),
                    Cell::Sql(value) => panic!("{value} is not bound"),
                };
            }
            if query.execute(&mut *tx).await.is_err() {
                return false;
            }
        }
        tx.commit().await.unwrap();
        true
    }
}

/// A chain with every kind of event, kept twice so that it can be put back.
struct Honest {
    columns: Vec<Column>,
    /// The events in their order.
    rows: Vec<Vec<Cell>>,
    report: ChainReport,
}

impl Honest {
    async fn new(db: &Database) -> Self {
        let old =
            |number: u32| NewEvent { id: format!("old{number}").parse().unwrap(), ..db.event(NOW.minus(30 * DAY)) };
        db.store.append_event(EventType::CodesPurged, None, &old(1)).await.unwrap();
        db.store.append_event(EventType::TokenUsed, Some(&"ann".parse().unwrap()), &old(2)).await.unwrap();
        let (ann, carol) = (db.user("ann@example.com").await, db.user("carol@example.com").await);
        db.token(&ann).await;
        let bare = NewEvent { client: ClientInfo::default(), ..db.event(NOW) };
        db.store.append_event(EventType::TokenLimited, Some(&carol.id), &bare).await.unwrap();
        seal(&db.store, "a", NOW, 1_000).await.unwrap();
        let pruned =
            db.store.prune_events(NOW.minus(DAY), 100, &Chance::of_the_system(), &db.event(NOW)).await.unwrap();
        assert_eq!(pruned, 2);
        assert!(db.store.delete_user(&carol.id, &db.event(NOW.plus(MINUTE))).await.unwrap());
        crate::deletion::finish(db, NOW).await;
        db.store.append_event(EventType::TokenUsed, Some(&carol.id), &db.event(NOW.plus(2 * MINUTE))).await.unwrap();
        let last = NewEvent { metadata: [("a".to_owned(), "b".to_owned())].into(), ..db.event(NOW.plus(3 * MINUTE)) };
        db.store.append_event(EventType::TokenUsed, Some(&ann.id), &last).await.unwrap();
        seal(&db.store, "a", NOW, 1_000).await.unwrap();
        db.store.append_event(EventType::TokenUsed, Some(&ann.id), &db.event(NOW)).await.unwrap();

        // A forger has no use for constraints.
        db.by_hand("DROP INDEX audit_events_sealed").await;
        db.by_hand("CREATE TABLE honest_events AS SELECT * FROM audit_events").await;
        db.by_hand("CREATE TABLE honest_head AS SELECT * FROM audit_head").await;
        let columns = columns(db, "audit_events").await;
        let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
        let sql = format!("SELECT {} FROM audit_events WHERE seq IS NOT NULL ORDER BY seq", names.join(", "));
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(db.raw()).await.unwrap();
        let cell = |row: &sqlx::any::AnyRow, at: usize| {
            if columns[at].is_text { Cell::Text(row.get(at)) } else { Cell::Int(row.get(at)) }
        };
        let rows = rows.iter().map(|row| (0..columns.len()).map(|at| cell(row, at)).collect()).collect();
        let report = db.store.verify_chain().await.unwrap();
        assert_eq!((&report.problem, report.pruned, report.unsealed), (&None, 2, 1));
        Self { columns, rows, report }
    }

    async fn put_back(db: &Database) {
        let back = Forgery::of(&[
            "DELETE FROM audit_events",
            "INSERT INTO audit_events SELECT * FROM honest_events",
            "DELETE FROM audit_head",
            "INSERT INTO audit_head SELECT * FROM honest_head",
        ]);
        assert!(back.commit(db).await);
    }

    fn place(&self, column: &str) -> usize {
        self.columns.iter().position(|known| known.name == column).unwrap()
    }

    fn text(&self, row: usize, column: &str) -> String {
        match &self.rows[row][self.place(column)] {
            Cell::Text(Some(text)) => text.clone(),
            other => panic!("{column} is {other:?}"),
        }
    }

    fn is_deletion(&self, row: usize) -> bool {
        row < self.rows.len() && self.text(row, "type") == "user.deleted"
    }

    /// What the deletion of an account does itself: its events before the deletion lose salts, and particulars.
    fn is_an_erasure(&self, row: usize, column: usize, to: &Cell) -> bool {
        let user = &self.rows[row][self.place("user_id")];
        let goes = (row + 1..self.rows.len())
            .any(|later| self.is_deletion(later) && self.rows[later][self.place("user_id")] == *user);
        let is_empty = ["ip", "user_agent", "request_id"].iter().all(|name| self.rows[row][self.place(name)].is_null())
            && self.text(row, "metadata") == "{}";
        goes && is_empty && self.columns[column].name == "particulars_salt" && to.is_null()
    }
}

/// Commits the forgery, has it found, and puts everything back. `None` when the database forbids it.
async fn found(db: &Database, forgery: &Forgery) -> Option<ChainReport> {
    if !forgery.commit(db).await {
        return None;
    }
    let report = db.store.verify_chain().await.unwrap();
    Honest::put_back(db).await;
    Some(report)
}

pub(crate) async fn every_value_of_every_event_is_bound(db: &Database) {
    let honest = Honest::new(db).await;
    let (id, seq) = (honest.place("id"), honest.place("seq"));
    let (mut tried, mut erasures) = (0, 0);
    for (at, column) in honest.columns.iter().enumerate() {
        // What others have there, and what nobody has.
        let mut values: BTreeSet<Cell> = honest.rows.iter().map(|row| row[at].clone()).collect();
        values.extend(column.strange());
        values.extend(column.mistyped());
        for (row, cells) in honest.rows.iter().enumerate() {
            for value in values.iter().filter(|value| **value != cells[at]) {
                let forgery = Forgery::set("audit_events", &column.name, value, &honest.text(row, "id"));
                let Some(report) = found(db, &forgery).await else { continue };
                tried += 1;
                if honest.is_an_erasure(row, at, value) {
                    assert_eq!(report, honest.report, "{forgery:?}");
                    erasures += 1;
                    continue;
                }
                assert!(report.problem.is_some(), "event {row}: {forgery:?}");
                // What comes before is whole; but for a deletion that is none any more, what it justified is not.
                let before = row as u64;
                assert!(report.sealed <= before, "event {row}: {forgery:?}: {report:?}");
                // Nor is it provable by what follows a place that is gone.
                if at != seq && !honest.is_deletion(row) && !honest.is_deletion(row + 1) {
                    assert_eq!(report.sealed, before, "{forgery:?}: {report:?}");
                }
            }
            for (other, others) in honest.rows.iter().enumerate().skip(row + 1).take(2) {
                if others[at] == cells[at] {
                    continue;
                }
                let (one, two) = (honest.text(row, "id"), honest.text(other, "id"));
                let forgery = if at == id {
                    let set =
                        |to: &str, id: &str| Forgery::set("audit_events", "id", &Cell::Text(Some(to.to_owned())), id);
                    set("for a moment", &one).and(set(&one, &two)).and(set(&two, "for a moment"))
                } else {
                    let set = |to, id: &str| Forgery::set("audit_events", &column.name, to, id);
                    set(&others[at], &one).and(set(&cells[at], &two))
                };
                let Some(report) = found(db, &forgery).await else { continue };
                tried += 1;
                assert!(report.problem.is_some(), "events {row} and {other}: {forgery:?}");
                let first = if honest.is_an_erasure(row, at, &others[at]) { other } else { row };
                assert!(report.sealed <= first as u64, "events {row} and {other}: {forgery:?}");
            }
        }
    }
    assert!(tried > 800, "{tried}");
    assert_eq!(erasures, 1, "of the one event of hers that never had particulars");
    assert_eq!(db.store.verify_chain().await.unwrap(), honest.report);
}

/// What can be changed without anybody noticing, and what for it is there.
const OF_THE_LEASE: [&str; 2] = ["lease_holder", "lease_until"];

pub(crate) async fn every_value_of_the_head_is_bound(db: &Database) {
    let honest = Honest::new(db).await;
    let links: Vec<Cell> = honest.rows.iter().map(|cells| cells[honest.place("link")].clone()).collect();
    let numbers: Vec<Cell> = (-1..=14).map(|seq| Cell::Int(Some(seq))).collect();
    let mut tried = 0;
    for column in columns(db, "audit_head").await {
        let sql = format!("SELECT {} FROM audit_head", column.name);
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(db.raw()).await.unwrap();
        let present = if column.is_text { Cell::Text(row.get(0)) } else { Cell::Int(row.get(0)) };
        let known = if column.is_text { &links } else { &numbers };
        for value in column.strange().iter().chain(known).filter(|value| **value != present) {
            let Some(report) = found(db, &Forgery::set("audit_head", &column.name, value, "head")).await else {
                continue;
            };
            tried += 1;
            let is_of_the_lease = OF_THE_LEASE.contains(&column.name.as_str());
            assert_eq!(report.problem.is_none(), is_of_the_lease, "{} = {value:?}: {report:?}", column.name);
        }
    }
    assert!(tried > 50, "{tried}");
    let report = found(db, &Forgery::of(&["DELETE FROM audit_head"])).await.unwrap();
    assert_eq!(report.problem.unwrap().what, Tampering::End);
    // A lease keeps nobody waiting for longer than it may last.
    db.by_hand("UPDATE audit_head SET lease_holder = 'eve', lease_until = 9223372036854775807").await;
    assert_eq!(seal(&db.store, "a", NOW, 10).await, Some(1));
    assert_eq!(db.store.verify_chain().await.unwrap().problem, None);
}

const BLANK: &str = "ip = NULL, user_agent = NULL, request_id = NULL, metadata = '{}', particulars_salt = NULL";

pub(crate) async fn forgeries_of_many_events_are_found(db: &Database) {
    Honest::new(db).await;
    let all = [
        // As it was done when the end of a chain was all that was bound.
        "UPDATE audit_events SET type = 'user.deleted', user_id = 'ann', at = 1, BLANK, particulars_digest = NULL",
        "UPDATE audit_events SET type = 'user.deleted', user_id = 'ann', at = 1, BLANK",
        "UPDATE audit_events SET type = 'user.deleted'",
        "UPDATE audit_events SET at = 1",
        "UPDATE audit_events SET BLANK",
        "UPDATE audit_events SET BLANK WHERE user_id IS NOT NULL",
        "UPDATE audit_events SET BLANK, particulars_digest = NULL WHERE user_id IS NOT NULL",
        "UPDATE audit_events SET particulars_digest = NULL",
        "UPDATE audit_events SET seq = seq + 1",
        "UPDATE audit_events SET seq = seq - 1",
        "UPDATE audit_events SET seq = NULL",
        "UPDATE audit_events SET seq = 3",
        "UPDATE audit_events SET seq = 15 - seq",
        "DELETE FROM audit_events",
        "DELETE FROM audit_events WHERE user_id IS NOT NULL",
        "DELETE FROM audit_events WHERE type = 'audit.pruned'",
        "UPDATE audit_events SET seq = seq + 1; UPDATE audit_head SET first_seq = first_seq + 1, last_seq = last_seq + 1",
        // The beginning cut off, and the head told so.
        "DELETE FROM audit_events WHERE seq <= 4; UPDATE audit_head SET first_seq = 5, \
         first_link = (SELECT link FROM honest_events WHERE seq = 4)",
        // Evidence that certifies itself.
        "UPDATE audit_events SET BLANK WHERE type = 'token.created'; \
         INSERT INTO audit_events (id, app_id, user_id, type, at, metadata) \
         SELECT 'forged', 'default', user_id, 'user.deleted', 1, '{}' FROM honest_events WHERE type = 'token.created'",
        "UPDATE audit_events SET BLANK WHERE type = 'token.created'; \
         INSERT INTO audit_events (id, app_id, user_id, type, at, metadata, seq, link, particulars_digest) \
         SELECT 'forged', 'default', user_id, 'user.deleted', 1, '{}', 13, link, particulars_digest \
         FROM honest_events WHERE type = 'token.created'",
        "INSERT INTO audit_events (id, app_id, type, at, metadata) VALUES ('forged', 'default', 'audit.resealed', 1, '{}')",
    ];
    for sql in all {
        let sql = sql.replace("BLANK", BLANK);
        let forgery = Forgery::of(&sql.split("; ").collect::<Vec<_>>());
        let report = found(db, &forgery).await.expect("the database does not forbid it");
        assert!(report.problem.is_some(), "{sql}");
    }
}

/// Whatever its number is, SQLite's that are below all integers and the least integer included.
pub(crate) async fn an_event_is_looked_at_wherever_it_is_put(db: &Database) {
    Honest::new(db).await;
    let mut found_there = 0;
    for seq in ["-1e300", "-9223372036854775808", "9223372036854775807", "1e300", "0.5", "'zz'", "x'00'"] {
        for id in ["", "evil"] {
            let sql = format!(
                "INSERT INTO audit_events (id, app_id, user_id, type, at, metadata, seq) \
                 VALUES ('{id}', 'default', 'ann', 'token.leaked', 1, '{{}}', {seq})"
            );
            let Some(report) = found(db, &Forgery::of(&[&sql])).await else { continue };
            assert!(report.problem.is_some(), "{id} at {seq}");
            found_there += 1;
        }
    }
    assert!(found_there >= 4, "{found_there}");
}

/// Without a key anybody can compute links. That the account is there, and since when, they would have to change as well.
pub(crate) async fn an_invented_end_and_return_erase_nothing_of_who_is_there(db: &Database) {
    Honest::new(db).await;
    let noted = db.store.chain_end().await.unwrap();
    let ann = "(SELECT user_id FROM honest_events WHERE type = 'token.created')";
    let event = |id: &str, kind: &str, minutes: u32| {
        let at = NOW.plus(minutes * MINUTE).as_millis();
        format!(
            "INSERT INTO audit_events (id, app_id, user_id, type, at, metadata) \
             VALUES ('{id}', 'default', {ann}, '{kind}', {at}, '{{}}')"
        )
    };
    let since =
        "SELECT created_at FROM users WHERE id = (SELECT user_id FROM honest_events WHERE type = 'token.created')";
    let since = db.count(since).await;
    let set = |since: i64| format!("UPDATE users SET created_at = {since} WHERE id = {ann}");
    let later = set(NOW.plus(6 * MINUTE).as_millis());
    let invented = [later.as_str(), &event("forged1", "user.deleted", 4), &event("forged2", "user.created", 5)];
    assert!(Forgery::of(&invented).commit(db).await);
    // It makes them the links that the forger would compute.
    assert_eq!(seal(&db.store, "a", NOW, 100).await, Some(3));
    let erased = format!("UPDATE audit_events SET {BLANK} WHERE type = 'token.created'");
    assert!(Forgery::of(&[&erased]).commit(db).await);
    let verify = async || db.store.verify_chain_against(std::slice::from_ref(&noted)).await.unwrap().problem;
    assert_eq!(verify().await, None, "who writes `users` as well can");
    assert!(Forgery::of(&[&set(since)]).commit(db).await);
    assert_eq!(verify().await.map(|problem| problem.what), Some(Tampering::Altered));
    // Nor do they pass when nothing is erased.
    let back = "UPDATE audit_events SET ip = honest.ip, user_agent = honest.user_agent, request_id = honest.request_id, \
                metadata = honest.metadata, particulars_salt = honest.particulars_salt FROM honest_events honest \
                WHERE honest.id = audit_events.id AND honest.seq IS NOT NULL";
    assert!(Forgery::of(&[back]).commit(db).await);
    assert_eq!(verify().await.map(|problem| problem.what), Some(Tampering::SlippedIn));
}

pub(crate) async fn events_that_are_removed_copied_or_exchanged_are_found(db: &Database) {
    let honest = Honest::new(db).await;
    let names: Vec<_> = honest.columns.iter().map(|column| column.name.as_str()).collect();
    let (first, last) = (3, 2 + honest.rows.len());
    assert_eq!(last, 12);
    for seq in first..=last {
        let removed = found(db, &Forgery::of(&[&format!("DELETE FROM audit_events WHERE seq = {seq}")])).await.unwrap();
        let problem = removed.problem.unwrap();
        if !honest.is_deletion(seq - first) && !honest.is_deletion(seq - first + 1) {
            assert_eq!((problem.seq, problem.what), (i64::try_from(seq).unwrap(), Tampering::Removed));
        }
        assert!(removed.sealed <= (seq - first) as u64);
        // Copied, to every place there is and the next.
        for to in first..=last + 1 {
            let values = names.iter().map(|name| match *name {
                "id" => "'copy'".to_owned(),
                "seq" => to.to_string(),
                name => name.to_owned(),
            });
            let values: Vec<_> = values.collect();
            let sql = format!(
                "INSERT INTO audit_events ({}) SELECT {} FROM honest_events WHERE seq = {seq}",
                names.join(", "),
                values.join(", ")
            );
            let copied = found(db, &Forgery::of(&[&sql])).await.unwrap();
            assert!(copied.problem.is_some(), "{seq} copied to {to}");
        }
        // The end moved back to it, and what comes after left as it is.
        let moved = format!(
            "UPDATE audit_head SET last_seq = {seq}, last_link = (SELECT link FROM honest_events WHERE seq = {seq})"
        );
        if seq < last {
            let report = found(db, &Forgery::of(&[&moved])).await.unwrap();
            assert!(report.problem.is_some(), "{seq}");
        }
        // Exchanged with another, links and all.
        for other in seq + 1..=last {
            let swap = format!(
                "UPDATE audit_events SET seq = {seq} + {other} - seq, link = (SELECT link FROM honest_events honest \
                 WHERE honest.seq = {seq} + {other} - audit_events.seq) WHERE seq = {seq} OR seq = {other}"
            );
            let report = found(db, &Forgery::of(&[&swap])).await.unwrap();
            assert!(report.problem.is_some_and(|problem| problem.what == Tampering::Altered), "{seq} and {other}");
        }
    }
}

pub(crate) async fn the_service_seals_no_evidence_for_a_forger(db: &Database) {
    let honest = Honest::new(db).await;
    // The deletion of somebody who is there, and what it would justify: the service does not seal it, unless they say as
    // well that the account was made later; and then it says that nothing tells of that.
    for (at, made, sealed) in
        [("1", "created_at", 2), ("4102444800000", "created_at", 1), ("4102444800000", "4102444900000", 2)]
    {
        db.execute(&format!("UPDATE users SET created_at = {made}")).await;
        let forged = format!(
            "INSERT INTO audit_events (id, app_id, user_id, type, at, metadata) SELECT 'forged', 'default', user_id, \
             'user.deleted', {at}, '{{}}' FROM honest_events WHERE type = 'token.created'"
        );
        let erased = format!("UPDATE audit_events SET {BLANK} WHERE type = 'token.created'");
        assert!(Forgery::of(&[&forged, &erased]).commit(db).await);
        assert_eq!(seal(&db.store, "a", NOW, 100).await, Some(sealed), "with the other one");
        let report = db.store.verify_chain().await.unwrap();
        assert!(report.problem.is_some(), "she is there: {report:?}");
        assert!(report.sealed < 8 || made != "created_at", "and what is erased is hers: {report:?}");
        Honest::put_back(db).await;
    }
    // That the beginning was pruned, and the beginning cut off: nobody but the chain itself says so.
    let cut = "UPDATE audit_head SET first_seq = 5, first_link = (SELECT link FROM honest_events WHERE seq = 4)";
    let pruned = "INSERT INTO audit_events (id, app_id, type, at, metadata) VALUES ('forged', 'default', 'audit.pruned', \
                  1, '{\"count\":\"2\",\"link\":\"' || (SELECT link FROM honest_events WHERE seq = 4) || '\",\"upTo\":\"4\"}')";
    assert!(Forgery::of(&["DELETE FROM audit_events WHERE seq <= 4", cut, pruned]).commit(db).await);
    assert_eq!(seal(&db.store, "a", NOW, 100).await, Some(1), "the other one");
    assert!(db.store.verify_chain().await.unwrap().problem.is_some());
    Honest::put_back(db).await;
    assert_eq!(db.store.verify_chain().await.unwrap(), honest.report);
}

pub(crate) async fn of_what_can_be_rewritten_the_noted_end_tells(db: &Database) {
    let honest = Honest::new(db).await;
    let end = db.store.chain_end().await.unwrap();
    let verify = async |noted: &[store::ChainPlace]| db.store.verify_chain_against(noted).await.unwrap();
    assert_eq!(verify(std::slice::from_ref(&end)).await, honest.report);
    // A note of the time before the first event says nothing.
    let nothing = store::ChainPlace { seq: 0, link: "0".repeat(64) };
    assert_eq!(verify(&[nothing.clone(), end.clone()]).await, honest.report);
    assert_eq!(verify(&[nothing]).await, honest.report);
    // Cut off at the end, the end moved back: nobody who looks at the database alone can tell that from the past.
    let cut = "UPDATE audit_head SET last_seq = 10, last_link = (SELECT link FROM audit_events WHERE seq = 10)";
    assert!(Forgery::of(&[cut, "DELETE FROM audit_events WHERE seq > 10"]).commit(db).await);
    assert_eq!(verify(&[]).await.problem, None);
    let report = verify(std::slice::from_ref(&end)).await;
    assert_eq!(report.problem.map(|problem| (problem.seq, problem.what)), Some((end.seq, Tampering::Removed)));
    Honest::put_back(db).await;
    // Or altered and sealed again by the service itself.
    let forged = [
        cut,
        "UPDATE audit_events SET seq = NULL, link = NULL WHERE seq > 10",
        "UPDATE audit_events SET at = at + 1 WHERE type = 'token.used'",
    ];
    assert!(Forgery::of(&forged).commit(db).await);
    assert_eq!(seal(&db.store, "a", NOW, 100).await, Some(3));
    assert_eq!(verify(&[]).await.problem, None, "not to be seen from inside");
    let report = verify(std::slice::from_ref(&end)).await;
    assert_eq!(report.problem.map(|problem| (problem.seq, problem.what)), Some((end.seq, Tampering::NotAsNoted)));
    assert_eq!(report.sealed, 9);
}
