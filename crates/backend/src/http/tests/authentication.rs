//! Who is calling, and what becomes of those who cannot prove it.

use super::*;

const ME: &str = "{me{id}}";

async fn as_header(service: &Service, value: &str) -> Reply {
    service.send(with(post(&json!({"query": ME})), header::AUTHORIZATION, value)).await
}

#[tokio::test]
async fn without_a_header_public_fields_answer_and_nobody_is_asked() {
    let service = Service::start().await;
    let reply = service.ask("{version{version commitHash}}").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.json(), json!({"data": {"version": {"version": "1.2.3", "commitHash": "abc"}}}));
    assert!(service.auth.asked().is_empty());
}

#[tokio::test]
async fn without_a_header_protected_fields_say_unauthenticated() {
    let service = Service::start().await;
    for query in [
        ME,
        "{personalAccessTokens{id}}",
        "{apiKeyRateLimit{limit}}",
        "{auditEvents{nodes{id}}}",
        "mutation{createPersonalAccessToken(name:\"x\"){id}}",
        "mutation{rotatePersonalAccessToken(id:\"t2\"){id}}",
        "mutation{deletePersonalAccessToken(id:\"t2\")}",
    ] {
        let reply = service.ask(query).await;
        assert_eq!((reply.status, reply.code().as_str()), (StatusCode::OK, "UNAUTHENTICATED"), "{query}");
        assert_eq!(reply.header("www-authenticate"), None);
    }
    let both = service.ask("{version{version} me{id}}").await.json();
    assert_eq!(both["data"], json!({"version": {"version": "1.2.3"}, "me": null}), "the public half still answers");
    assert_eq!(both["errors"][0]["path"], json!(["me"]));
    let strict = service.ask("{version{version} personalAccessTokens{id}}").await.json();
    assert_eq!(strict["data"], Value::Null, "a field that cannot be null takes its parent along");
    assert!(strict.as_object().unwrap().contains_key("data"), "and yet it was executed");
    assert!(service.auth.asked().is_empty());
}

#[tokio::test]
async fn a_good_credential_is_the_user_and_its_window_is_shown() {
    for (value, kind) in [
        ("Bearer good", "token"),
        ("bearer good", "token"),
        ("BEARER  good", "token"),
        ("good", "token"),
        ("Bearer session", "session"),
    ] {
        let service = Service::start().await;
        let request = with(post(&json!({"query": ME})), header::AUTHORIZATION, value);
        let request = with(with(request, header::USER_AGENT, "curl/8"), "x-request-id", "my-id");
        let reply = service.send(request).await;
        assert_eq!(reply.json(), json!({"data": {"me": {"id": "u1"}}}), "{value}");
        assert_eq!(reply.header("x-ratelimit-limit"), Some("1000"));
        assert_eq!(reply.header("x-ratelimit-remaining"), Some("998"));
        assert_eq!(reply.header("x-ratelimit-reset"), Some("2025-11-08T12:00:30.000Z"));
        assert_eq!(reply.header("ratelimit"), Some("\"default\";r=998;t=30"));
        assert_eq!(reply.header("ratelimit-policy"), Some("\"default\";q=1000;w=60"));
        assert_eq!(reply.header("x-request-id"), Some("my-id"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));

        let asked = service.auth.asked();
        let client = json!({"ip": "203.0.113.9", "userAgent": "curl/8", "requestId": "my-id"});
        assert_eq!(asked[0].line, "POST /tokens/validate");
        assert_eq!(asked[0].body["client"], client);
        assert_eq!(asked[0].claims.user_id, None);
        assert_eq!(asked[1].line, "GET /auth/me");
        let claims = &asked[1].claims;
        assert_eq!(claims.user_id.as_ref().unwrap().as_str(), "u1");
        assert_eq!(claims.token_id.is_some(), kind == "token");
        assert_eq!(claims.session_id.is_some(), kind == "session");
        assert_eq!(serde_json::to_value(&claims.meta).unwrap(), client);
    }
}

