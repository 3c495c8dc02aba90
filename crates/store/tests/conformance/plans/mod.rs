//! What each statement of the store does with a million rows: no scan and no sort that grows with what belongs to
//! others.
//!
//! Which statements there are, nobody writes down: all cases of this suite run once, and what the store sends
//! meanwhile is noted. Then each runs, and is rolled back, in a large installation, with values of an ordinary account,
//! while SQLite's steps and PostgreSQL's rows are counted: what was done, rather than what a plan promises.

mod filling;
mod recorder;
mod values;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::LocalBoxFuture;
use futures_util::{StreamExt as _, stream};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection};
use store::{Options, Store};
use testkit::Postgres;

use self::filling::Filled;
use crate::cases;
use crate::database::Database;

/// A case's name, and the case.
pub(crate) type Case = (&'static str, for<'d> fn(&'d Database) -> LocalBoxFuture<'d, ()>);

/// Cases that take long and send nothing that others do not send as well.
const LONG: &[&str] = &["deletion::an_account_of_any_size_", "deletion_race::", "forging::"];

/// Steps of SQLite's machine for one statement; a page of a hundred rows takes some 4,000.
const STEPS: u64 = 60_000;
/// Rows that one statement of PostgreSQL's reads, whether it needs them or throws them away.
const ROWS: u64 = 2_000;

/// Statements that may read more, by what is in them, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    (
        "FROM totp_factors WHERE seal_key <>",
        "a start looks once for what is sealed under an older key, in one row a second factor",
    ),
    ("AND seq <= $3 AND type = $4", "`afd audit list` looks for a rare kind in stretches of 20,000 events"),
    ("COUNT(*) AS events FROM audit_events WHERE seq IS NOT NULL", "`afd audit verify` reads the whole chain anyway"),
    (
        "AS returns FROM audit_events events WHERE",
        "as it is filled in here, `afd audit verify` asks of each event what it asks of deletions alone, and for the many \
         `token.created` of a user where it asks for their one or two `user.created`",
    ),
];

fn is_exception(sql: &str) -> bool {
    EXCEPTIONS.iter().any(|(part, _)| sql.contains(part))
}

async fn all_statements() -> BTreeSet<String> {
    let recorded = recorder::start();
    let is_long = |name: &str| LONG.iter().any(|long| name.starts_with(long));
    stream::iter(cases().into_iter().filter(|(name, _)| !is_long(name)))
        .map(|(_, case)| async move { case(&Database::sqlite().await).await })
        .buffer_unordered(8)
        .collect::<Vec<()>>()
        .await;
    let all = recorded();
    assert!(all.len() > 150, "only {} statements were seen", all.len());
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_statement_reads_more_with_what_belongs_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("large.db").display());
    let (statements, mut sqlite, mut postgres) =
        tokio::join!(all_statements(), SqliteMachine::open(&url), PostgresMachine::open(Postgres::shared().database()));
    let numbers = sqlite.columns_of_numbers().await;
    let mut problems = Vec::new();
    for sql in &statements {
        for account in [values::ORDINARY, values::LARGE] {
            if account == values::LARGE && !is_page(sql) {
                continue;
            }
            let text = values::fill_in(sql, account, &numbers);
            match sqlite.steps(&text).await {
                Ok(steps) if steps <= STEPS || is_exception(sql) => {}
                Ok(steps) => {
                    let plan = sqlite.plan(&text).await;
                    problems.push(format!("SQLite, {steps} steps for {account}: {text}\n  {plan}"));
                }
                Err(error) => problems.push(format!("SQLite, {error}: {text}")),
            }
        }
    }

    for sql in &statements {
        for account in [values::ORDINARY, values::LARGE] {
            if account == values::LARGE && !is_page(sql) {
                continue;
            }
            let text = values::fill_in(sql, account, &numbers);
            match postgres.rows(&text).await {
                Ok((rows, _)) if rows <= ROWS || is_exception(sql) => {}
                Ok((rows, plan)) => {
                    problems.push(format!("PostgreSQL, {rows} rows for {account}: {text}\n  {plan}"));
                }
                Err(error) => problems.push(format!("PostgreSQL, {error}: {text}")),
            }
        }
    }
    assert!(problems.is_empty(), "{} statements:\n{}", problems.len(), problems.join("\n\n"));

    for (part, _) in EXCEPTIONS {
        assert!(statements.iter().any(|sql| sql.contains(part)), "no statement is this exception: {part}");
    }
}

/// What an account's size must not matter for either: pages, and what is counted up to a limit.
fn is_page(sql: &str) -> bool {
    sql.contains("LIMIT $")
}

/// A foreign key whose child column has no index is a scan of the child at every deletion of a parent.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_cascade_looks_for_has_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("a.db").display());
    Store::open(&url, &Options::default()).await.unwrap().migrate().await.unwrap();
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let keys = "SELECT t.name AS child, f.\"from\" AS column_name, f.\"table\" AS parent FROM sqlite_master t \
                JOIN pragma_foreign_key_list(t.name) f WHERE t.type = 'table'";
    let indexed = "SELECT COUNT(*) FROM pragma_index_list($1) l JOIN pragma_index_info(l.name) i \
                   WHERE i.seqno = 0 AND i.name = $2";
    let mut checked = 0;
    for key in sqlx::query(keys).fetch_all(&mut connection).await.unwrap() {
        let (child, column, parent): (String, String, String) = (key.get(0), key.get(1), key.get(2));
        // Nobody deletes an app.
        if parent == "apps" {
            continue;
        }
        let found: i64 =
            sqlx::query_scalar(indexed).bind(&child).bind(&column).fetch_one(&mut connection).await.unwrap();
        assert!(found > 0, "{child}.{column} refers to {parent} without an index");
        checked += 1;
    }
    assert!(checked >= 10, "{checked}");
}

