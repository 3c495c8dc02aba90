//! What the schema's fields do.

use super::*;

#[tokio::test]
async fn me_has_all_its_fields_and_costs_no_call_where_the_validation_tells() {
    for (credential, calls) in [("good", 1), ("session", 1), ("described", 0)] {
        let service = Service::start().await;
        let fields = "id email phone username displayName avatarUrl walletAddress createdAt updatedAt";
        let request = post(&json!({"query": format!("{{me{{{fields}}}}}")}));
        let reply = service.send(with(request, header::AUTHORIZATION, credential)).await;
        assert_eq!(
            reply.json()["data"]["me"],
            json!({"id": "u1", "email": "a@example.com", "phone": null, "username": null, "displayName": "Ada",
                   "avatarUrl": null, "walletAddress": null, "createdAt": "2025-11-08T12:00:00.000Z",
                   "updatedAt": "2025-11-08T12:00:00.000Z"})
        );
        assert_eq!(service.auth.calls().len(), calls, "{credential}");
    }
}

#[tokio::test]
async fn the_owner_is_asked_for_where_a_root_selects_me_and_nowhere_else() {
    let service = Service::start().await;
    let me = "query A{...F} fragment F on Query{...{own:me{id}}}";
    for (body, expected) in [
        (json!({"query": "{me{id}}"}), json!(true)),
        (json!({"query": me}), json!(true)),
        (json!({"query": "query A{me{id}} query B{version{version}}", "operationName": "A"}), json!(true)),
        (json!([{"query": "{version{version}}"}, {"query": "{me{id}}"}]), json!(true)),
        (json!({"query": "query A{me{id}} query B{version{version}}", "operationName": "B"}), Value::Null),
        (json!({"query": "{me:version{version}}"}), Value::Null),
        (json!({"query": "{apiKeyRateLimit{limit}}"}), Value::Null),
    ] {
        let reply = service.send(with(post(&body), header::AUTHORIZATION, "described")).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert!(!reply.text.contains("errors"), "{body}: {}", reply.text);
        let validations = service.auth.asked().into_iter().filter(|asked| asked.line == "POST /tokens/validate");
        assert_eq!(validations.last().unwrap().body["withUser"], expected, "{body}");
    }
}

#[tokio::test]
async fn tokens_are_listed_and_limits_read() {
    let service = Service::start().await;
    let query = "{personalAccessTokens{id name prefix scopes allowedIps expiresAt lastUsedAt createdAt updatedAt}
                  apiKeyRateLimit{remaining limit resetAt activeTokens maxActiveTokens}}";
    let at = "2025-11-08T12:00:00.000Z";
    assert_eq!(
        service.ask_as_somebody(query).await.json(),
        json!({"data": {
            "personalAccessTokens": [{"id": "t1", "name": "ci", "prefix": "af_live_0123", "scopes": ["a:read"],
                                      "allowedIps": ["192.0.2.0/24"], "expiresAt": null, "lastUsedAt": at, "createdAt": at, "updatedAt": at}],
            "apiKeyRateLimit": {"remaining": 48, "limit": 50, "resetAt": at, "activeTokens": 2, "maxActiveTokens": 500},
        }})
    );
}

#[tokio::test]
async fn a_token_is_created_with_what_was_asked_for() {
    let service = Service::start().await;
    let query = "mutation($name:String!,$at:Date,$scopes:[String!],$ips:[String!]){
        createPersonalAccessToken(name:$name,expiresAt:$at,scopes:$scopes,allowedIps:$ips){
            id name token prefix scopes allowedIps expiresAt lastUsedAt}}";
    let variables = json!({"name": "ci", "at": "2026-01-01T01:00:00+01:00", "scopes": ["a:read", "b"],
                           "ips": ["192.0.2.0/24", "2001:db8::1"]});
    let request = post(&json!({"query": query, "variables": variables}));
    let reply = service.send(with(request, header::AUTHORIZATION, "good")).await;
    assert_eq!(
        reply.json()["data"]["createPersonalAccessToken"],
        json!({"id": "t2", "name": "ci", "token": "af_live_0123456789abcdef", "prefix": "af_live_0123",
               "scopes": ["a:read", "b"], "allowedIps": ["192.0.2.0/24", "2001:db8::1"],
               "expiresAt": "2026-01-01T00:00:00.000Z", "lastUsedAt": null})
    );
    let call = &service.auth.calls()[0];
    assert_eq!(call.line, "POST /tokens");
    assert_eq!(
        call.body,
        json!({"name": "ci", "expiresAt": "2026-01-01T00:00:00.000Z", "scopes": ["a:read", "b"],
               "allowedIps": ["192.0.2.0/24", "2001:db8::1"]})
    );

    service.ask_as_somebody("mutation{createPersonalAccessToken(name:\"plain\"){id}}").await;
    assert_eq!(service.auth.calls()[1].body, json!({"name": "plain"}));
}

