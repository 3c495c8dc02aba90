//! Bringing the tables to this version of the program.

use sqlx::AnyConnection;
use sqlx::migrate::{MigrateError, Migrator};

use crate::open::Product;
use crate::{Store, StoreError};

pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!();

/// How often the row that migrations wait at is looked for while others make it at the same moment.
const TRIES: u32 = 10;

impl Store {
    /// Brings the tables to this version of the program: all migrations that are missing, or none. May run in several
    /// processes at once: the others wait and then find everything done.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await?;
        let is_postgres = matches!(self.product, Product::Postgres);
        if is_postgres {
            make_turnstile(&mut connection).await?;
        }
        // SQLite's write transactions are alone anyhow.
        let mut transaction = self.begin(&mut connection).await?;
        if is_postgres {
            pass_turnstile(&mut transaction).await?;
        }
        migrator().run_direct(None, &mut *transaction, false).await.map_err(|error| match error {
            MigrateError::Execute(error) => error.into(),
            error => StoreError::Migration(error),
        })?;
        Ok(transaction.commit().await?)
    }

    /// Whether the tables are those of this version of the program, or of a later one.
    pub async fn is_migrated(&self) -> Result<bool, StoreError> {
        let applied =
            sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM _sqlx_migrations").fetch_one(self.reader()).await;
        match applied.map_err(StoreError::from) {
            Ok(applied) => Ok(usize::try_from(applied).unwrap_or(0) >= MIGRATIONS.iter().count()),
            Err(error @ StoreError::Unavailable(_)) => Err(error),
            // There is not even the table that says so.
            Err(_) => Ok(false),
        }
    }
}

/// All migrations, without sqlx's own lock: `pg_advisory_lock` is not to be had everywhere that PostgreSQL is spoken.
pub(crate) fn migrator() -> Migrator {
    let mut migrator = Migrator::with_migrations(MIGRATIONS.iter().cloned().collect());
    migrator.set_locking(false);
    migrator
}

/// The one row that is there before all migrations.
async fn make_turnstile(connection: &mut AnyConnection) -> Result<(), StoreError> {
    let mut tries = 1;
    loop {
        let made = sqlx::raw_sql(
            "CREATE TABLE IF NOT EXISTS migration_turnstile (id TEXT NOT NULL PRIMARY KEY, passed BIGINT NOT NULL); \
             INSERT INTO migration_turnstile (id, passed) VALUES ('turnstile', 0) ON CONFLICT (id) DO NOTHING;",
        )
        .execute(&mut *connection)
        .await
        .map_err(StoreError::from);
        match made {
            // IF NOT EXISTS does not help against those who make the same table at the same moment.
            Err(error) if error.is_conflict() && tries < TRIES => tries += 1,
            made => return made.map(drop),
        }
    }
}

/// Waits for whoever migrates at the moment, for as long as they need.
async fn pass_turnstile(tx: &mut AnyConnection) -> Result<(), StoreError> {
    sqlx::raw_sql("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;").execute(&mut *tx).await?;
    sqlx::query("UPDATE migration_turnstile SET passed = passed + 1").execute(&mut *tx).await?;
    // Whoever waits for a table makes everybody wait who comes to that table later: better to fail, and start again.
    sqlx::raw_sql("SET LOCAL lock_timeout = 10000;").execute(&mut *tx).await?;
    Ok(())
}
