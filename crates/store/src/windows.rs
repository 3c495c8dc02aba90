//! Windows of limits, as they are saved by a process that counts them in its memory.
//!
//! Times here are of the steady clock of the run that wrote them. Each run says how far wall time is ahead of that, so
//! that the next one knows how old everything is, also when the clock was set meanwhile.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use domain::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe};

use crate::rows::Columns;
use crate::transaction::transaction;
use crate::{Store, StoreError};

/// One start of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowRun {
    /// Its number.
    pub number: i64,
    /// How many milliseconds wall time is ahead of its steady clock.
    pub wall_ahead: i64,
    /// When it began, by its steady clock.
    pub began: Timestamp,
    /// The one before it did not end in order.
    pub is_after_kill: bool,
}

/// A window that is saved; times by the steady clock of its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredWindow {
    /// The key.
    pub name: String,
    /// The run that saved it.
    pub run: i64,
    /// The window's length.
    pub length: Duration,
    /// How many more may have been admitted unsaved, at most.
    pub unseen: u32,
    /// The last moment and the count of each bucket, oldest first.
    pub buckets: Vec<(Timestamp, u32)>,
}

/// Kills that are remembered. A window of at least ten admits nothing after 19 of them within its length, since a tenth
/// of it, rounded down, is counted for each; those of a smaller limit lose nothing.
const KILLS: usize = 20;

/// How many windows one statement writes: few sizes, so that few statements are prepared.
const SIZES: [usize; 3] = [64, 8, 1];

const COLUMNS: usize = 7;

static SAVE: LazyLock<[Arc<str>; SIZES.len()]> = LazyLock::new(|| {
    SIZES.map(|size| {
        let row = |row: usize| {
            let places: Vec<_> = (1..=COLUMNS).map(|column| format!("${}", row * COLUMNS + column)).collect();
            format!("({})", places.join(", "))
        };
        let rows: Vec<_> = (0..size).map(row).collect();
        format!(
            "INSERT INTO windows (limiter, name, run, ends, length, unseen, buckets) VALUES {} \
             ON CONFLICT (limiter, name) DO UPDATE SET run = excluded.run, ends = excluded.ends, \
             length = excluded.length, unseen = excluded.unseen, buckets = excluded.buckets \
             WHERE windows.run <= excluded.run",
            rows.join(", ")
        )
        .into()
    })
});

impl Store {
    /// Begins a run at this moment, by both clocks. Returns it after those before it of which something may be left.
    pub async fn begin_window_run(&self, steady: Timestamp, wall: Timestamp) -> Result<Vec<WindowRun>, StoreError> {
        let wall_ahead = wall.as_millis().saturating_sub(steady.as_millis());
        transaction!(self, |tx| {
            let rows = sqlx::query("SELECT run, wall_ahead, began, after_kill, is_over FROM window_runs ORDER BY run")
                .fetch_all(&mut *tx)
                .await?;
            let mut runs = rows.iter().map(run_of).collect::<Result<Vec<_>, _>>()?;
            let is_after_kill = match rows.last() {
                Some(last) => !last.flag("is_over")?,
                None => false,
            };
            let number = runs.last().map_or(1, |last| last.number + 1);
            // Of two that start at the same moment one finds the number taken, and begins again.
            sqlx::query(
                "INSERT INTO window_runs (run, wall_ahead, began, after_kill, is_over) VALUES ($1, $2, $3, $4, 0)",
            )
            .bind(number)
            .bind(wall_ahead)
            .bind(steady.as_millis())
            .bind(i64::from(is_after_kill))
            .execute(&mut *tx)
            .await?;
            runs.push(WindowRun { number, wall_ahead, began: steady, is_after_kill });
            forget_runs(tx, &runs, number).await?;
            Ok(runs)
        })
    }

    /// The run has ended, and everything of it is saved.
    pub async fn end_window_run(&self, run: i64) -> Result<(), StoreError> {
        transaction!(self, |tx| {
            sqlx::query("UPDATE window_runs SET is_over = 1 WHERE run = $1").bind(run).execute(&mut *tx).await?;
            Ok(())
        })
    }

    /// The clock was set: in this run, wall time is ahead by so much now. All that is saved keeps its age.
    pub async fn set_window_clock(&self, run: i64, wall_ahead: i64) -> Result<(), StoreError> {
        transaction!(self, |tx| {
            let row = sqlx::query("SELECT wall_ahead FROM window_runs WHERE run = $1")
                .bind(run)
                .fetch_optional(&mut *tx)
                .await?;
            let Some(row) = row else { return Ok(()) };
            sqlx::query("UPDATE window_runs SET wall_ahead = wall_ahead + $1")
                .bind(wall_ahead.saturating_sub(row.int("wall_ahead")?))
                .execute(&mut *tx)
                .await?;
            Ok(())
        })
    }