#[tokio::test]
async fn tokens_are_rotated_and_deleted() {
    let service = Service::start().await;
    let rotate = "mutation{rotatePersonalAccessToken(id:\"t2\",graceSeconds:60){id token}}";
    let reply = service.ask_as_somebody(rotate).await.json();
    assert_eq!(reply["data"]["rotatePersonalAccessToken"], json!({"id": "t2", "token": "af_live_0123456789abcdef"}));
    let reply = service.ask_as_somebody("mutation{deletePersonalAccessToken(id:\"t2\")}").await.json();
    assert_eq!(reply, json!({"data": {"deletePersonalAccessToken": true}}));

    let calls = service.auth.calls();
    assert_eq!((calls[0].line.as_str(), &calls[0].body), ("POST /tokens/t2/rotate", &json!({"graceSeconds": 60})));
    assert_eq!(calls[1].line, "DELETE /tokens/t2");
}

#[tokio::test]
async fn somebody_elses_token_and_text_that_is_no_id_are_not_found_alike() {
    let service = Service::start().await;
    for (id, calls) in [("t9", 1), ("../t2", 1), ("", 1), ("t2?x=1", 1)] {
        let query = format!("mutation{{deletePersonalAccessToken(id:\"{id}\")}}");
        let reply = service.ask_as_somebody(&query).await;
        assert_eq!((reply.status, reply.code().as_str()), (StatusCode::OK, "NOT_FOUND"), "{id}");
        assert_eq!(service.auth.calls().len(), calls, "only a well-formed id is asked about");
    }
}

#[tokio::test]
async fn the_auth_services_refusals_keep_their_code() {
    let service = Service::start().await;
    for (name, extensions) in [
        ("bad!", json!({"code": "INVALID_TOKEN_NAME"})),
        ("full", json!({"code": "MAX_TOKENS_EXCEEDED"})),
        ("narrow", json!({"code": "FORBIDDEN"})),
        (
            "past",
            json!({"code": "VALIDATION_ERROR",
                   "details": [{"path": "expiresAt", "message": "must be in the future"}]}),
        ),
        ("often", json!({"code": "RATE_LIMIT_EXCEEDED", "retryAfter": 60, "resetAt": "2025-11-08T12:00:00.000Z"})),
    ] {
        let query = format!("mutation{{createPersonalAccessToken(name:\"{name}\"){{id}}}}");
        let reply = service.ask_as_somebody(&query).await;
        assert_eq!(reply.status, StatusCode::OK, "{name}");
        let error = reply.json()["errors"][0].clone();
        let mut actual = error["extensions"].clone();
        assert!(actual.as_object_mut().unwrap().remove("requestId").is_some());
        assert_eq!(actual, extensions, "{name}");
        assert_eq!(error["message"], format!("sentence for {}", extensions["code"].as_str().unwrap()));
        assert_eq!(error["path"], json!(["createPersonalAccessToken"]));
    }
}

#[tokio::test]
async fn a_call_that_fails_names_nothing_of_what_is_behind_it() {
    let service = Service::start().await;
    for name in ["broken", "confusing"] {
        let query = format!("mutation{{createPersonalAccessToken(name:\"{name}\"){{id}}}}");
        let reply = service.ask_as_somebody(&query).await;
        assert_eq!((reply.status, reply.code().as_str()), (StatusCode::OK, "AUTH_SERVICE_UNAVAILABLE"), "{name}");
        for secret in ["127.0.0.1", "http", "SELECT", "good", "tokens/"] {
            assert!(!reply.text.contains(secret), "{name}: {secret} in {}", reply.text);
        }
    }
}

