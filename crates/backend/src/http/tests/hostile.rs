//! Documents that are made to cost more than they may.

use super::*;

const INTROSPECTION: &str = include_str!("introspection.graphql");

/// Asks with a credential, and makes sure that not even that was looked at.
async fn refused(service: &Service, query: &str) -> String {
    let reply = service.ask_as_somebody(query).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", &query[..query.len().min(80)]);
    assert!(service.auth.asked().is_empty(), "refused before anything is asked: {}", &query[..query.len().min(80)]);
    assert!(reply.json().get("data").is_none());
    assert!(reply.text.len() < 1_000, "a refusal is short");
    reply.code()
}

#[tokio::test]
async fn expensive_documents_are_refused_before_anything_is_asked() {
    let service = Service::start().await;
    let aliases: String = (0..100).map(|i| format!("a{i}:personalAccessTokens{{id}} ")).collect::<Vec<_>>().concat();
    let doubling = (0..40).map(|i| format!("fragment F{i} on Query{{...F{0} ...F{0}}}", i + 1)).collect::<Vec<_>>();
    let deep = |count: usize| format!("{{{}", "a{".repeat(count));
    for query in [
        format!("{{{aliases}}}"),
        format!("{{version{}{{version}}}}", "@include(if:true)".repeat(3_000)),
        format!("{{version{}{{version}}}}", "@a".repeat(400)),
        format!("{{...F0}}{}fragment F40 on Query{{version{{version}}}}", doubling.concat()),
        deep(30_000),
        format!("{}{}}}", deep(25), "a".to_owned() + &"}".repeat(25)),
        format!("{{me(a:{}", "[".repeat(60_000)),
        format!("query($a:{}Int", "[".repeat(60_000)),
        format!("{{me(a:{}", "{a:".repeat(20_000)),
        format!("{{{}}}", "id ".repeat(20_000)),
        "{__schema{types{fields{type{fields{type{fields{type{name}}}}}}}}}".to_owned(),
    ] {
        assert_eq!(refused(&service, &query).await, "QUERY_TOO_COMPLEX");
    }
}

#[tokio::test]
async fn circular_fragments_are_refused_before_anything_is_asked() {
    let service = Service::start().await;
    for query in
        ["{...A} fragment A on Query{...A}", "{...A} fragment A on Query{...B ...B} fragment B on Query{...A ...A}"]
    {
        assert_eq!(refused(&service, query).await, "GRAPHQL_VALIDATION_FAILED");
    }
}

#[tokio::test]
async fn what_does_not_parse_is_refused_before_anything_is_asked() {
    let service = Service::start().await;
    for query in
        ["", " ", "{", "}", "{me{id}", "me", "{me(}", "{a(b:\"", "\0", "{\u{202e}}", "type A{b:C}", "#{me{id}}"]
    {
        assert_eq!(refused(&service, query).await, "GRAPHQL_PARSE_FAILED", "{query:?}");
    }
}

#[tokio::test]
async fn documents_that_do_not_fit_the_schema_reach_no_resolver() {
    let service = Service::start().await;
    for query in [
        "{nothing}",
        "{me}",
        "{me{id{x}}}",
        "{me{id}...F}",
        "subscription{me{id}}",
        "{me(id:1){id}}",
        "query($a:Int!){me{id}}",
        "query A{me{id}} query B{me{id}}",
        "mutation{createPersonalAccessToken{id}}",
        "mutation{createPersonalAccessToken(name:7){id}}",
        "{me{id}} fragment F on Query{me{id}}",
        "{me @unknown{id}}",
    ] {
        let reply = service.ask_as_somebody(query).await;
        assert_eq!(reply.status, StatusCode::OK, "{query}");
        let body = reply.json();
        assert!(body.get("data").is_none(), "{query}: {body}");
        for error in body["errors"].as_array().unwrap() {
            assert_eq!(error["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED", "{query}: {body}");
        }
    }
    assert!(service.auth.calls().is_empty());
}

#[tokio::test]
async fn an_audit_page_weighs_as_much_as_it_is_long() {
    let service = Service::start().await;
    let page = |name: &str, first: u32| {
        format!("{name}:auditEvents(first:{first}){{nodes{{id type at ip userAgent requestId}} edges{{cursor}}}} ")
    };
    let reply = service.ask_as_somebody(&format!("{{{}{}}}", page("a", 100), page("b", 100))).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.json().get("errors").is_none());
    let reply = service.ask_as_somebody(&format!("{{{}{}{}}}", page("a", 100), page("b", 100), page("c", 100))).await;
    assert_eq!(reply.code(), "QUERY_TOO_COMPLEX");
    assert_eq!(service.auth.calls().len(), 2, "of the heavy one nothing was executed");
}

#[tokio::test]
async fn a_batch_shares_one_budget() {
    let service = Service::start().await;
    let aliases = |count: usize| (0..count).map(|i| format!("a{i}:me{{id}} ")).collect::<Vec<_>>().concat();
    let operation = json!({"query": format!("{{{}}}", aliases(20))});
    let body = json!([operation, operation, {"query": "{me{id}}"}]);
    let reply = service.send(with(post(&body), header::AUTHORIZATION, "good")).await.json();
    assert_eq!(reply[0]["data"]["a19"]["id"], "u1");
    assert_eq!(reply[1]["errors"][0]["extensions"]["code"], "QUERY_TOO_COMPLEX");
    assert_eq!(reply[2]["data"]["me"]["id"], "u1");
}

#[tokio::test]
async fn the_introspection_query_of_graphiql_is_answered() {
    let service = Service::start().await;
    let reply = service.ask(INTROSPECTION).await;
    assert_eq!(reply.status, StatusCode::OK);
    let body = reply.json();
    assert!(body.get("errors").is_none(), "{body}");
    let types = body["data"]["__schema"]["types"].as_array().unwrap();
    assert!(types.iter().any(|one| one["name"] == "PersonalAccessTokenCreated"));
}
