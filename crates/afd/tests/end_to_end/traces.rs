//! One trace through both services, down to the database.

use serde_json::json;
use testkit::{Span, TraceSink};

use crate::installation::{Installation, Reply};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

#[tokio::test]
async fn one_trace_leads_from_graphql_to_sql() {
    let sink = TraceSink::start().await;
    let mut installation = Installation::new(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &sink.url())]).await;
    installation.backend = installation.backend.env("OTEL_EXPORTER_OTLP_ENDPOINT", sink.url());
    let (mut auth, mut backend) = installation.start().await;
    let session = installation.sign_in("ann@example.com").await;
    let query = json!({ "query": "{ personalAccessTokens { name } }" });
    let request = installation.http.post(&installation.api_url).bearer_auth(&session).json(&query);
    let request = request.header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
    let listed = Reply::of(request.send().await.unwrap()).await;
    assert_eq!(listed.body, json!({ "data": { "personalAccessTokens": [] } }));
    // What is not sent yet is sent at the end.
    assert_eq!((backend.terminate().await, auth.terminate().await), (Some(0), Some(0)), "{}", auth.output());

    let spans: Vec<Span> = sink.spans().into_iter().filter(|span| span.trace == TRACE).collect();
    let path = |span: &Span| {
        let mut path = vec![format!("{}: {}", span.service, span.name)];
        let mut parent = span.parent.clone();
        while let Some(span) = spans.iter().find(|span| span.id == parent) {
            path.push(format!("{}: {}", span.service, span.name));
            parent.clone_from(&span.parent);
        }
        path.push(parent);
        path.reverse();
        path
    };
    let paths: Vec<_> = spans.iter().map(path).collect();
    let expected = |tail: &[&str]| {
        let head = [CALLER, "alternatefutures-backend: POST /graphql"];
        head.iter().chain(tail).map(|step| (*step).to_owned()).collect::<Vec<_>>()
    };
    for tail in [
        &["alternatefutures-backend: auth POST /tokens/validate", "alternatefutures-auth: POST /tokens/validate"][..],
        &["alternatefutures-backend: auth GET /tokens", "alternatefutures-auth: GET /tokens"],
    ] {
        assert!(paths.contains(&expected(tail)), "{paths:#?}");
        let statements = paths.iter().filter(|path| path.len() == 5 && path.starts_with(&expected(tail)));
        assert!(statements.clone().any(|path| path[4].starts_with("alternatefutures-auth: SELECT ")), "{paths:#?}");
    }
    let texts = spans.iter().flat_map(|span| &span.attributes).filter(|(name, _)| name == "db.query.text");
    assert!(texts.clone().any(|(_, text)| text.contains("FROM personal_access_tokens")), "{spans:#?}");
    let everything = format!("{:?}", sink.spans());
    assert!(!everything.contains(&session) && !everything.contains("ann@example.com"), "nothing of people in a trace");
}
