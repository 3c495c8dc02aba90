//! Reading: one query, for a bounded time, on a connection that lives.

use std::future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _, TryFutureExt as _};
use sqlx::any::{AnyArguments, AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::{Any, AnyPool, Describe, Either, Error, Execute, Executor, SqlStr};

use crate::Store;
use crate::error::{is_broken, is_timeout};
use crate::sqlite_readers::SqliteReaders;

/// The connections that only read.
#[derive(Debug, Clone)]
pub(crate) enum Readers {
    Sqlite(Arc<SqliteReaders>),
    Postgres(AnyPool),
}

impl Readers {
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(readers) => readers.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// Runs single queries that change nothing. One whose connection breaks runs again on another: after a restart of the
/// database all connections of the pool are dead, and nobody but the next reader would find out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'s>(pub(crate) &'s Store);

impl Reader<'_> {
    async fn rows(self, sql: SqlStr, persistent: bool, arguments: Option<AnyArguments>) -> Result<Vec<AnyRow>, Error> {
        let pool = match &self.0.readers {
            Readers::Sqlite(readers) => return readers.fetch_all(sql, persistent, arguments).await,
            Readers::Postgres(pool) => pool,
        };
        let mut may_be_dead = self.0.dead_connections();
        loop {
            let mut connection = pool.acquire().await?;
            let query = sqlx::query_with(sql.clone(), arguments.as_ref().map(copy).unwrap_or_default());
            let rows = self.0.bounded(query.persistent(persistent).fetch_all(&mut *connection)).await;
            match rows {
                Err(error) if is_broken(&error) => {
                    // Closed here and now: the pool would first try to talk to whoever does not answer.
                    drop(connection.detach());
                    if may_be_dead == 0 || is_timeout(&error) {
                        return Err(error);
                    }
                    may_be_dead -= 1;
                }
                rows => return rows,
            }
        }
    }
}

impl<'s> Executor<'s> for Reader<'s> {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, Error>>
    where
        's: 'e,
        E: 'q + Execute<'q, Any>,
    {
        self.fetch_all(query)
            .map_ok(|rows| stream::iter(rows.into_iter().map(Either::Right).map(Ok)))
            .try_flatten_stream()
            .boxed()
    }

    fn fetch_all<'e, 'q: 'e, E>(self, mut query: E) -> BoxFuture<'e, Result<Vec<AnyRow>, Error>>
    where
        's: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let arguments = match query.take_arguments() {
            Ok(arguments) => arguments,
            Err(error) => return future::ready(Err(Error::Encode(error))).boxed(),
        };
        let persistent = query.persistent();
        self.rows(query.sql(), persistent, arguments).boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, Error>>
    where
        's: 'e,
        E: 'q + Execute<'q, Any>,
    {
        self.fetch_all(query).map_ok(|rows| rows.into_iter().next()).boxed()
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [AnyTypeInfo]) -> BoxFuture<'e, Result<AnyStatement, Error>>
    where
        's: 'e,
    {
        (&self.0.writer).prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Any>, Error>>
    where
        's: 'e,
    {
        (&self.0.writer).describe(sql)
    }
}

/// sqlx gives arguments away when it runs a query.
fn copy(arguments: &AnyArguments) -> AnyArguments {
    let mut copy = AnyArguments::default();
    copy.values.0.clone_from(&arguments.values.0);
    copy
}