#[tokio::test]
async fn arguments_outside_their_bounds_are_refused_before_auth_is_called() {
    let service = Service::start().await;
    let create = |arguments: &str| format!("mutation{{createPersonalAccessToken(name:\"x\",{arguments}){{id}}}}");
    let scopes = |count: usize| create(&format!("scopes:[{}]", "\"a\"".repeat(count)));
    for query in [
        create("expiresAt:\"soon\""),
        create("expiresAt:\"2026-01-01\""),
        create("expiresAt:1762603200000"),
        create("scopes:[\"Not A Scope\"]"),
        create("scopes:[]"),
        scopes(33),
        create("allowedIps:[]"),
        create("allowedIps:[\"192.0.2.1/24\"]"),
        create("allowedIps:[\"example.com\"]"),
        "{auditEvents(first:0){nodes{id}}}".to_owned(),
        "{auditEvents(first:-1){nodes{id}}}".to_owned(),
        "{auditEvents(first:101){nodes{id}}}".to_owned(),
        format!("{{auditEvents(after:\"{}\"){{nodes{{id}}}}}}", "x".repeat(257)),
    ] {
        let reply = service.ask_as_somebody(&query).await;
        assert_eq!((reply.status, reply.code().as_str()), (StatusCode::OK, "VALIDATION_ERROR"), "{query}");
    }
    assert!(service.auth.calls().is_empty());
}

#[tokio::test]
async fn audit_events_are_read_page_by_page() {
    let service = Service::start().await;
    let query = |after: &str| {
        format!(
            "{{auditEvents(first:3{after}){{edges{{cursor node{{id}}}} nodes{{id}} pageInfo{{hasNextPage endCursor}}}}}}"
        )
    };
    let first = service.ask_as_somebody(&query("")).await.json()["data"]["auditEvents"].clone();
    assert_eq!(first["nodes"], json!([{"id": "e4"}, {"id": "e3"}, {"id": "e2"}]));
    assert_eq!(first["edges"][1], json!({"cursor": "1762603200000.e3", "node": {"id": "e3"}}));
    assert_eq!(first["pageInfo"], json!({"hasNextPage": true, "endCursor": "1762603200000.e2"}));
    assert_eq!(first["edges"][2]["cursor"], first["pageInfo"]["endCursor"]);

    let second = service.ask_as_somebody(&query(",after:\"1762603200000.e2\"")).await.json();
    let page_info = &second["data"]["auditEvents"]["pageInfo"];
    assert_eq!(*page_info, json!({"hasNextPage": false, "endCursor": "1762603200000.e1"}));
    let lines: Vec<_> = service.auth.calls().into_iter().map(|call| call.line).collect();
    assert_eq!(lines, ["GET /audit?limit=3", "GET /audit?limit=3&cursor=1762603200000.e2"]);
}

#[tokio::test]
async fn an_audit_event_has_all_its_fields() {
    let service = Service::start().await;
    let query =
        "{auditEvents{nodes{id type at actor{userId tokenId sessionId service} ip userAgent requestId metadata}}}";
    let reply = service.ask_as_somebody(query).await.json();
    assert_eq!(
        reply["data"]["auditEvents"]["nodes"][0],
        json!({"id": "e4", "type": "token.created", "at": "2025-11-08T12:00:00.000Z",
               "actor": {"userId": "u1", "tokenId": null, "sessionId": "s1", "service": "alternatefutures-backend"},
               "ip": "203.0.113.9", "userAgent": "curl/8", "requestId": "r1", "metadata": {"name": "ci"}})
    );
    service.ask_as_somebody("{auditEvents(first:null){nodes{id}}}").await;
    let lines: Vec<_> = service.auth.calls().into_iter().map(|call| call.line).collect();
    assert_eq!(lines, ["GET /audit?limit=50", "GET /audit?limit=50"]);
}

#[tokio::test]
async fn a_reply_has_its_fields_in_the_order_of_the_query() {
    let service = Service::start().await;
    let query = "{...{me{username id email}} ...F} fragment F on Query{version{version commitHash}}";
    let reply = service.ask_as_somebody(query).await;
    let expected = r#"{"data":{"me":{"username":null,"id":"u1","email":"a@example.com"},"version":{"version":"1.2.3","commitHash":"abc"}}}"#;
    assert_eq!(reply.text, expected);
}

#[test]
fn the_schema_is_the_contracts() {
    let sdl = crate::sdl();
    for line in [
        "scalar Date",
        "version: Version!",
        "me: User",
        "personalAccessTokens: [PersonalAccessToken!]!",
        "apiKeyRateLimit: ApiKeyRateLimit!",
        "createPersonalAccessToken(",
        "deletePersonalAccessToken(",
        "first: Int = 50,",
        "type AuditEventConnection {",
        "type PersonalAccessTokenCreated {",
        "scopes: [String!]!",
        "remaining: Int!",
    ] {
        assert!(sdl.lines().any(|found| found.trim() == line), "{line} is not in\n{sdl}");
    }
}
