//! Statuses, headers, and what is not GraphQL.

use super::*;

const GRAPHQL_RESPONSE: &str = "application/graphql-response+json";

#[tokio::test]
async fn the_accepted_media_type_decides_about_type_and_status() {
    let service = Service::start().await;
    for (query, expected) in [("{version{version}}", 200), ("{nothing}", 400), ("{", 400), ("{me{id}}", 200)] {
        let json = service.send(with(post(&json!({"query": query})), header::ACCEPT, "application/json")).await;
        assert_eq!(json.status, StatusCode::OK, "{query}");
        assert_eq!(json.header("content-type"), Some("application/json; charset=utf-8"));

        let graphql = service.send(with(post(&json!({"query": query})), header::ACCEPT, GRAPHQL_RESPONSE)).await;
        assert_eq!(graphql.status.as_u16(), expected, "{query}");
        assert_eq!(graphql.header("content-type").unwrap(), format!("{GRAPHQL_RESPONSE}; charset=utf-8"));
        assert_eq!(graphql.json().get("data").is_none(), expected == 400, "{query}");
    }
    let request = with(post(&json!({"query": "{me{id}}"})), header::ACCEPT, GRAPHQL_RESPONSE);
    let reply = service.send(with(request, header::AUTHORIZATION, "unknown")).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(reply.header("content-type").unwrap(), format!("{GRAPHQL_RESPONSE}; charset=utf-8"));
}

