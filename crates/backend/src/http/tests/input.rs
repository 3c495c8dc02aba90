//! The shapes in which a request may come: JSON, batch, multipart form, query string.

use super::*;

const VERSION: &str = "{version{version}}";

fn batch_of(count: usize) -> Value {
    vec![json!({"query": VERSION}); count].into()
}

fn form(parts: &[(&str, &str)]) -> Request<Body> {
    let parts = parts
        .iter()
        .map(|(name, text)| format!("--XX\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n"));
    let body = parts.collect::<Vec<_>>().concat() + "--XX--\r\n";
    let request = Request::post("/graphql").header(header::CONTENT_TYPE, "multipart/form-data; boundary=XX");
    request.body(body.into()).unwrap()
}

#[tokio::test]
async fn variables_and_operation_names_are_taken() {
    let service = Service::start().await;
    let query = "query A($v:Boolean!){version @include(if:$v){version}} query B{version{commitHash}}";
    let reply = service.post(&json!({"query": query, "operationName": "A", "variables": {"v": true}})).await;
    assert_eq!(reply.json(), json!({"data": {"version": {"version": "1.2.3"}}}));
    let reply = service.post(&json!({"query": query, "operationName": "B", "variables": {"v": true}})).await;
    assert_eq!(reply.json(), json!({"data": {"version": {"commitHash": "abc"}}}));
    let reply = service.post(&json!({"query": query, "operationName": "C", "variables": {"v": true}})).await;
    assert_eq!(reply.code(), "GRAPHQL_VALIDATION_FAILED");
    let nulls = json!({"query": VERSION, "operationName": null, "variables": null, "extensions": {}});
    assert_eq!(service.post(&nulls).await.json(), json!({"data": {"version": {"version": "1.2.3"}}}));
}

