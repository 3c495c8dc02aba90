//! Rounds of revocation: how whoever takes something away finds out that every instance knows.
//!
//! The change is committed with its rows in `owed_marks`. Then the round is counted up, in a transaction of its own.
//! An instance that looks sees the round and the marks of one moment: it applies the marks, writes the round into its
//! row, and only then trusts its copies for a while, counted from before it looked. So when no row is behind the round,
//! no instance trusts a copy from before the change. One that is frozen or cut off acknowledges nothing, and its trust
//! runs out by itself.
//!
//! An instance whose row is missing makes it and looks again before it trusts anything: until the row is there, nobody
//! waits for this instance, so what it has read by then proves nothing.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyPool};

use crate::error::is_broken;
use crate::open::Product;
use crate::owed_marks::OwedMark;
use crate::rows::{Columns, app};
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// An answer that takes longer comes too late for anybody's trust; the connection is given up.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who wants a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoundBy {
    /// An instance, about what it has owed marks for.
    Instance,
    /// An operator's command: instances also forget all copies and read their keys again.
    Operator,
}

/// What an instance sees when it looks, all of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// How often somebody has wanted all instances to know.
    pub round: i64,
    /// How often operators have.
    pub operators_round: i64,
    /// The round in the instance's own row; `None` if it has none.
    pub acknowledged: Option<i64>,
    /// Every mark that is owed, by the name of what it marks.
    pub marks: HashMap<String, OwedMark>,
}

impl Store {
    /// What the instance of this name has to know, read on a connection that nobody else takes.
    pub async fn look(&self, instance: &str) -> Result<Seen, StoreError> {
        // One statement, so that all of it is of one moment.
        let rows = self
            .at_once(&self.looks, || {
                sqlx::query(
                    "SELECT a.revocation_round, a.operator_writes, i.acknowledged_round, m.credential, m.ends, m.occasion \
                     FROM apps a LEFT JOIN instances i ON i.id = $1 LEFT JOIN owed_marks m ON 1 = 1 WHERE a.id = $2",
                )
                .bind(instance.to_owned())
                .bind(app())
            })
            .await?;
        let first = rows.first().ok_or(StoreError::Malformed { column: "apps.id" })?;
        let mut marks = HashMap::new();
        for row in &rows {
            if let Some(credential) = row.opt_text("credential")? {
                marks.insert(credential, OwedMark::from_row(row)?);
            }
        }
        Ok(Seen {
            round: first.int("revocation_round")?,
            operators_round: first.int("operator_writes")?,
            acknowledged: first.opt_int("acknowledged_round")?,
            marks,
        })
    }

    /// Makes the instance's row. Only what is seen from now on may be trusted.
    pub async fn register_instance(&self, instance: &str, round: i64) -> Result<(), StoreError> {
        self.at_once(self.quickest_writer(), || {
            sqlx::query(
                "INSERT INTO instances (id, acknowledged_round) VALUES ($1, $2) \
                 ON CONFLICT (id) DO UPDATE SET acknowledged_round = excluded.acknowledged_round",
            )
            .bind(instance.to_owned())
            .bind(round)
        })
        .await?;
        Ok(())
    }

    /// Writes down that the instance has applied what it saw in this round. False if its row is gone: then nobody has
    /// waited for it.
    pub async fn acknowledge_round(&self, instance: &str, round: i64) -> Result<bool, StoreError> {
        let rows = self
            .at_once(self.quickest_writer(), || {
                sqlx::query("UPDATE instances SET acknowledged_round = $2 WHERE id = $1 RETURNING id")
                    .bind(instance.to_owned())
                    .bind(round)
            })
            .await?;
        Ok(!rows.is_empty())
    }

    /// Removes the row of an instance that trusts no copy any more.
    pub async fn deregister_instance(&self, instance: &str) -> Result<(), StoreError> {
        transaction!(self, |tx| {
            sqlx::query("DELETE FROM instances WHERE id = $1").bind(instance).execute(&mut *tx).await?;
            Ok(())
        })
    }

    /// Begins a round, after the change has been committed, and returns its number.
    pub async fn next_round(&self, by: RoundBy) -> Result<i64, StoreError> {
        transaction!(self, |tx| {
            let row = sqlx::query(
                "UPDATE apps SET revocation_round = revocation_round + 1, operator_writes = operator_writes + $2 \
                 WHERE id = $1 RETURNING revocation_round",
            )
            .bind(app())
            .bind(i64::from(by == RoundBy::Operator))
            .fetch_one(&mut *tx)
            .await?;
            row.int("revocation_round")
        })
    }

    /// How many instances have not acknowledged the round.
    pub async fn instances_behind(&self, round: i64) -> Result<u32, StoreError> {
        let rows = self
            .at_once(&self.looks, || {
                sqlx::query("SELECT COUNT(*) AS behind FROM instances WHERE acknowledged_round < $1").bind(round)
            })
            .await?;
        rows.first().ok_or(StoreError::Malformed { column: "behind" })?.count("behind")
    }

    /// How many instances there are besides this one.
    pub async fn other_instances(&self, instance: &str) -> Result<u32, StoreError> {
        let rows = self
            .at_once(&self.looks, || {
                sqlx::query("SELECT COUNT(*) AS others FROM instances WHERE id <> $1").bind(instance.to_owned())
            })
            .await?;
        rows.first().ok_or(StoreError::Malformed { column: "others" })?.count("others")
    }

    /// Removes the rows of those that have not acknowledged the round, and returns their names. To be called when the
    /// trust of every one of them has run out.
    pub async fn remove_instances_behind(&self, round: i64) -> Result<Vec<String>, StoreError> {
        transaction!(self, |tx| {
            let rows = sqlx::query("DELETE FROM instances WHERE acknowledged_round < $1 RETURNING id")
                .bind(round)
                .fetch_all(&mut *tx)
                .await?;
            rows.iter().map(|row| row.text("id")).collect()
        })
    }

    /// Where one row is written without waiting for requests: SQLite has one writer, who is also who does not take its
    /// own writes for somebody else's.
    const fn quickest_writer(&self) -> &AnyPool {
        match self.product {
            Product::Sqlite { .. } => &self.writer,
            Product::Postgres => &self.looks,
        }
    }

    /// Runs a statement, once more if its connection turns out to be dead, and for no longer than it is worth.
    async fn at_once<'q>(
        &self,
        pool: &AnyPool,
        query: impl Fn() -> Query<'q, Any, AnyArguments>,
    ) -> Result<Vec<AnyRow>, StoreError> {
        let mut may_be_dead = self.dead_connections() > 0;
        loop {
            let mut connection = pool.acquire().await?;
            let asking = query().fetch_all(&mut *connection);
            let rows = match self.product {
                // Nobody else has the file for long: what waits for its lock is told so by SQLite.
                Product::Sqlite { .. } => asking.await,
                Product::Postgres => tokio::time::timeout(self.patience.min(PATIENCE), asking)
                    .await
                    .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))),
            };
            match rows {
                Err(error) if is_broken(&error) => {
                    // Closed here and now: the pool would first try to talk to whoever does not answer.
                    drop(connection.detach());
                    if !may_be_dead || crate::error::is_timeout(&error) {
                        return Err(error.into());
                    }
                    may_be_dead = false;
                }
                rows => return Ok(rows?),
            }
        }
    }
}
