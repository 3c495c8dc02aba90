//! The tables of this program, as its migrations make them.

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _};

use crate::StoreError;
use crate::migrate::migrator;
use crate::rows::Columns;

/// All tables, each after those that it refers to.
pub(crate) struct Schema {
    pub(crate) tables: Vec<Table>,
}

pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    /// The columns of the primary key.
    pub(crate) key: Vec<String>,
    /// How many rows the migrations themselves put there.
    pub(crate) rows_at_first: u64,
}

/// TEXT or BIGINT; there are no others.
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) is_text: bool,
}

impl Schema {
    /// Makes the tables where nobody sees them and looks: a list by hand would miss the next one that is added.
    pub(crate) async fn of_this_program() -> Result<Self, StoreError> {
        let mut scratch = AnyConnection::connect("sqlite::memory:").await?;
        migrator().run_direct(None, &mut scratch, false).await.map_err(StoreError::Migration)?;
        let names = sqlx::query(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> '_sqlx_migrations' \
             AND name NOT LIKE 'sqlite_%' ORDER BY name",
        )
        .fetch_all(&mut scratch)
        .await?;
        let (mut tables, mut waiting) = (Vec::new(), Vec::new());
        for row in names {
            let table = Table::look(&mut scratch, row.text("name")?).await?;
            let parents = parents(&mut scratch, &table.name).await?;
            waiting.push((table, parents));
        }
        while !waiting.is_empty() {
            let is_there = |tables: &[Table], parent: &String| tables.iter().any(|table| table.name == *parent);
            let next = waiting.iter().position(|(_, parents)| parents.iter().all(|parent| is_there(&tables, parent)));
            // Tables that refer to each other in a circle could not be filled one after the other.
            let next = next.ok_or(StoreError::Malformed { column: "REFERENCES" })?;
            tables.push(waiting.remove(next).0);
        }
        scratch.close().await?;
        Ok(Self { tables })
    }
}

impl Table {
    async fn look(scratch: &mut AnyConnection, name: String) -> Result<Self, StoreError> {
        let rows = sqlx::query("SELECT name, type, pk FROM pragma_table_info($1) ORDER BY cid")
            .bind(name.as_str())
            .fetch_all(&mut *scratch)
            .await?;
        let (mut columns, mut key) = (Vec::new(), Vec::new());
        for row in &rows {
            let column = Column { name: row.text("name")?, is_text: row.text("type")? == "TEXT" };
            let place = row.int("pk")?;
            if place > 0 {
                key.push((place, column.name.clone()));
            }
            columns.push(column);
        }
        key.sort();
        let count = AssertSqlSafe(format!("SELECT COUNT(*) AS rows_there FROM {name}"));
        let rows_at_first = u64::from(sqlx::query(count).fetch_one(scratch).await?.count("rows_there")?);
        Ok(Self { name, columns, key: key.into_iter().map(|(_, name)| name).collect(), rows_at_first })
    }

    pub(crate) fn column_names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.name.as_str()).collect()
    }

    /// In the order of the key.
    pub(crate) fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().filter_map(|name| self.columns.iter().find(|column| column.name == *name))
    }
}

/// The other tables that this one refers to.
async fn parents(scratch: &mut AnyConnection, table: &str) -> Result<Vec<String>, StoreError> {
    let rows =
        sqlx::query("SELECT DISTINCT \"table\" AS parent FROM pragma_foreign_key_list($1) WHERE \"table\" <> $1")
            .bind(table)
            .fetch_all(scratch)
            .await?;
    rows.iter().map(|row| row.text("parent")).collect()
}
