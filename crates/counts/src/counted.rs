//! What is counted, and how callgrind is told so.

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use axum::response::Response;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tokio::runtime::Runtime;
use tower::Service;

/// A request as a connection hands it over, its body read already.
pub(crate) type WholeRequest = Request<Full<Bytes>>;

/// How often each path is called. What happens once in a while, such as a table that grows, is spread over them.
pub(crate) const CALLS: usize = 1_000;

/// Calls what is to be counted.
pub(crate) struct Counter {
    pub(crate) runtime: Runtime,
}

impl Counter {
    pub(crate) const fn new(runtime: Runtime) -> Self {
        Self { runtime }
    }

    /// Counts [`CALLS`] calls of something that does not wait.
    pub(crate) fn count<T>(name: &str, mut call: impl FnMut() -> T) {
        let mut calls = || {
            for _ in 0..CALLS {
                drop(black_box(call()));
            }
        };
        calls();
        counted_section(&mut calls);
        said(name);
    }

    /// Counts [`CALLS`] calls of something that may wait.
    pub(crate) fn count_async<T>(&self, name: &str, mut call: impl AsyncFnMut() -> T) {
        let mut calls = || {
            self.runtime.block_on(async {
                for _ in 0..CALLS {
                    drop(black_box(call().await));
                }
            });
        };
        calls();
        counted_section(&mut calls);
        said(name);
    }

    /// Counts [`CALLS`] requests in turn, up to the response, which holds its body. They are made beforehand by
    /// `request`, which is told how many came before; the first [`CALLS`] of them are answered uncounted. All that are
    /// counted have to be answered with this status and a body that holds this text.
    pub(crate) fn count_requests<S>(
        &self,
        name: &str,
        app: &mut S,
        request: impl Fn(usize) -> Result<WholeRequest>,
        (status, text): (StatusCode, &str),
    ) -> Result<()>
    where
        S: Service<WholeRequest, Response = Response, Error = std::convert::Infallible>,
    {
        let mut responses = Vec::with_capacity(CALLS);
        for (is_counted, before) in [(false, 0), (true, CALLS)] {
            let requests = (before..before + CALLS).map(&request).collect::<Result<Vec<_>>>()?;
            responses.clear();
            let mut requests = requests.into_iter();
            let mut calls = || {
                self.runtime.block_on(async {
                    for request in requests.by_ref() {
                        let Ok(response) = app.call(request).await;
                        responses.push(response);
                    }
                });
            };
            if is_counted {
                counted_section(&mut calls);
            } else {
                calls();
            }
        }
        for response in responses {
            ensure!(response.status() == status, "{name}: answered {}", response.status());
            let body = self.runtime.block_on(response.into_body().collect())?.to_bytes();
            let body = std::str::from_utf8(&body).context("a reply is text")?;
            ensure!(body.contains(text), "{name}: answered {body}");
        }
        said(name);
        Ok(())
    }
}

/// `xtask/src/counts.rs` tells callgrind to count while this runs, and to write down what it has counted when this
/// returns. It names it, so there must be one copy of it, which the optimiser leaves alone.
#[inline(never)]
fn counted_section(calls: &mut dyn FnMut()) {
    calls();
    // Something that has to be done after the call, or it would be a jump, and this never left.
    black_box(());
}

/// One line for each time that callgrind has written something down, in the same order.
fn said(name: &str) {
    println!("{CALLS} {name}");
}
