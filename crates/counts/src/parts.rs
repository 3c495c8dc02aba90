//! The parts that every validation needs, by themselves.

use std::pin::pin;
use std::sync::Arc;

use axum::response::IntoResponse as _;
use domain::token::{self, Kind, TokenSecret};
use domain::{Clock as _, DigestKey, Limit};
use http::{Request, StatusCode};
use limiter::Limiter;
use testkit::{TestClock, seeded_chance};
use web::{Envelope, Lines, RequestIds};

use crate::counted::Counter;

pub(crate) fn count(counter: &Counter) {
    let chance = seeded_chance(1);
    let clock = TestClock::default();

    let secret = chance.with(|rng| TokenSecret::generate(Kind::Live, rng));
    Counter::count("domain: is a token well formed", || token::is_well_formed(secret.expose()));
    let key = DigestKey::derive(b"an example secret of at least 32 bytes", "tokens");
    Counter::count("domain: keyed digest of a token", || key.digest(&[secret.expose()]));

    let limiter = Limiter::in_memory(64 << 20);
    let limit = Limit::per_minute(1_000_000);
    counter.count_async("limiter: admit in memory", async || {
        limiter.admit("pat:01234567890123456789", limit, clock.now()).await
    });

    let envelope = Envelope {
        clock: Arc::new(clock),
        request_ids: RequestIds::new(&chance),
        trusted_proxies: Arc::default(),
        service: "counts",
        operations: web::Operations::default(),
    };
    counter.count_async("web: envelope around an empty answer", async || {
        let arrival = envelope.receive(&Request::new(()), None, "/");
        envelope.reply(&arrival, Lines::OfFailures, pin!(async { StatusCode::OK.into_response() })).await
    });
}
