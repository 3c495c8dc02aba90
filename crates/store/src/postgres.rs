//! PostgreSQL 15 or later, or what speaks like it.

use std::sync::Arc;
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Connection as _};
use tokio::time::{sleep, timeout};

use crate::open::Product;
use crate::reader::Readers;
use crate::shares::Shares;
use crate::{Options, Store, StoreError};

/// How much later than the server we lose patience, so that its own answer comes first where it can still speak.
pub(crate) const SERVER_FIRST: Duration = Duration::from_secs(1);
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
const TRY_AGAIN_EVERY: Duration = Duration::from_millis(500);
/// A load balancer or a failover may have moved the database; connections that are never renewed would not notice.
const MAX_LIFETIME: Duration = Duration::from_mins(30);

pub(crate) fn is_url(url: &str) -> bool {
    url.starts_with("postgres:") || url.starts_with("postgresql:")
}

pub(crate) async fn open(url: &str, options: &Options) -> Result<Store, StoreError> {
    let readers = pool(url, options, options.connections / 2)?;
    let writer = pool(url, options, options.connections.div_ceil(2))?;
    let looks = pool(url, options, 1)?;
    let answers = async {
        loop {
            match readers.acquire().await.map(drop).map_err(StoreError::from) {
                Err(error) if error.is_unavailable() => sleep(TRY_AGAIN_EVERY).await,
                outcome => break outcome,
            }
        }
    };
    match timeout(options.start_up_wait, answers).await {
        Ok(outcome) => outcome?,
        // Outside the pool, which would only say that it has waited.
        Err(_) => timeout(options.acquire_timeout.unwrap_or(ACQUIRE_TIMEOUT), AnyConnection::connect(url))
            .await
            .unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut))
            .map(drop)?,
    }
    let shares = Arc::new(Shares::of(readers.options().get_max_connections()));
    Ok(Store {
        writer,
        snapshots: readers.clone(),
        readers: Readers::Postgres(readers),
        shares,
        looks,
        product: Product::Postgres,
        patience: options.statement_timeout + SERVER_FIRST,
        lookups: Arc::default(),
        step_up: None,
    })
}

fn pool(url: &str, options: &Options, connections: u32) -> Result<AnyPool, StoreError> {
    let millis = |duration: Duration| duration.as_millis();
    // The last one ends transactions of an instance that hangs, together with their locks.
    let settings = format!(
        "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {};",
        millis(options.statement_timeout),
        millis(options.lock_timeout),
        millis(options.statement_timeout + SERVER_FIRST)
    );
    let pool = AnyPoolOptions::new()
        .max_connections(connections.max(1))
        .acquire_timeout(options.acquire_timeout.unwrap_or(ACQUIRE_TIMEOUT))
        .max_lifetime(MAX_LIFETIME)
        // A question before every question would double the way. Instead a call whose connection turns out to be dead
        // takes the next one.
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let settings = settings.clone();
            Box::pin(async move {
                sqlx::raw_sql(AssertSqlSafe(settings)).execute(connection).await?;
                Ok(())
            })
        })
        .connect_lazy(url);
    pool.map_err(|error| match error {
        sqlx::Error::Configuration(_) => {
            StoreError::Url("must be a URL such as postgres://USER:PASSWORD@HOST/DATABASE")
        }
        error => error.into(),
    })
}
