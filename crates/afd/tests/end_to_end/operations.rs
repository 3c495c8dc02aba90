//! What an operator sees: readiness, metrics, an end that nobody notices.

use std::collections::BTreeSet;

use serde_json::json;
use testkit::{Postgres, free_port};

use crate::installation::{Installation, Reply};

const OPERATIONS: &str = include_str!("../../../../docs/operations.md");

async fn get(installation: &Installation, url: &str) -> Reply {
    Reply::of(installation.http.get(url).send().await.expect("it answers")).await
}

/// The names of metrics in Prometheus's text form.
fn names(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned())).collect()
}

/// The rows of the documentation's table whose first cell is a metric.
fn documented() -> Vec<(String, String, String)> {
    let rows = OPERATIONS.lines().filter(|line| line.starts_with("| `afd_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, service, .., alert] = cells[..] else { panic!("{row}") };
        let name = name.trim_matches('`').split('{').next().unwrap_or_default().to_owned();
        (name, service.to_owned(), alert.to_owned())
    })
    .collect()
}

#[tokio::test]
async fn the_documentation_lists_exactly_the_metrics_that_there_are_each_with_its_alert() {
    let (auth_metrics, backend_metrics) = (free_port(), free_port());
    let mut installation = Installation::new(&[("METRICS_PORT", &auth_metrics.to_string())]).await;
    installation.backend = installation.backend.env("METRICS_PORT", backend_metrics.to_string());
    let _running = installation.start().await;
    for (service, port) in [("auth", auth_metrics), ("backend", backend_metrics)] {
        let shown = get(&installation, &format!("http://127.0.0.1:{port}/metrics")).await;
        assert_eq!(shown.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        let documented = documented().into_iter().filter(|(_, of, _)| of == service || of == "both");
        let documented: BTreeSet<String> = documented.map(|(name, ..)| name).collect();
        assert_eq!(names(shown.body.as_str().unwrap()), documented, "of {service}");
    }
    assert!(documented().iter().all(|(_, _, alert)| !alert.is_empty()), "an alert, or why there is none");
}

#[tokio::test]
async fn metrics_count_what_happened_and_are_not_on_the_services_own_port() {
    let port = free_port();
    let installation = Installation::new(&[("METRICS_PORT", &port.to_string())]).await;
    let _running = installation.start().await;
    let session = installation.sign_in("ann@example.com").await;
    let created = installation.post("/tokens", Some(&session), json!({ "name": "ci" })).await;
    let token = created.text("/token/token").to_owned();
    for _ in 0..3 {
        assert_eq!(installation.validate(&token).await.status, 200);
    }
    assert_eq!(installation.validate("af_live_nonsense").await.status, 401);
    assert_eq!(get(&installation, &format!("{}/metrics", installation.auth_url)).await.status, 404);

    let shown = get(&installation, &format!("http://127.0.0.1:{port}/metrics")).await;
    let text = shown.body.as_str().unwrap();
    for line in [
        // The session's own use, when it created the token, is a validation as well.
        r#"afd_validations_total{outcome="valid"} 4"#,
        r#"afd_validations_total{outcome="invalid"} 1"#,
        r#"afd_credential_cache_total{result="hit"} 2"#,
        r#"afd_credential_cache_total{result="miss"} 2"#,
        r#"afd_http_requests_total{method="POST",route="/tokens/validate",status="200"} 3"#,
        r#"afd_http_requests_total{method="POST",route="/tokens/validate",status="401"} 1"#,
        r#"afd_http_request_seconds_count{method="POST",route="/tokens",status="201"} 1"#,
        r#"afd_database_seconds_count{for="validation"} 2"#,
        r#"afd_database_seconds_count{for="ping"} 1"#,
        r#"afd_limiter_state{state="in_process"} 1"#,
        r#"afd_limiter_state{state="fallback"} 0"#,
        r#"afd_redis_seconds_count{outcome="answered"} 0"#,
        "afd_database_up 1",
        "afd_bcrypt_waiting 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in:\n{text}");
    }
    assert!(!text.contains(&token) && !text.contains("ann@example.com"));
}

#[tokio::test]
async fn told_to_stop_it_first_says_that_it_is_not_ready_and_goes_on_answering() {
    let mut installation = Installation::new(&[("DRAIN_DELAY", "2s")]).await;
    installation.backend = installation.backend.env("DRAIN_DELAY", "2s");
    let (mut auth, mut backend) = installation.start().await;
    let auth_ready = format!("{}/ready", installation.auth_url);
    let backend_ready = installation.api_url.replace("/graphql", "/ready");
    assert_eq!(get(&installation, &auth_ready).await.status, 200);

    for (process, ready) in [(&mut backend, backend_ready), (&mut auth, auth_ready)] {
        assert_eq!(get(&installation, &ready).await.status, 200);
        let watching = async {
            let mut answer = get(&installation, &ready).await;
            while answer.status == 200 {
                answer = get(&installation, &ready).await;
            }
            answer
        };
        let (code, answer) = tokio::join!(process.terminate(), watching);
        assert_eq!((answer.status, answer.text("/status")), (503, "draining"));
        assert!(answer.body["checks"].as_object().unwrap().values().all(|state| state == "ok"), "{answer:?}");
        assert_eq!(answer.headers["connection"], "close");
        assert_eq!(code, Some(0));
    }
}

#[tokio::test]
async fn without_its_database_it_says_so_everywhere_and_recovers_by_itself() {
    let mut postgres = Postgres::start();
    let port = free_port();
    let settings = [("DATABASE_URL", &*postgres.database()), ("METRICS_PORT", &*port.to_string())];
    let installation = Installation::new(&settings).await;
    let (_auth, _backend) = installation.start().await;
    let session = installation.sign_in("ann@example.com").await;
    let ready = format!("{}/ready", installation.auth_url);
    let metrics = format!("http://127.0.0.1:{port}/metrics");
    assert_eq!(get(&installation, &ready).await.status, 200);

    postgres.stop();
    let (not_ready, code, tokens, graphql, shown) = tokio::join!(
        get(&installation, &ready),
        installation.post("/auth/email/request", None, json!({ "email": "bob@example.com" })),
        installation.post("/tokens", Some(&session), json!({ "name": "ci" })),
        installation.graphql(Some(&session), "{ personalAccessTokens { name } }", json!({})),
        get(&installation, &metrics),
    );
    assert_eq!(not_ready.status, 503);
    assert_eq!(not_ready.body, json!({ "status": "unavailable", "checks": { "database": "unavailable" } }));
    for refused in [code, tokens] {
        assert_eq!((refused.status, refused.text("/code")), (503, "UNAVAILABLE"), "{refused:?}");
        assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    }
    assert!(graphql.body.to_string().contains("AUTH_SERVICE_UNAVAILABLE"), "{graphql:?}");
    assert!(shown.body.as_str().unwrap().contains("\nafd_database_up 0\n"));
    assert_eq!(get(&installation, &format!("{}/health", installation.auth_url)).await.status, 200);
    assert_eq!(installation.mail.mails().len(), 1, "no code without a row for it");

    postgres.restart();
    while get(&installation, &ready).await.status != 200 {}
    let created = installation.post("/tokens", Some(&session), json!({ "name": "ci" })).await;
    assert_eq!(installation.validate(created.text("/token/token")).await.status, 200);
}