    /// Saves these windows of different names over what was saved of them before, all or none; but not over what a
    /// later run has saved.
    pub async fn save_windows(&self, limiter: &str, windows: &[StoredWindow]) -> Result<(), StoreError> {
        // In one order, so that two transactions cannot wait for each other.
        let mut windows: Vec<_> = windows.iter().collect();
        windows.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        transaction!(self, |tx| {
            let mut rest = windows.as_slice();
            for (place, size) in SIZES.into_iter().enumerate() {
                while let Some((some, others)) = rest.split_at_checked(size) {
                    save(tx, limiter, place, some).await?;
                    rest = others;
                    if rest.is_empty() {
                        break;
                    }
                }
            }
            Ok(())
        })
    }

    /// At most `limit` windows of this limiter whose names come after this one, in the order of their names.
    pub async fn saved_windows(&self, limiter: &str, after: &str, limit: u32) -> Result<Vec<StoredWindow>, StoreError> {
        let rows = sqlx::query(
            "SELECT name, run, length, unseen, buckets FROM windows WHERE limiter = $1 AND name > $2 \
             ORDER BY name LIMIT $3",
        )
        .bind(limiter)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(window_of).collect()
    }

    /// Deletes at most `limit` windows of this run in which nothing was counted after `over_before`, by its steady
    /// clock, and returns how many.
    pub async fn purge_windows(&self, run: i64, over_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        transaction!(self, |tx| {
            // Twice: what was found may have been saved again meanwhile.
            let deleted = sqlx::query(
                "DELETE FROM windows WHERE run = $1 AND ends < $2 AND (limiter, name) IN \
                 (SELECT limiter, name FROM windows WHERE run = $1 AND ends < $2 LIMIT $3)",
            )
            .bind(run)
            .bind(over_before.as_millis())
            .bind(i64::from(limit))
            .execute(&mut *tx)
            .await?;
            Ok(deleted.rows_affected())
        })
    }
}

/// Deletes what nobody asks for any more: runs of which no window is left, except the last that came after a kill.
async fn forget_runs(tx: &mut AnyConnection, runs: &[WindowRun], present: i64) -> Result<(), StoreError> {
    let kills = runs.iter().rev().filter(|run| run.is_after_kill);
    let oldest_kill = kills.take(KILLS).last().map_or(present, |run| run.number);
    sqlx::query(
        "DELETE FROM window_runs WHERE run < $1 AND (after_kill = 0 OR run < $2) \
         AND NOT EXISTS (SELECT 1 FROM windows WHERE windows.run = window_runs.run)",
    )
    .bind(present)
    .bind(oldest_kill)
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes as many windows as this statement takes.
async fn save(
    tx: &mut AnyConnection,
    limiter: &str,
    place: usize,
    windows: &[&StoredWindow],
) -> Result<(), StoreError> {
    let mut query = sqlx::query(AssertSqlSafe(Arc::clone(&SAVE[place])));
    for window in windows {
        let ends = window.buckets.iter().map(|(last, _)| last.plus(window.length).as_millis()).max();
        let buckets: Vec<_> =
            window.buckets.iter().map(|(last, count)| format!("{}:{count}", last.as_millis())).collect();
        query = query
            .bind(limiter)
            .bind(window.name.as_str())
            .bind(window.run)
            .bind(ends.unwrap_or(0))
            .bind(i64::try_from(window.length.as_millis()).unwrap_or(i64::MAX))
            .bind(i64::from(window.unseen))
            .bind(buckets.join(" "));
    }
    query.execute(tx).await?;
    Ok(())
}

fn run_of(row: &AnyRow) -> Result<WindowRun, StoreError> {
    Ok(WindowRun {
        number: row.int("run")?,
        wall_ahead: row.int("wall_ahead")?,
        began: row.time("began")?,
        is_after_kill: row.flag("after_kill")?,
    })
}

fn window_of(row: &AnyRow) -> Result<StoredWindow, StoreError> {
    let bucket = |text: &str| {
        let (last, count) = text.split_once(':')?;
        Some((Timestamp::from_millis(last.parse().ok()?), count.parse().ok()?))
    };
    let text = row.text("buckets")?;
    let buckets = text.split_whitespace().map(bucket).collect::<Option<_>>();
    let length = u64::try_from(row.int("length")?).map_err(|_| StoreError::Malformed { column: "length" })?;
    Ok(StoredWindow {
        name: row.text("name")?,
        run: row.int("run")?,
        length: Duration::from_millis(length),
        unseen: row.count("unseen")?,
        buckets: buckets.ok_or(StoreError::Malformed { column: "buckets" })?,
    })
}
