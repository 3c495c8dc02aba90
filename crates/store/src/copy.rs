//! Moving an installation from one database to another, of whatever kinds the two are.
//!
//! Rows go over in batches, table by table in the order of their keys. Each batch commits together with a bookmark in
//! the target, so a copy that was cut off goes on where it stopped.

use serde_json::Value;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row};

use crate::rows::Columns;
use crate::schema::{Column, Schema, Table};
use crate::transaction::transaction;
use crate::{ChainReport, Store, StoreError};

/// How many rows go over at once; with the widest table this stays below what a statement may have of parameters.
const BATCH: usize = 500;

/// How far a copy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyProgress {
    /// The table that is being copied.
    pub table: String,
    /// How many of its rows have arrived, those of an earlier run included.
    pub copied: u64,
    /// How many there are.
    pub total: u64,
}

/// What became of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyOutcome {
    /// Everything has arrived and been counted, and the audit chain is the same.
    Done {
        /// The audit chain of the target.
        chain: ChainReport,
    },
    /// The target holds data that this copy has not brought; nothing was written.
    TargetInUse {
        /// Where.
        table: String,
    },
    /// The source has changed since the copy began. The target has to be emptied.
    SourceChanged,
    /// Something arrived otherwise than it was sent.
    Differs {
        /// The table, or the audit chain.
        what: String,
    },
}

impl Store {
    /// Copies everything to `target`, both of them brought up to date by this program, and tells how far it is. It
    /// goes on with what an earlier copy from the same source has left unfinished. Nobody may write to either
    /// meanwhile: a change of the source is noticed at the end at the latest.
    pub async fn copy_to(
        &self,
        target: &Self,
        mut tell: impl FnMut(&CopyProgress) + Send,
    ) -> Result<CopyOutcome, StoreError> {
        let schema = Schema::of_this_program().await?;
        let mut source = self.snapshot().await?;
        let fingerprint = fingerprint(&mut source).await?;
        let mut bookmark = match Bookmark::find(target).await? {
            Some(bookmark) if bookmark.source == fingerprint => bookmark,
            Some(_) => return Ok(CopyOutcome::SourceChanged),
            None => {
                if let Some(table) = in_use(target, &schema).await? {
                    return Ok(CopyOutcome::TargetInUse { table });
                }
                Bookmark::put(target, &fingerprint).await?
            }
        };
        for (place, table) in (0..).zip(&schema.tables).skip(bookmark.place) {
            let total = count(&mut source, table).await?;
            loop {
                let rows = next_rows(&mut source, table, bookmark.key.as_deref()).await?;
                let Some(last) = rows.last() else { break };
                bookmark.key = Some(key_of(last, table)?);
                bookmark.place = place;
                bookmark.copied += rows.len() as u64;
                put_rows(target, table, &rows, &bookmark).await?;
                tell(&CopyProgress { table: table.name.clone(), copied: bookmark.copied, total });
            }
            bookmark = Bookmark { source: fingerprint.clone(), place: place + 1, key: None, copied: 0 };
        }
        source.rollback().await?;
        self.compare(target, &schema, &fingerprint).await
    }

    async fn compare(&self, target: &Self, schema: &Schema, before: &str) -> Result<CopyOutcome, StoreError> {
        let mut source = self.snapshot().await?;
        if fingerprint(&mut source).await? != before {
            return Ok(CopyOutcome::SourceChanged);
        }
        let mut arrived = target.snapshot().await?;
        for table in &schema.tables {
            if count(&mut source, table).await? != count(&mut arrived, table).await? {
                return Ok(CopyOutcome::Differs { what: table.name.clone() });
            }
        }
        drop((source, arrived));
        let chain = target.verify_chain().await?;
        if self.verify_chain().await? != chain {
            return Ok(CopyOutcome::Differs { what: "the audit chain".to_owned() });
        }
        Bookmark::remove(target).await?;
        Ok(CopyOutcome::Done { chain })
    }
}

/// Names the state of a database: every change that matters writes an audit event.
async fn fingerprint(tx: &mut AnyConnection) -> Result<String, StoreError> {
    let row = sqlx::query(
        "SELECT last_seq, last_link, (SELECT COUNT(*) FROM audit_events) AS events, \
         (SELECT COUNT(*) FROM users) AS users FROM audit_head",
    )
    .fetch_one(tx)
    .await?;
    let numbers = [row.int("last_seq")?, row.int("events")?, row.int("users")?];
    Ok(format!("{numbers:?} {}", row.text("last_link")?))
}

/// A table that holds more than it does in an installation that nobody has used.
async fn in_use(target: &Store, schema: &Schema) -> Result<Option<String>, StoreError> {
    let mut snapshot = target.snapshot().await?;
    for table in &schema.tables {
        if count(&mut snapshot, table).await? != table.rows_at_first {
            return Ok(Some(table.name.clone()));
        }
    }
    let written = "SELECT COUNT(*) AS written FROM audit_head WHERE last_seq <> 0";
    let written = sqlx::query(written).fetch_one(&mut *snapshot).await?.count("written")?;
    Ok((written > 0).then(|| "audit_head".to_owned()))
}

async fn count(tx: &mut AnyConnection, table: &Table) -> Result<u64, StoreError> {
    let sql = AssertSqlSafe(format!("SELECT COUNT(*) AS rows_there FROM {}", table.name));
    let rows = sqlx::query(sql).fetch_one(tx).await?.int("rows_there")?;
    u64::try_from(rows).map_err(|_| StoreError::Malformed { column: "rows_there" })
}

