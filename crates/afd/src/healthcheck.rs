//! `afd healthcheck URL`, for containers, which have no curl.

use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::{Client, Url};

use crate::config::{self, Source};

const TIMEOUT: Duration = Duration::from_secs(3);

/// Succeeds if the service answers healthy: at the URL's own path, or at `/health` when it has none. Without a URL it is
/// the service that the same environment configures.
pub(crate) async fn run(url: Option<String>) -> anyhow::Result<()> {
    let url = match url {
        Some(url) => url,
        None => config::own_address(Source::of_process())?,
    };
    let mut url: Url = url.parse().context("the address must be a URL such as http://localhost:3001")?;
    if url.path() == "/" {
        url.set_path("/health");
    }
    let client = Client::builder().timeout(TIMEOUT).no_proxy().build()?;
    let status = client.get(url).send().await.context("the service does not answer")?.status();
    ensure!(status.is_success(), "the service answers {status}");
    Ok(())
}