#[tokio::test]
async fn bodies_that_are_no_request_are_400_and_say_why() {
    let service = Service::start().await;
    let many = batch_of(11);
    let deep = format!("{{\"query\":\"{{a}}\",\"variables\":{{\"a\":{}", "[".repeat(30_000));
    for (body, code) in [
        (String::new(), "INVALID_JSON"),
        ("{".to_owned(), "INVALID_JSON"),
        ("query".to_owned(), "INVALID_JSON"),
        (format!("{{\"query\":\"{VERSION}\"}} x"), "INVALID_JSON"),
        (deep, "INVALID_JSON"),
        ("{}".to_owned(), "VALIDATION_ERROR"),
        ("[]".to_owned(), "VALIDATION_ERROR"),
        ("null".to_owned(), "VALIDATION_ERROR"),
        ("\"{me{id}}\"".to_owned(), "VALIDATION_ERROR"),
        (r#"{"query":null}"#.to_owned(), "VALIDATION_ERROR"),
        (r#"{"query":7}"#.to_owned(), "VALIDATION_ERROR"),
        (r#"{"query":"{a}","variables":[]}"#.to_owned(), "VALIDATION_ERROR"),
        (r#"{"query":"{a}","variables":"{}"}"#.to_owned(), "VALIDATION_ERROR"),
        (r#"{"query":"{a}","operationName":7}"#.to_owned(), "VALIDATION_ERROR"),
        (r#"[{"query":"{a}"},{}]"#.to_owned(), "VALIDATION_ERROR"),
        (many.to_string(), "VALIDATION_ERROR"),
    ] {
        let request = with(post(&Value::Null), header::AUTHORIZATION, "good");
        let reply = service.send(request.map(|_| body.clone().into())).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(reply.code(), code, "{}", reply.text);
        assert!(reply.json()["requestId"].is_string());
    }
    assert!(service.auth.asked().is_empty());
}

#[tokio::test]
async fn a_problem_is_said_of_its_field() {
    let service = Service::start().await;
    let path = async |body: Value| service.post(&body).await.json()["details"][0]["path"].clone();
    assert_eq!(path(json!({})).await, "query");
    assert_eq!(path(json!([{"query": VERSION}, {}])).await, "[1].query");
}

#[tokio::test]
async fn a_batch_is_answered_in_order_and_counts_as_one_use() {
    let service = Service::start().await;
    let body = json!([{"query": VERSION}, {"query": "{nothing}"}, {"query": "{me{id}}"}, {"query": "{"}]);
    let reply = service.send(with(post(&body), header::AUTHORIZATION, "good")).await;
    assert_eq!(reply.status, StatusCode::OK);
    let reply = reply.json();
    assert_eq!(reply[0]["data"]["version"]["version"], "1.2.3");
    assert_eq!(reply[1]["errors"][0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED");
    assert_eq!(reply[2]["data"]["me"]["id"], "u1");
    assert_eq!(reply[3]["errors"][0]["extensions"]["code"], "GRAPHQL_PARSE_FAILED");
    let lines: Vec<_> = service.auth.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(lines, ["POST /tokens/validate", "GET /auth/me"]);

    let ten = batch_of(10);
    assert_eq!(service.post(&ten).await.json().as_array().unwrap().len(), 10);
    let rejected = service.send(with(post(&ten), header::AUTHORIZATION, "unknown")).await;
    assert_eq!(rejected.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_platforms_form_is_taken() {
    let service = Service::start().await;
    let one = json!({"query": VERSION}).to_string();
    for parts in [vec![("operations", one.as_str()), ("map", "{}")], vec![("operations", &one)]] {
        let reply = service.send(form(&parts)).await;
        assert_eq!(reply.json(), json!({"data": {"version": {"version": "1.2.3"}}}));
    }
    let batch = json!([{"query": VERSION}, {"query": VERSION}]).to_string();
    let reply = service.send(form(&[("operations", &batch), ("map", "{}")])).await;
    assert_eq!(reply.json().as_array().unwrap().len(), 2);
    let mutation = json!({"query": "mutation{deletePersonalAccessToken(id:\"t2\")}"}).to_string();
    let reply = service.send(form(&[("operations", &mutation), ("map", "{}")])).await;
    assert_eq!(reply.code(), "UNAUTHENTICATED", "a form from another site acts for nobody");
}

#[tokio::test]
async fn other_forms_are_400() {
    let service = Service::start().await;
    let one = json!({"query": VERSION}).to_string();
    let many = batch_of(11).to_string();
    for parts in [
        vec![],
        vec![("map", "{}")],
        vec![("operations", "{")],
        vec![("operations", "{}")],
        vec![("operations", many.as_str())],
        vec![("operations", one.as_str()), ("operations", one.as_str())],
        vec![("operations", one.as_str()), ("map", "[]")],
        vec![("operations", one.as_str()), ("map", r#"{"0":["variables.file"]}"#), ("0", "x")],
        vec![("operations", one.as_str()), ("map", "{}"), ("0", "x")],
    ] {
        let reply = service.send(form(&parts)).await;
        assert_eq!((reply.status, reply.code().as_str()), (StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), "{parts:?}");
    }
    for (content_type, body) in [
        ("multipart/form-data", "--XX--"),
        ("multipart/form-data; boundary=XX", "nothing like a form"),
        ("multipart/form-data; boundary=XX", "--XX\r\ncontent-disposition: form-data; name=\"operations\"\r\n\r\n{"),
        (
            "multipart/form-data; boundary=XX",
            "--XX\r\ncontent-disposition: form-data; name=\"map\"\r\ncontent-type: multipart/x\r\n\r\n7\r\n--XX--\r\n",
        ),
    ] {
        let request = Request::post("/graphql").header(header::CONTENT_TYPE, content_type).body(body.into()).unwrap();
        let reply = service.send(request).await;
        assert_eq!((reply.status, reply.code().as_str()), (StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), "{body:?}");
    }
}

#[tokio::test]
async fn bodies_over_64_kib_are_413_in_every_shape() {
    let service = Service::start().await;
    let long = json!({"query": format!("{VERSION}#{}", "x".repeat(64 * 1024))});
    for request in [post(&long), form(&[("operations", &long.to_string()), ("map", "{}")])] {
        let reply = service.send(with(request, header::AUTHORIZATION, "good")).await;
        assert_eq!((reply.status, reply.code().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE"));
    }
    assert!(service.auth.asked().is_empty());
}

#[tokio::test]
async fn a_query_may_come_by_get() {
    let service = Service::start().await;
    let reply = service.send(get("/graphql?query=%7Bversion%7Bversion%7D%7D")).await;
    assert_eq!(reply.json(), json!({"data": {"version": {"version": "1.2.3"}}}));
    let uri = "/graphql?query=query%20A(%24v:Boolean!)%7Bversion@include(if:%24v)%7Bversion%7D%7D&operationName=A\
               &variables=%7B%22v%22:true%7D";
    assert_eq!(service.send(get(uri)).await.json(), json!({"data": {"version": {"version": "1.2.3"}}}));
    let reply = service.send(with(get("/graphql?query=%7Bme%7Bid%7D%7D"), header::AUTHORIZATION, "good")).await;
    assert_eq!(reply.json(), json!({"data": {"me": {"id": "u1"}}}));
    for uri in
        ["/graphql", "/graphql?x=1", "/graphql?query=%7Ba%7D&variables=%7B", "/graphql?query=%7Ba%7D&variables=7"]
    {
        let reply = service.send(get(uri)).await;
        assert_eq!((reply.status, reply.code().as_str()), (StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), "{uri}");
    }
}

#[tokio::test]
async fn a_mutation_may_not() {
    let service = Service::start().await;
    let mutation = "mutation%20M%7BdeletePersonalAccessToken(id:%22t2%22)%7D";
    for uri in [
        format!("/graphql?query={mutation}"),
        format!("/graphql?query={mutation}&operationName=M"),
        format!("/graphql?query={mutation}%20query%20Q%7Bme%7Bid%7D%7D&operationName=M"),
    ] {
        let reply = service.send(with(get(&uri), header::AUTHORIZATION, "good")).await;
        assert_eq!((reply.status, reply.code().as_str()), (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"));
        assert_eq!(reply.header("allow"), Some("POST"));
    }
    assert!(service.auth.asked().is_empty());
    for name in ["", "&operationName=X"] {
        let uri = format!("/graphql?query={mutation}%20query%20Q%7Bme%7Bid%7D%7D{name}");
        let reply = service.send(with(get(&uri), header::AUTHORIZATION, "good")).await;
        assert_eq!(reply.code(), "GRAPHQL_VALIDATION_FAILED", "where none is chosen, none is executed");
    }
    let uri = format!("/graphql?query={mutation}&operationName=X");
    service.send(with(get(&uri), header::AUTHORIZATION, "good")).await;
    assert!(service.auth.calls().is_empty());
    let uri = format!("/graphql?query={mutation}%20query%20Q%7Bme%7Bid%7D%7D&operationName=Q");
    let reply = service.send(with(get(&uri), header::AUTHORIZATION, "good")).await;
    assert_eq!(reply.json(), json!({"data": {"me": {"id": "u1"}}}), "the query beside it may");
}