#[tokio::test]
async fn other_content_types_are_415() {
    let service = Service::start().await;
    for content_type in
        ["text/plain", "application/x-www-form-urlencoded", "application/graphql", "multipart/mixed", ""]
    {
        let body = json!({"query": "{version{version}}"}).to_string();
        let request = Request::post("/graphql").header(header::CONTENT_TYPE, content_type).body(body.into()).unwrap();
        let reply = service.send(request).await;
        assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
        assert_eq!(reply.code(), "UNSUPPORTED_MEDIA_TYPE");
    }
    let request = Request::post("/graphql").body(json!({"query": "{version{version}}"}).to_string().into()).unwrap();
    assert_eq!(service.send(request).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    for content_type in ["application/json; charset=utf-8", "Application/JSON", GRAPHQL_RESPONSE] {
        let body = json!({"query": "{version{version}}"}).to_string();
        let request = Request::post("/graphql").header(header::CONTENT_TYPE, content_type).body(body.into()).unwrap();
        assert_eq!(service.send(request).await.status, StatusCode::OK, "{content_type}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_the_common_shape() {
    let service = Service::start().await;
    for uri in ["/", "/graphq", "/graphql/", "/graphql/console.map", "/tokens", "/favicon.ico"] {
        let reply = service.send(get(uri)).await;
        assert_eq!((reply.status, reply.code().as_str()), (StatusCode::NOT_FOUND, "NOT_FOUND"), "{uri}");
        assert_eq!(reply.json()["requestId"], reply.header("x-request-id").unwrap());
    }
    for (method, uri, allow) in [
        ("PUT", "/graphql", "GET,HEAD,POST"),
        ("DELETE", "/graphql", "GET,HEAD,POST"),
        ("POST", "/health", "GET,HEAD"),
        ("POST", "/graphql/console.js", "GET,HEAD"),
    ] {
        let reply = service.send(Request::builder().method(method).uri(uri).body(Body::empty()).unwrap()).await;
        assert_eq!((reply.status, reply.code().as_str()), (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"));
        assert_eq!(reply.header("allow"), Some(allow), "{method} {uri}");
    }
}

#[tokio::test]
async fn request_ids_are_taken_over_where_they_are_harmless() {
    let service = Service::start().await;
    let ask = async |id: &str| {
        let reply = service.send(with(post(&json!({"query": "{me{id}}"})), "x-request-id", id)).await;
        let shown = reply.header("x-request-id").unwrap().to_owned();
        assert_eq!(reply.json()["errors"][0]["extensions"]["requestId"], shown);
        shown
    };
    assert_eq!(ask("01J-abc_D.e").await, "01J-abc_D.e");
    let (first, second) = (ask("a b").await, ask("<script>").await);
    assert_eq!(first.len(), 21);
    assert_ne!(first, second);
}

#[tokio::test]
async fn health_says_that_the_process_lives_and_ready_names_what_is_missing() {
    let mut service = Service::start().await;
    let health = json!({"status": "ok", "service": "alternatefutures-backend", "version": "1.2.3",
                        "timestamp": "2025-11-08T12:00:00.000Z"});
    assert_eq!(service.send(get("/health")).await.json(), health);
    let ready = service.send(get("/ready")).await;
    assert_eq!((ready.status, ready.json()), (StatusCode::OK, json!({"status": "ok", "checks": {"auth": "ok"}})));

    service.auth.stop().await;
    let ready = service.send(get("/ready")).await;
    let body = json!({"status": "unavailable", "checks": {"auth": "unavailable"}});
    assert_eq!((ready.status, ready.json()), (StatusCode::SERVICE_UNAVAILABLE, body));
    assert_eq!(service.send(get("/health")).await.json(), health);
}

#[tokio::test]
async fn a_browser_gets_the_console_and_nothing_from_elsewhere() {
    let service = Service::start().await;
    let page = service.send(with(get("/graphql"), header::ACCEPT, "text/html,*/*;q=0.8")).await;
    assert!(page.text.contains("<html"));
    for (uri, content_type) in [
        ("/graphql", "text/html; charset=utf-8"),
        ("/graphql/console.js", "text/javascript; charset=utf-8"),
        ("/graphql/console.css", "text/css; charset=utf-8"),
    ] {
        let reply = service.send(with(get(uri), header::ACCEPT, "text/html,*/*;q=0.8")).await;
        assert_eq!(reply.status, StatusCode::OK, "{uri}");
        assert_eq!(reply.header("content-type"), Some(content_type));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
        let policy = reply.header("content-security-policy").unwrap();
        for directive in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'none'"] {
            assert!(policy.contains(directive), "{directive}");
        }
        for elsewhere in ["http://", "https://", "src=\"//", "@import", "unsafe-inline", "unsafe-eval"] {
            assert!(!reply.text.replace("http://www.w3.org/2000/svg", "").contains(elsewhere), "{uri}: {elsewhere}");
            assert!(!policy.contains(elsewhere));
        }
    }
    let query = service.send(with(get("/graphql?query=%7Bversion%7Bversion%7D%7D"), header::ACCEPT, "text/html")).await;
    assert_eq!(query.json()["data"]["version"]["version"], "1.2.3", "a query is answered even to a browser");
}

#[tokio::test]
async fn pages_of_the_configured_origins_may_call_and_read_and_no_others() {
    let service = Service::start().await;
    let preflight = |origin: &str| {
        let request = Request::options("/graphql").header("access-control-request-method", "POST");
        let request = request.header("access-control-request-headers", "authorization,content-type");
        request.header(header::ORIGIN, origin).body(Body::empty()).unwrap()
    };
    let ours = service.send(preflight("https://app.example.com")).await;
    assert_eq!(ours.header("access-control-allow-origin"), Some("https://app.example.com"));
    let allowed = ours.header("access-control-allow-headers").unwrap();
    assert!(["authorization", "content-type", "x-request-id"].iter().all(|name| allowed.contains(name)));
    assert_eq!(ours.header("access-control-allow-credentials"), None);

    for origin in ["https://evil.example.com", "https://app.example.com.evil.example", "http://app.example.com", "null"]
    {
        assert_eq!(service.send(preflight(origin)).await.header("access-control-allow-origin"), None, "{origin}");
        let reply = service.send(with(post(&json!({"query": "{me{id}}"})), header::ORIGIN, origin)).await;
        assert_eq!(reply.header("access-control-allow-origin"), None, "{origin}");
    }

    let request = with(post(&json!({"query": "{me{id}}"})), header::ORIGIN, "https://app.example.com");
    let refused = service.send(with(request, header::AUTHORIZATION, "limited")).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://app.example.com"), "errors are readable");
    let exposed = refused.header("access-control-expose-headers").unwrap();
    assert!(["x-ratelimit-remaining", "retry-after", "x-request-id"].iter().all(|name| exposed.contains(name)));
}
