//! Which Redis: what a URL says, and connections to it.

use std::time::Duration;

use ::redis::cluster::ClusterClient;
use ::redis::{AsyncConnectionConfig, Client, IntoConnectionInfo as _, RedisResult};

use super::lane::Connection;

/// Connecting, with TLS and the first questions.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A text that names no Redis that we would talk to. It may hold a password, so it is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedisUrlError {
    /// Not of the form that it should have.
    #[error("must be redis://HOST:PORT or rediss://HOST:PORT, or several of a cluster's, separated by commas")]
    Malformed,
    /// The library takes `#insecure` for the wish that nobody looks at the server's certificate.
    #[error(
        "must not have a fragment: the server's certificate is checked always (SSL_CERT_FILE names an authority of \
         your own), so there is no #insecure; in a password, # is written %23"
    )]
    Fragment,
}

/// One Redis, or a cluster.
pub(super) enum Target {
    Single(Box<Client>),
    Cluster(Box<ClusterClient>),
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self, RedisUrlError> {
        let urls: Vec<&str> = url.split(',').map(str::trim).filter(|url| !url.is_empty()).collect();
        if urls.is_empty() || !urls.iter().all(|url| url.starts_with("redis://") || url.starts_with("rediss://")) {
            return Err(RedisUrlError::Malformed);
        }
        if url.contains('#') {
            return Err(RedisUrlError::Fragment);
        }
        let infos: RedisResult<Vec<_>> = urls.iter().map(|&url| url.into_connection_info()).collect();
        let infos = infos.map_err(|_| RedisUrlError::Malformed)?;
        if urls.iter().any(|url| url.starts_with("rediss://")) {
            // As everywhere else in the program; an error says that somebody was here before.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let target = match infos.as_slice() {
            [info] if !url.contains(',') => Client::open(info.clone()).map(|client| Self::Single(Box::new(client))),
            _ => {
                // What a failing node costs is decided by the timeout around it all.
                let builder = ClusterClient::builder(infos).retries(3).max_retry_wait(100).min_retry_wait(10);
                builder.connection_timeout(CONNECT_TIMEOUT / 2).build().map(|client| Self::Cluster(Box::new(client)))
            }
        };
        target.map_err(|_| RedisUrlError::Malformed)
    }

    /// Opens a connection, to be polled by the runtime of whoever calls this.
    pub(super) async fn open(&self) -> RedisResult<Connection> {
        Ok(match self {
            Self::Single(client) => {
                let config = AsyncConnectionConfig::new().set_response_timeout(None);
                Connection::Single(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
            Self::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
        })
    }
}
