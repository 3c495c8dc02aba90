//! Three APIs behind a proxy, of the kinds that read a request in different ways, and the bare bytes to attack it with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::Value;
use testkit::{Afd, Launch, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// What an API is built with.
pub(crate) const KINDS: [&str; 3] = ["WSGI", "PHP", "Node"];

/// The three of them behind one port, of which one at a time is asked.
pub(crate) struct Upstreams {
    pub(crate) port: u16,
    current: Arc<AtomicU16>,
    all: Vec<(u16, Afd)>,
}

impl Upstreams {
    pub(crate) async fn start() -> Self {
        let file = |name: &str| -> PathBuf {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/end_to_end/guard");
            std::path::absolute(folder.join(name)).unwrap()
        };
        let mut all = Vec::new();
        for kind in KINDS {
            let port = free_port();
            let launch = match kind {
                "WSGI" => Launch::new("/usr/bin/python3").args([file("upstream.py"), port.to_string().into()]),
                "PHP" => Launch::new("/usr/bin/php").args([
                    "-S".into(),
                    format!("127.0.0.1:{port}").into(),
                    file("upstream.php"),
                ]),
                _ => Launch::new("node").args([file("upstream.mjs"), port.to_string().into()]),
            };
            let launch = launch.env("PATH", std::env::var_os("PATH").unwrap_or_default()).healthy_on(port);
            all.push((port, launch.start().await));
        }

        let current = Arc::new(AtomicU16::new(all[0].0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Arc::clone(&current);
        tokio::spawn(async move {
            while let Ok((mut proxy, _)) = listener.accept().await {
                let target = target.load(Ordering::SeqCst);
                tokio::spawn(async move {
                    if let Ok(mut api) = TcpStream::connect(("127.0.0.1", target)).await {
                        // Either side may go whenever it likes.
                        let _ = copy_bidirectional(&mut proxy, &mut api).await;
                    }
                });
            }
        });
        Self { port, current, all }
    }

    /// From now on requests reach this kind of API. None of the three keeps a connection.
    pub(crate) fn choose(&self, kind: &str) {
        let place = KINDS.iter().position(|known| *known == kind).unwrap();
        self.current.store(self.all[place].0, Ordering::SeqCst);
    }
}

/// What came back for some bytes.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    /// The body, where it is an object.
    pub(crate) object: Option<Value>,
    /// What the API says has reached it; `None` where the API was not asked.
    pub(crate) report: Option<Value>,
    connection: TcpStream,
}

/// Sends these bytes over a connection of their own.
pub(crate) async fn send(port: u16, request: &[u8]) -> Answer {
    /// Only a server that says neither yes nor no is waited for, and then the attack has failed.
    const PATIENCE: Duration = Duration::from_secs(10);
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // A server that refuses the first line need not read the rest.
    let _ = connection.write_all(request).await;
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, async {
        while !is_whole(&bytes) && connection.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    // Whatever the framing is, an object is between the first brace and the last.
    let object = body.find('{').zip(body.rfind('}')).and_then(|(first, last)| body.get(first..=last));
    let object: Option<Value> = object.and_then(|object| serde_json::from_str(object).ok());
    let report = object.clone().filter(|report| report.get("headers").is_some());
    Answer { status, head: head.to_owned(), object, report, connection }
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    head.starts_with("http/1.1 101")
        || length.is_some_and(|length| body.len() >= length)
        || body.ends_with("\r\n0\r\n\r\n")
}

impl Answer {
    /// Whether what is sent on is sent back: the proxy has become a tunnel.
    pub(crate) async fn echoes(&mut self) -> bool {
        let mut back = [0; 4];
        let written = self.connection.write_all(b"ping").await.is_ok();
        let read = timeout(Duration::from_secs(10), self.connection.read_exact(&mut back)).await;
        written && matches!(read, Ok(Ok(_))) && &back == b"ping"
    }
}
