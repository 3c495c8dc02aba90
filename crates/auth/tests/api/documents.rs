//! The index, the OpenAPI document and the page that shows it.

use std::collections::BTreeSet;

use http::Method;
use serde_json::Value;

use crate::world::World;

/// All routes, as `METHOD /path`.
fn described(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    operations.collect()
}

#[tokio::test]
async fn every_described_route_exists_and_every_known_route_is_described() {
    let world = World::new().await;
    let reply = world.get("/openapi.json").await;
    assert_eq!(reply.header("content-type"), "application/json");
    let document = reply.ok(200);
    let described = described(&document);
    for route in &described {
        let (method, path) = route.split_once(' ').unwrap();
        // What a handler answers with depends on what there is; that the router knows the path and the method does not.
        let path = path.replace(['{', '}'], "");
        if path == "/forward-auth" {
            assert_eq!(world.call(Method::TRACE, &path).await.status, 401, "it takes every method");
            continue;
        }
        let reply = world.call(Method::TRACE, &path).await;
        assert_eq!(reply.status, 405, "{route}: {}", reply.text);
        assert!(
            reply.header("allow").split(',').any(|allowed| allowed == method),
            "{route}: {}",
            reply.header("allow")
        );
    }
    for route in [
        "GET /health",
        "GET /ready",
        "POST /auth/email/request",
        "POST /auth/email/verify",
        "POST /auth/refresh",
        "POST /auth/logout",
        "GET /auth/me",
        "GET /audit",
        "POST /auth/pat/create",
        "GET /tokens",
        "POST /tokens",
        "GET /tokens/limits",
        "POST /tokens/validate",
        "DELETE /tokens/{id}",
        "POST /tokens/{id}/rotate",
        "GET /auth/oauth/providers",
        "GET /auth/oauth/{provider}",
        "GET /auth/oauth/callback/{provider}",
        "POST /auth/exchange",
        "POST /auth/cli/start",
        "POST /auth/cli/approve",
        "POST /auth/cli/poll",
        "POST /oauth/device_authorization",
        "POST /oauth/token",
        "POST /oauth/introspect",
        "GET /forward-auth",
        "GET /.well-known/jwks.json",
    ] {
        assert!(described.contains(route), "{route} is not described");
    }
    assert_eq!(serde_json::from_str::<Value>(&auth::openapi()).unwrap(), document);
}

#[tokio::test]
async fn every_reference_of_the_document_leads_somewhere() {
    let document: Value = serde_json::from_str(&auth::openapi()).unwrap();
    let text = document.to_string();
    let references: BTreeSet<&str> =
        text.split(r##""$ref":"#"##).skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(references.len() > 10, "{references:?}");
    for reference in references {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn the_index_lists_every_route() {
    let world = World::new().await;
    let index = world.get("/").await.ok(200);
    assert_eq!(index["service"], "alternatefutures-auth");
    let endpoints: BTreeSet<String> = serde_json::from_value(index["endpoints"].clone()).unwrap();
    let document = world.get("/openapi.json").await.ok(200);
    let mut expected = described(&document);
    expected.extend(["GET /", "GET /openapi.json", "GET /docs"].map(str::to_owned));
    assert_eq!(endpoints, expected);
}

#[tokio::test]
async fn the_documentation_loads_and_needs_no_other_host() {
    let world = World::new().await;
    let mut reply = world.get("/docs").await;
    let mut base = "/docs";
    if reply.status == 303 || reply.status == 307 {
        assert_eq!(reply.header("location"), "/docs/");
        base = "/docs/";
        reply = world.get(base).await;
    }
    assert_eq!((reply.status, reply.header("content-type")), (200, "text/html"), "{base}");

    let attributes = reply.text.split(['"', '\'']).collect::<Vec<_>>();
    let files: Vec<&str> = attributes
        .windows(2)
        .filter(|pair| pair[0].ends_with("src=") || pair[0].ends_with("href="))
        .map(|pair| pair[1])
        .collect();
    assert!(files.len() >= 3, "{files:?}");
    let mut scripts = String::new();
    for file in files {
        assert!(!file.contains("//"), "{file} is on another host");
        let reply = world.get(&format!("/docs/{}", file.trim_start_matches("./"))).await;
        assert_eq!(reply.status, 200, "{file}");
        assert!(!reply.text.is_empty(), "{file}");
        if file.ends_with("swagger-initializer.js") {
            scripts.push_str(&reply.text);
        }
    }
    assert!(scripts.contains("/openapi.json"), "{scripts}");
}
