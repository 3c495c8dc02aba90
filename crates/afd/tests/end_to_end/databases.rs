//! The databases that the service runs on.

use std::fs;

use tempfile::TempDir;
use testkit::{Launch, Postgres};

/// An empty database of its own.
pub(crate) struct Database {
    pub(crate) url: String,
    folder: Option<TempDir>,
}

impl Database {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { url: format!("sqlite://{}", folder.path().join("auth.db").display()), folder: Some(folder) }
    }

    pub(crate) fn postgres() -> Self {
        Self { url: Postgres::shared().database(), folder: None }
    }

    /// What the query answers with, by the database's own client.
    pub(crate) async fn sql(&self, sql: &str) -> String {
        let Some(folder) = &self.folder else { return Postgres::shared().sql(&self.url, sql).trim_end().to_owned() };
        let database = folder.path().join("auth.db");
        let done = Launch::new("/usr/bin/sqlite3").args([database.to_str().unwrap(), sql]).run().await;
        assert_eq!(done.code, Some(0), "{}", done.output);
        done.output.trim_end().to_owned()
    }

    /// The number that the query answers with.
    pub(crate) async fn number(&self, sql: &str) -> usize {
        self.sql(sql).await.parse().unwrap()
    }

    /// Whether nobody is in the middle of a write transaction.
    pub(crate) async fn is_at_rest(&self) -> bool {
        let Some(folder) = &self.folder else {
            let open =
                "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL";
            return Postgres::shared().sql(&self.url, open).trim_end() == "1";
        };
        let database = folder.path().join("auth.db");
        let lock = [database.to_str().unwrap(), "BEGIN IMMEDIATE; ROLLBACK;"];
        Launch::new("/usr/bin/sqlite3").args(lock).run().await.code == Some(0)
    }

    /// Everything in the data folder, byte by byte, where there is one.
    pub(crate) fn kept_bytes(&self) -> Vec<u8> {
        let Some(folder) = &self.folder else { return Vec::new() };
        fs::read_dir(folder.path()).unwrap().flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
    }
}

/// Runs the cases, each on both databases.
macro_rules! on_both_databases {
    ($($case:ident,)*) => {
        $(mod $case {
            #[tokio::test]
            async fn sqlite() {
                super::$case(crate::databases::Database::sqlite()).await;
            }

            #[tokio::test]
            async fn postgres() {
                super::$case(crate::databases::Database::postgres()).await;
            }
        })*
    };
}
pub(crate) use on_both_databases;
