//! Serving over real connections: how it ends, and what takes too long.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::time::Duration;

use axum::routing::{get, post};
use axum::{Extension, Router, middleware};
use domain::{Chance, SystemClock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use web::{Drain, Envelope, Operations, RequestContext, RequestIds, Served, Threads, TrustedProxies};

struct Service {
    address: std::net::SocketAddr,
    operations: Operations,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Served>,
}

async fn start(delay: Duration) -> Service {
    let operations = Operations::default();
    let envelope = Envelope {
        clock: Arc::new(SystemClock),
        request_ids: RequestIds::new(&Chance::of_the_system()),
        trusted_proxies: Arc::new(TrustedProxies::default()),
        service: "test",
        operations: operations.clone(),
    };
    let draining = |Extension(context): RequestContext| async move { context.is_draining.to_string() };
    let router = Router::new()
        .route("/draining", get(draining))
        .route("/echo", post(|body: String| async move { body }))
        .route("/never", get(std::future::pending::<()>))
        .layer(middleware::from_fn_with_state(envelope, web::envelope));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let drain = Drain { draining: operations.draining.clone(), delay };
    let ended = tokio::spawn(web::serve(listener, router, Threads::Here, drain, async move {
        let _ = stopped.await;
    }));
    Service { address, operations, stop, ended }
}

async fn ask(connection: &mut TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    while !reply.windows(4).any(|window| window == b"true") && !reply.windows(5).any(|window| window == b"false") {
        assert_ne!(connection.read_buf(&mut reply).await.unwrap(), 0, "closed after {reply:?}");
    }
    String::from_utf8(reply).unwrap()
}

#[tokio::test]
async fn a_service_that_is_to_end_answers_on_and_closes_each_connection_after_its_reply() {
    let service = start(Duration::from_mins(10)).await;
    let mut kept = TcpStream::connect(service.address).await.unwrap();
    let before = ask(&mut kept, "/draining").await;
    assert!(!before.contains("connection: close") && before.ends_with("false"), "{before}");

    service.stop.send(()).unwrap();
    while !service.operations.draining.has_begun() {
        tokio::task::yield_now().await;
    }
    let after = ask(&mut kept, "/draining").await;
    assert!(after.contains("connection: close") && after.ends_with("true"), "{after}");
    assert_eq!(kept.read(&mut [0; 1]).await.unwrap(), 0, "closed");
    let mut new = TcpStream::connect(service.address).await.unwrap();
    assert!(ask(&mut new, "/draining").await.ends_with("true"), "new ones are still served");
    assert!(!service.ended.is_finished());
}

#[tokio::test]
async fn connections_that_came_before_the_end_are_answered() {
    for _ in 0..50 {
        let service = start(Duration::ZERO).await;
        // Connected and asked, and perhaps not accepted yet when the service ends.
        let mut connections = Vec::new();
        for _ in 0..4 {
            let mut connection = TcpStream::connect(service.address).await.unwrap();
            let request = b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi";
            connection.write_all(request).await.unwrap();
            connections.push(connection);
        }
        service.stop.send(()).unwrap();
        for mut connection in connections {
            let mut reply = String::new();
            connection.read_to_string(&mut reply).await.unwrap();
            assert!(reply.starts_with("HTTP/1.1 200 ") && reply.ends_with("hi"), "{reply:?}");
        }
        drop(service.ended.await.unwrap());
        assert!(TcpStream::connect(service.address).await.is_err(), "nobody listens any more");
    }
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_given_up() {
    let service = start(Duration::ZERO).await;
    let mut connection = TcpStream::connect(service.address).await.unwrap();
    connection.write_all(b"GET /never HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    connection.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
    assert!(reply.contains("retry-after: 1") && reply.contains(r#""code":"UNAVAILABLE""#), "{reply}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up_and_so_is_a_head() {
    let service = start(Duration::ZERO).await;
    let mut connection = TcpStream::connect(service.address).await.unwrap();
    connection.write_all(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nhi").await.unwrap();
    let mut reply = [0; 12];
    connection.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"HTTP/1.1 503");

    let mut connection = TcpStream::connect(service.address).await.unwrap();
    connection.write_all(b"GET /draining HTTP/1.1\r\nHo").await.unwrap();
    let mut reply = Vec::new();
    connection.read_to_end(&mut reply).await.unwrap();
    assert!(reply.is_empty() || reply.starts_with(b"HTTP/1.1 408"), "{reply:?}");
}