#[tokio::test]
async fn every_request_asks_anew() {
    let service = Service::start().await;
    for _ in 0..10 {
        service.ask_as_somebody("{version{version}}").await;
    }
    assert_eq!(service.auth.asked().len(), 10);
}

#[tokio::test]
async fn a_header_without_a_credential_in_it_is_401_and_nobody_is_asked() {
    let service = Service::start().await;
    let long = format!("Bearer {}", "x".repeat(8 * 1024 + 1));
    let malformed =
        ["", " ", "Bearer", "bearer ", "Basic Z29vZA==", "Token good", "Bearer good good", "Bearer gööd", &long];
    for value in malformed {
        let reply = as_header(&service, value).await;
        assert_eq!((reply.status, reply.code().as_str()), (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"), "{value:?}");
        assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer "), "{value:?}");
    }
    let twice = with(post(&json!({"query": ME})), header::AUTHORIZATION, "Bearer good");
    let reply = service.send(with(twice, header::AUTHORIZATION, "Bearer good")).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert!(service.auth.asked().is_empty());
}

#[tokio::test]
async fn a_credential_that_does_not_validate_is_401_whatever_is_asked_for() {
    let service = Service::start().await;
    let request = with(post(&json!({"query": "{version{version}}"})), header::AUTHORIZATION, "Bearer unknown");
    let reply = service.send(with(request, "x-request-id", "my-id")).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        reply.json(),
        json!({"errors": [{"message": "sentence for INVALID_TOKEN",
                           "extensions": {"code": "UNAUTHENTICATED", "requestId": "my-id"}}]})
    );
    let challenge = r#"Bearer realm="alternatefutures", error="invalid_token""#;
    assert_eq!(reply.header("www-authenticate"), Some(challenge));
    assert!(service.auth.calls().is_empty());
}

#[tokio::test]
async fn a_mutation_with_a_bad_credential_changes_nothing() {
    let service = Service::start().await;
    for (value, status) in [("Bearer unknown", 401), ("Bearer limited", 429), ("Bearer confusing", 503)] {
        let body = json!({"query": "mutation{createPersonalAccessToken(name:\"x\"){id}}"});
        let reply = service.send(with(post(&body), header::AUTHORIZATION, value)).await;
        assert_eq!(reply.status.as_u16(), status);
    }
    assert!(service.auth.calls().is_empty());
}

#[tokio::test]
async fn a_credential_over_its_limit_is_429_and_told_when_to_come_back() {
    let service = Service::start().await;
    let reply = as_header(&service, "Bearer limited").await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(reply.header("retry-after"), Some("7"));
    assert_eq!(reply.header("x-ratelimit-remaining"), Some("0"));
    let extensions = reply.json()["errors"][0]["extensions"].clone();
    assert_eq!(extensions["code"], "RATE_LIMIT_EXCEEDED");
    assert_eq!(extensions["resetAt"], "2025-11-08T12:00:07.000Z");
    assert_eq!(extensions["retryAfter"], 7);
    assert!(extensions["requestId"].is_string());
    assert!(service.auth.calls().is_empty());
}

#[tokio::test]
async fn nonsense_from_the_auth_service_is_503() {
    let service = Service::start().await;
    let reply = as_header(&service, "Bearer confusing").await;
    assert_eq!((reply.status, reply.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "AUTH_SERVICE_UNAVAILABLE"));
    assert_eq!(reply.header("retry-after"), Some("2"));
    assert!(!reply.text.contains("127.0.0.1"));
}

#[tokio::test]
async fn while_auth_is_down_every_credential_is_503_and_afterwards_it_works_again() {
    let mut service = Service::start().await;
    assert_eq!(as_header(&service, "good").await.status, StatusCode::OK);
    service.auth.stop().await;
    for _ in 0..8 {
        let reply = as_header(&service, "good").await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(reply.code(), "AUTH_SERVICE_UNAVAILABLE");
    }
    assert_eq!(service.ask("{version{version}}").await.status, StatusCode::OK, "nobody needs no vouching");
    assert_eq!(service.send(get("/ready")).await.status, StatusCode::SERVICE_UNAVAILABLE);

    service.auth.start_again().await;
    assert_eq!(as_header(&service, "good").await.status, StatusCode::SERVICE_UNAVAILABLE, "the breaker is open");
    service.clock.set_back(Duration::from_hours(1));
    service.clock.advance(2);
    assert_eq!(as_header(&service, "good").await.json(), json!({"data": {"me": {"id": "u1"}}}));
    assert_eq!(service.send(get("/ready")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn only_a_trusted_proxy_may_say_whose_address_it_is() {
    for (peer, expected) in [("203.0.113.9:1", "203.0.113.9"), ("10.1.2.3:1", "198.51.100.7")] {
        let service = Service::start().await;
        let request = with(post(&json!({"query": ME})), header::AUTHORIZATION, "good");
        let mut request = with(request, "x-forwarded-for", "6.6.6.6, 198.51.100.7, 10.9.9.9");
        request.extensions_mut().insert(Peer(peer.parse().unwrap()));
        service.send(request).await;
        let asked = service.auth.asked();
        assert_eq!(asked[0].body["client"]["ip"], expected);
        assert_eq!(asked[1].claims.meta.as_ref().unwrap().ip.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn what_a_trusted_proxy_passes_on_and_is_no_address_makes_the_client_unknown() {
    for nonsense in [&b"\xff"[..], b"198.51.100.7, \x80", b"", b"\xff, 10.9.9.9"] {
        let service = Service::start().await;
        let mut request = with(post(&json!({"query": ME})), header::AUTHORIZATION, "good");
        request.headers_mut().insert("x-forwarded-for", HeaderValue::from_bytes(nonsense).unwrap());
        request.extensions_mut().insert(Peer("10.1.2.3:1".parse().unwrap()));
        service.send(request).await;
        let asked = service.auth.asked();
        assert_eq!(asked[0].body["client"]["ip"], Value::Null, "{nonsense:?}");
        assert_eq!(asked[1].claims.meta.as_ref().and_then(|meta| meta.ip.as_deref()), None, "{nonsense:?}");
    }
}

/// Never anonymous, and never anybody.
#[tokio::test]
async fn a_spoiled_authorization_is_refused() {
    let service = Service::start().await;
    for lines in [
        &[&b"Bearer good\xff"[..]] as &[&[u8]],
        &[b"\x80Bearer good"],
        &[b"good\xc3\xa4"],
        &[b""],
        &[b"\xff"],
        &[b"Bearer good", b"\xff"],
        &[b"\xff", b"Bearer good"],
        &[b"Bearer good", b"Bearer good"],
    ] {
        let mut request = post(&json!({"query": "{version{version}}"}));
        for line in lines {
            request.headers_mut().append(header::AUTHORIZATION, HeaderValue::from_bytes(line).unwrap());
        }
        let reply = service.send(request).await;
        assert_eq!((reply.status, reply.code().as_str()), (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"), "{lines:?}");
    }
    assert_eq!(service.auth.asked().len(), 0);
}

#[tokio::test]
async fn over_a_real_socket_the_peer_is_the_client() {
    let service = Service::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/graphql", listener.local_addr().unwrap());
    let server = tokio::spawn(web::serve(
        listener,
        service.app.clone(),
        web::Threads::Here,
        web::Drain::default(),
        std::future::pending(),
    ));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let reply = client.post(url).bearer_auth("good").json(&json!({"query": ME})).send().await.unwrap();
    assert_eq!(reply.json::<Value>().await.unwrap(), json!({"data": {"me": {"id": "u1"}}}));
    assert_eq!(service.auth.asked()[0].body["client"]["ip"], "127.0.0.1");
    server.abort();
}
