//! Documents that were executed before: they are neither parsed nor validated again, and answered as at first.

use super::*;

/// Sends the same request several times and returns the reply, which is the same each time.
async fn always(service: &Service, body: &Value) -> Value {
    let send = || service.send(with(post(body), header::AUTHORIZATION, "good"));
    let without_id = |reply: Reply| {
        let mut body = reply.json();
        for error in body["errors"].as_array_mut().into_iter().flatten() {
            error["extensions"].as_object_mut().unwrap().remove("requestId").unwrap();
        }
        (reply.status, body)
    };
    let first = without_id(send().await);
    for _ in 0..3 {
        assert_eq!(without_id(send().await), first, "{body}");
    }
    first.1
}

#[tokio::test]
async fn they_are_answered_as_at_first() {
    let service = Service::start().await;
    for query in [
        "{version{version}}",
        "{b:version{version} a:me{id} version{commitHash}}",
        "{...F me{email}} fragment F on Query{me{id} version{version @skip(if:true) commitHash}}",
        "{apiKeyRateLimit{limit} me{id}}",
        "{auditEvents(first:7){nodes{id}}}",
        "{auditEvents(first:0){nodes{id}}}",
        "{__typename __schema{queryType{name}}}",
        "mutation{deletePersonalAccessToken(id:\"t9\")}",
        "{nothing}",
        "{me}",
        "{",
        "{...A} fragment A on Query{...A}",
    ] {
        always(&service, &json!({"query": query})).await;
    }
}

#[tokio::test]
async fn which_operation_is_meant_is_decided_each_time() {
    let service = Service::start().await;
    let query = "query A{version{version}} query B{me{id}} mutation C{deletePersonalAccessToken(id:\"t2\")}";
    let with_name = |name: Value| json!({"query": query, "operationName": name});
    for _ in 0..2 {
        assert_eq!(always(&service, &with_name(json!("A"))).await["data"]["version"]["version"], "1.2.3");
        assert_eq!(always(&service, &with_name(json!("B"))).await["data"]["me"]["id"], "u1");
        assert_eq!(always(&service, &with_name(json!("C"))).await["data"]["deletePersonalAccessToken"], true);
        for name in [json!("D"), Value::Null] {
            let reply = always(&service, &with_name(name)).await;
            assert_eq!(reply["errors"][0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED", "{reply}");
        }
    }
    let uri = "/graphql?operationName=C&query=";
    let escaped = query.replace('{', "%7B").replace('}', "%7D").replace('"', "%22").replace(' ', "%20");
    let calls = service.auth.calls().len();
    let reply = service.send(with(get(&format!("{uri}{escaped}")), header::AUTHORIZATION, "good")).await;
    assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "a mutation that is known stays one");
    assert_eq!(service.auth.calls().len(), calls);
}

#[tokio::test]
async fn values_of_variables_are_looked_at_each_time() {
    let service = Service::start().await;
    let query = "query($first:Int,$with:Boolean!){auditEvents(first:$first){nodes{id}} me @include(if:$with){id}}";
    let ask = |variables: Value| json!({"query": query, "variables": variables});
    for _ in 0..2 {
        assert_eq!(always(&service, &ask(json!({"first": 3, "with": true}))).await["data"]["me"]["id"], "u1");
        assert!(always(&service, &ask(json!({"first": 3, "with": false}))).await["data"].get("me").is_none());
        for wrong in [json!({"first": "3", "with": true}), json!({"first": 3.5, "with": true}), json!({"with": 1})] {
            let reply = always(&service, &ask(wrong.clone())).await;
            assert!(reply["errors"].as_array().is_some_and(|errors| !errors.is_empty()), "{wrong}: {reply}");
        }
        let page = "a:auditEvents(first:$first){nodes{id type at ip userAgent requestId} edges{cursor}} ";
        let heavy = format!("query($first:Int){{{}{}{}}}", page, page.replace("a:", "b:"), page.replace("a:", "c:"));
        let light = always(&service, &json!({"query": heavy, "variables": {"first": 2}})).await;
        assert!(light["errors"].is_null(), "{light}");
        let refused = always(&service, &json!({"query": heavy, "variables": {"first": 100}})).await;
        assert_eq!(refused["errors"][0]["extensions"]["code"], "QUERY_TOO_COMPLEX");
    }
}

#[tokio::test]
async fn a_form_and_a_page_of_another_origin_are_answered_alike() {
    let service = Service::start().await;
    let body = json!({"query": "{version{version}}"});
    let plain = service.post(&body).await;
    let foreign = service.send(with(post(&body), header::ORIGIN, "https://app.example.com")).await;
    assert_eq!((plain.status, plain.text.clone()), (foreign.status, foreign.text.clone()));
    assert_eq!(foreign.header("access-control-allow-origin"), Some("https://app.example.com"));
    for name in ["content-type", "cache-control", "x-content-type-options"] {
        assert_eq!(plain.header(name), foreign.header(name), "{name}");
    }
    let form = "--x\r\ncontent-disposition: form-data; name=\"operations\"\r\n\r\n{\"query\":\"{version{version}}\"}\r\n--x--\r\n";
    for content_type in ["multipart/form-data; boundary=x", "Multipart/Form-Data; boundary=x"] {
        let request = Request::post("/graphql").header(header::CONTENT_TYPE, content_type).body(form.into()).unwrap();
        assert_eq!(service.send(request).await.text, plain.text);
    }
    let long = format!("{}{}", form, "x".repeat(65 * 1024));
    let request = Request::post("/graphql").header(header::CONTENT_TYPE, "multipart/form-data; boundary=x");
    assert_eq!(service.send(request.body(long.into()).unwrap()).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}
