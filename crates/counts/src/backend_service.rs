//! The GraphQL service, where it needs nobody else to answer.

use std::sync::Arc;

use anyhow::Result;
use auth_client::{AuthClient, AuthClientConfig};
use http::{Request, StatusCode, header};
use serde_json::json;
use testkit::{TestClock, seeded_chance};

use crate::auth_service::{JWT_SECRET, from_a_connection};
use crate::counted::Counter;

pub(crate) fn count(counter: &Counter) -> Result<()> {
    let (clock, chance) = (Arc::new(TestClock::default()), seeded_chance(1));
    // Nobody is there, and nobody is asked.
    let auth = AuthClientConfig::new("http://127.0.0.1:9", JWT_SECRET.into());
    let mut app = backend::app(backend::Config {
        version: "1.0.0".to_owned(),
        commit_hash: "0123456".to_owned(),
        cors_origins: Vec::new(),
        trusted_proxies: web::TrustedProxies::default(),
        auth: AuthClient::new(&auth, clock.clone(), chance.clone())?,
        clock,
        chance,
        operations: web::Operations::default(),
    });
    let request = |_| {
        let body = json!({ "query": "{ version { version } }" }).to_string();
        let request = Request::post("/graphql").header(header::CONTENT_TYPE, "application/json");
        Ok(from_a_connection(request.body(body.into())?))
    };
    counter.count_requests("backend: version", &mut app, request, (StatusCode::OK, r#""version":"1.0.0""#))
}