/// The rows after the one with this key.
async fn next_rows(
    source: &mut AnyConnection,
    table: &Table,
    after: Option<&[Value]>,
) -> Result<Vec<AnyRow>, StoreError> {
    let (columns, key) = (table.column_names().join(", "), table.key.join(", "));
    let places: Vec<String> = (1..=table.key.len()).map(|place| format!("${place}")).collect();
    let condition = after.map(|_| format!("WHERE ({key}) > ({}) ", places.join(", "))).unwrap_or_default();
    let sql = format!("SELECT {columns} FROM {} {condition}ORDER BY {key} LIMIT {BATCH}", table.name);
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for value in after.into_iter().flatten() {
        query = match value {
            Value::Number(number) => query.bind(number.as_i64()),
            value => query.bind(value.as_str()),
        };
    }
    Ok(query.fetch_all(source).await?)
}

fn key_of(row: &AnyRow, table: &Table) -> Result<Vec<Value>, StoreError> {
    let value = |column: &Column| {
        Ok(if column.is_text {
            row.try_get::<String, _>(column.name.as_str())?.into()
        } else {
            row.try_get::<i64, _>(column.name.as_str())?.into()
        })
    };
    table.key_columns().map(value).collect::<Result<_, sqlx::Error>>().map_err(StoreError::from)
}

/// Writes the rows and the bookmark. Over what migrations have put there themselves.
async fn put_rows(target: &Store, table: &Table, rows: &[AnyRow], bookmark: &Bookmark) -> Result<(), StoreError> {
    let names = table.column_names();
    let width = names.len();
    let places = |row: usize| (1..=width).map(|column| format!("${}", row * width + column)).collect::<Vec<_>>();
    let values: Vec<String> = (0..rows.len()).map(|row| format!("({})", places(row).join(", "))).collect();
    let others: Vec<String> = names
        .iter()
        .filter(|name| !table.key.iter().any(|key| key == *name))
        .map(|name| format!("{name} = excluded.{name}"))
        .collect();
    let conflict = if others.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", others.join(", ")) };
    let sql = format!(
        "INSERT INTO {} ({}) VALUES {} ON CONFLICT ({}) DO {conflict}",
        table.name,
        names.join(", "),
        values.join(", "),
        table.key.join(", ")
    );
    transaction!(target, |tx| {
        // Every number of rows makes another text: none is worth keeping prepared.
        let mut insert = sqlx::query(AssertSqlSafe(sql.clone())).persistent(false);
        for row in rows {
            for column in &table.columns {
                insert = bind(insert, row, column)?;
            }
        }
        insert.execute(&mut *tx).await?;
        bookmark.keep(tx).await
    })
}

fn bind<'q>(
    query: Query<'q, Any, AnyArguments>,
    row: &AnyRow,
    column: &Column,
) -> Result<Query<'q, Any, AnyArguments>, StoreError> {
    Ok(if column.is_text {
        query.bind(row.try_get::<Option<String>, _>(column.name.as_str())?)
    } else {
        query.bind(row.try_get::<Option<i64>, _>(column.name.as_str())?)
    })
}

/// Where a copy is. A table of its own in the target, for as long as it takes.
struct Bookmark {
    /// The source's fingerprint.
    source: String,
    /// The table's place in the schema.
    place: usize,
    /// The key of its last row that has arrived.
    key: Option<Vec<Value>>,
    /// How many of its rows have arrived.
    copied: u64,
}

impl Bookmark {
    async fn find(target: &Store) -> Result<Option<Self>, StoreError> {
        let make = "CREATE TABLE IF NOT EXISTS store_copy (id TEXT NOT NULL PRIMARY KEY, source TEXT NOT NULL, \
                    place BIGINT NOT NULL, last_key TEXT NOT NULL, copied BIGINT NOT NULL)";
        transaction!(target, |tx| {
            sqlx::query(make).execute(&mut *tx).await?;
            let row = sqlx::query("SELECT source, place, last_key, copied FROM store_copy").fetch_optional(tx).await?;
            let Some(row) = row else { return Ok(None) };
            let key = row.text("last_key")?;
            Ok(Some(Self {
                source: row.text("source")?,
                place: row.count("place")? as usize,
                key: serde_json::from_str(&key).map_err(|_| StoreError::Malformed { column: "last_key" })?,
                copied: u64::from(row.count("copied")?),
            }))
        })
    }

    async fn put(target: &Store, source: &str) -> Result<Self, StoreError> {
        let bookmark = Self { source: source.to_owned(), place: 0, key: None, copied: 0 };
        transaction!(target, |tx| { bookmark.keep(tx).await })?;
        Ok(bookmark)
    }

    async fn keep(&self, tx: &mut AnyConnection) -> Result<(), StoreError> {
        let overflow = |_| StoreError::Malformed { column: "copied" };
        sqlx::query(
            "INSERT INTO store_copy (id, source, place, last_key, copied) VALUES ('copy', $1, $2, $3, $4) \
             ON CONFLICT (id) DO UPDATE SET source = excluded.source, place = excluded.place, \
             last_key = excluded.last_key, copied = excluded.copied",
        )
        .bind(self.source.as_str())
        .bind(i64::try_from(self.place).map_err(overflow)?)
        .bind(serde_json::json!(self.key).to_string())
        .bind(i64::try_from(self.copied).map_err(overflow)?)
        .execute(tx)
        .await?;
        Ok(())
    }

    async fn remove(target: &Store) -> Result<(), StoreError> {
        transaction!(target, |tx| {
            sqlx::query("DROP TABLE store_copy").execute(&mut *tx).await?;
            Ok(())
        })
    }
}