/// Every method of the store is called by some case, or its statements would be missing above. But for the copy of a
/// whole database, which reads and writes whole tables, a stretch of the primary key at a time, with no service beside.
#[test]
fn no_method_of_the_store_is_left_out() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |folder: &str| {
        let mut texts = String::new();
        let mut folders = vec![here.join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let is_left_out = path.ends_with("copy.rs") || path.ends_with("faults.rs");
                if path.is_dir() {
                    folders.push(path);
                } else if !is_left_out {
                    texts += &std::fs::read_to_string(path).unwrap();
                }
            }
        }
        texts
    };
    let (source, tests) = (read("src"), read("tests/conformance"));
    let missing: Vec<_> = source
        .split("    pub async fn ")
        .skip(1)
        .filter_map(|rest| rest.split(['(', '<']).next())
        .filter(|name| !tests.contains(&format!(".{name}(")) && !tests.contains(&format!("Store::{name}(")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

struct SqliteMachine {
    connection: SqliteConnection,
    steps: Arc<AtomicU64>,
}

impl SqliteMachine {
    const EVERY: i32 = 100;

    async fn open(url: &str) -> Self {
        Store::open(url, &Options::default()).await.unwrap().migrate().await.unwrap();
        let options: SqliteConnectOptions = url.parse().unwrap();
        let mut connection = options.disable_statement_logging().connect().await.unwrap();
        let quickly = "PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; PRAGMA foreign_keys = ON;";
        sqlx::raw_sql(quickly).execute(&mut connection).await.unwrap();
        for sql in Filled::statements(false) {
            sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut connection).await.expect(&sql);
        }
        let steps = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&steps);
        connection.lock_handle().await.unwrap().set_progress_handler(Self::EVERY, move || {
            counted.fetch_add(u64::from(Self::EVERY.unsigned_abs()), Ordering::Relaxed);
            true
        });
        Self { connection, steps }
    }

    async fn columns_of_numbers(&mut self) -> HashSet<String> {
        let columns = "SELECT DISTINCT c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c \
                       WHERE t.type = 'table' AND c.type = 'BIGINT'";
        sqlx::query_scalar(columns).fetch_all(&mut self.connection).await.unwrap().into_iter().collect()
    }

    async fn steps(&mut self, sql: &str) -> Result<u64, sqlx::Error> {
        let mut transaction = self.connection.begin().await.unwrap();
        self.steps.store(0, Ordering::Relaxed);
        let outcome = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut *transaction).await;
        let steps = self.steps.load(Ordering::Relaxed);
        transaction.rollback().await?;
        match outcome {
            Err(error) if !does_not_fit(&error) => Err(error),
            _ => Ok(steps),
        }
    }

    async fn plan(&mut self, sql: &str) -> String {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let rows = sqlx::raw_sql(explain).fetch_all(&mut self.connection).await.unwrap();
        rows.iter().map(|row| row.get::<String, _>("detail")).collect::<Vec<_>>().join("; ")
    }
}

struct PostgresMachine(sqlx::PgConnection);

impl PostgresMachine {
    async fn open(url: String) -> Self {
        Store::open(&url, &Options::default()).await.unwrap().migrate().await.unwrap();
        let options: PgConnectOptions = url.parse().unwrap();
        let mut connection = options.disable_statement_logging().connect().await.unwrap();
        for sql in Filled::statements(true) {
            sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut connection).await.expect(&sql);
        }
        Self(connection)
    }

    async fn rows(&mut self, sql: &str) -> Result<(u64, String), sqlx::Error> {
        let mut transaction = self.0.begin().await.unwrap();
        let explain = AssertSqlSafe(format!("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}"));
        let outcome = sqlx::raw_sql(explain).fetch_all(&mut *transaction).await;
        transaction.rollback().await?;
        match outcome {
            Ok(rows) => {
                let plan: String = rows[0].try_get_unchecked(0)?;
                let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
                Ok((read_rows(&plan[0]["Plan"]), plan.to_string()))
            }
            Err(error) if does_not_fit(&error) => Ok((0, String::new())),
            Err(error) => Err(error),
        }
    }
}

/// Whether the values were none that this statement could write: then it read no more than it took to find that out.
fn does_not_fit(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    // cardinality_violation: a row that is to be written twice
    error.is_unique_violation() || error.is_foreign_key_violation() || error.code().is_some_and(|code| code == "21000")
}

/// Rows that the plan's scans of tables and indexes have read, whether they were of use or not.
fn read_rows(plan: &serde_json::Value) -> u64 {
    let number = |name: &str| plan[name].as_f64().unwrap_or(0.0);
    let below: u64 = plan["Plans"].as_array().into_iter().flatten().map(read_rows).sum();
    if plan["Relation Name"].is_null() && plan["Index Name"].is_null() {
        return below;
    }
    let read = number("Actual Rows") + number("Rows Removed by Filter") + number("Rows Removed by Index Recheck");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of rows")]
    let here = (read * number("Actual Loops").max(1.0)) as u64;
    here + below
}
