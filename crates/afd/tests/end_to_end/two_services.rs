//! Both services as an operator runs them.

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::{Launch, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::databases::{Database, on_both_databases};
use crate::installation::{Installation, Reply};

on_both_databases! {
    from_a_mailed_code_to_a_token_that_is_dead_on_the_next_call,
    without_auth_nobody_is_let_in_and_with_it_again_nothing_needs_a_restart,
    parallel_validations_admit_exactly_the_limit,
    what_is_in_flight_is_finished_and_uses_are_written_down,
}

const CREATE: &str = "mutation($name: String!) { createPersonalAccessToken(name: $name) { id token } }";

async fn from_a_mailed_code_to_a_token_that_is_dead_on_the_next_call(database: Database) {
    let installation = Installation::on(&database, &[]).await;
    let (mut auth, mut backend) = installation.start().await;
    let session = installation.sign_in("ann@example.com").await;

    let created = installation.graphql(Some(&session), CREATE, json!({ "name": "ci" })).await;
    let token = created.text("/data/createPersonalAccessToken/token").to_owned();
    let id = created.text("/data/createPersonalAccessToken/id").to_owned();

    let me = installation.graphql(Some(&token), "{ me { email } personalAccessTokens { id name } }", json!({})).await;
    assert_eq!(me.text("/data/me/email"), "ann@example.com");
    assert_eq!(me.text("/data/personalAccessTokens/0/id"), id);
    let remaining = |reply: &Reply| reply.headers["x-ratelimit-remaining"].to_str().unwrap().parse::<u32>().unwrap();
    let again = installation.graphql(Some(&token), "{ version { version } }", json!({})).await;
    assert_eq!(remaining(&again), remaining(&me) - 1, "each request counts");

    let delete = "mutation($id: ID!) { deletePersonalAccessToken(id: $id) }";
    let deleted = installation.graphql(Some(&session), delete, json!({ "id": id })).await;
    assert_eq!(deleted.body, json!({ "data": { "deletePersonalAccessToken": true } }));
    let dead = installation.graphql(Some(&token), "{ me { email } }", json!({})).await;
    assert_eq!((dead.status, dead.text("/errors/0/extensions/code")), (401, "UNAUTHENTICATED"));

    assert_eq!(backend.terminate().await, Some(0), "{}", backend.output());
    assert_eq!(auth.terminate().await, Some(0), "{}", auth.output());
    for output in [auth.output(), backend.output()] {
        for secret in [&token, &session] {
            assert!(!output.contains(secret.as_str()), "a secret is in a log");
        }
        assert!(!output.contains(&installation.mail.mails()[0].text), "a mail is in a log");
    }
}

async fn without_auth_nobody_is_let_in_and_with_it_again_nothing_needs_a_restart(database: Database) {
    let installation = Installation::on(&database, &[]).await;
    let (mut auth, _backend) = installation.start().await;
    let session = installation.sign_in("ann@example.com").await;
    let me = || installation.graphql(Some(&session), "{ me { email } }", json!({}));
    assert_eq!(me().await.status, 200);

    assert_eq!(auth.terminate().await, Some(0));
    // More often than the circuit breaker needs to open: refused by it or by the network, the answer is the same.
    for _ in 0..12 {
        let refused = me().await;
        assert_eq!((refused.status, refused.text("/errors/0/extensions/code")), (503, "AUTH_SERVICE_UNAVAILABLE"));
        assert!(refused.headers.contains_key("retry-after"));
        assert!(!refused.body.to_string().contains("127.0.0.1"), "{refused:?}");
    }
    let anonymous = installation.graphql(None, "{ version { version } }", json!({})).await;
    assert_eq!(anonymous.status, 200, "what needs no caller needs no auth service");

    let _auth = installation.auth.start().await;
    let back = until("the service to be asked again", me, |reply| reply.status == 200).await;
    assert_eq!(back.text("/data/me/email"), "ann@example.com");
}

async fn parallel_validations_admit_exactly_the_limit(database: Database) {
    let installation = Installation::on(&database, &[]).await;
    let _running = installation.start().await;
    let session = installation.sign_in("ann@example.com").await;
    let created = installation.post("/tokens", Some(&session), json!({ "name": "busy" })).await;
    let token = created.text("/token/token").to_owned();

    let replies = join_all((0..1_001).map(|_| installation.validate(&token))).await;
    let admitted = replies.iter().filter(|reply| reply.status == 200).count();
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status == 429).collect();
    assert_eq!((admitted, refused.len()), (1_000, 1));
    assert_eq!(refused[0].text("/code"), "RATE_LIMIT_EXCEEDED");
    assert!(refused[0].headers.contains_key("retry-after"));

    let limited = installation.graphql(Some(&token), "{ me { email } }", json!({})).await;
    assert_eq!((limited.status, limited.text("/errors/0/extensions/code")), (429, "RATE_LIMIT_EXCEEDED"));
}

async fn what_is_in_flight_is_finished_and_uses_are_written_down(database: Database) {
    let installation = Installation::on(&database, &[]).await;
    let (mut auth, _backend) = installation.start().await;
    let session = installation.sign_in("ann@example.com").await;
    let first = installation.post("/tokens", Some(&session), json!({ "name": "first" })).await;
    assert_eq!(installation.validate(first.text("/token/token")).await.status, 200);

    // The service asks for the body (RFC 9110 §10.1.1) once the request is in a handler's hands: told to stop only
    // then, it has something in flight whatever the machine is busy with.
    let address = installation.auth_url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).await.unwrap();
    let body = r#"{"name":"second"}"#;
    let head = format!(
        "POST /tokens HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {session}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut asked = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    connection.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");

    let finish = async {
        connection.write_all(body.as_bytes()).await.unwrap();
        let mut reply = String::new();
        connection.read_to_string(&mut reply).await.unwrap();
        reply
    };
    let (code, reply) = tokio::join!(auth.terminate(), finish);
    assert!(reply.starts_with("HTTP/1.1 201 "), "{reply}");
    assert_eq!(code, Some(0), "{}", auth.output());
    let created: Value = serde_json::from_str(reply.split("\r\n\r\n").nth(1).unwrap()).unwrap();

    let _auth = installation.auth.start().await;
    let listed = installation.get("/tokens", &session).await;
    assert_eq!(listed.body["tokens"].as_array().unwrap().len(), 2);
    assert_eq!(listed.text("/tokens/1/name"), "first");
    assert!(listed.body["tokens"][1]["lastUsedAt"].is_string(), "the use was flushed at shutdown: {listed:?}");
    assert_eq!(installation.validate(created.pointer("/token/token").unwrap().as_str().unwrap()).await.status, 200);
}

#[tokio::test]
async fn what_another_process_deletes_is_noticed() {
    let installation = Installation::new(&[]).await;
    let _running = installation.start().await;
    let session = installation.sign_in("ann@example.com").await;
    let created = installation.post("/tokens", Some(&session), json!({ "name": "doomed" })).await;
    let token = created.text("/token/token").to_owned();
    assert_eq!(installation.validate(&token).await.status, 200);

    let database = installation.auth.folder().join("data/auth.db");
    let sql = "PRAGMA foreign_keys = ON; DELETE FROM personal_access_tokens;";
    let deleted = Launch::new("/usr/bin/sqlite3").args([database.to_str().unwrap(), sql]).run().await;
    assert_eq!(deleted.code, Some(0), "{}", deleted.output);
    let validate = async || installation.validate(&token).await;
    let after = until("the token to be refused", validate, |reply| reply.status == 401).await;
    assert_eq!(after.text("/code"), "INVALID_TOKEN");
}
