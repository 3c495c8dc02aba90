//! An auth service for tests that can answer anything, down to half a body: it speaks HTTP/1.1 by hand.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use auth_api::{AUTH_SERVICE, Bounds, ServiceClaims};
use domain::{Chance, Clock, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::{AuthClient, AuthClientConfig, Credential, EndUser};

pub(crate) const SECRET: &str = "an example secret of at least 32 bytes";
pub(crate) const T0: Timestamp = Timestamp::from_seconds(1_762_603_200);

/// What the service was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The claims of the service JWT, its signature checked.
    pub(crate) fn claims(&self) -> ServiceClaims {
        let jwt = self.header("authorization").unwrap().strip_prefix("Bearer ").unwrap();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.set_audience(&[AUTH_SERVICE]);
        jsonwebtoken::decode(jwt, &DecodingKey::from_secret(SECRET.as_bytes()), &validation).unwrap().claims
    }
}

/// What the service does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A whole reply; the connection stays.
    Reply(u16, String),
    /// These bytes, and the connection is closed.
    Raw(Vec<u8>),
    /// Nothing, ever.
    Silence,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::Reply(status, body.to_string())
    }
}

pub(crate) struct FakeAuth {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<Asked>>>,
    answer: Arc<Mutex<Answer>>,
}

impl FakeAuth {
    pub(crate) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            asked: Arc::default(),
            answer: Arc::new(Mutex::new(answer)),
        };
        let (connections, asked, answer) = (fake.connections.clone(), fake.asked.clone(), fake.answer.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(converse(BufReader::new(stream), asked.clone(), answer.clone()));
            }
        });
        fake
    }

    pub(crate) fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn client(&self, clock: &ManualClock) -> AuthClient {
        client(self.address, clock)
    }
}

pub(crate) fn client(address: SocketAddr, clock: &ManualClock) -> AuthClient {
    let config = AuthClientConfig {
        total_timeout: std::time::Duration::from_secs(2),
        ..AuthClientConfig::new(format!("http://{address}"), SECRET.into())
    };
    AuthClient::new(&config, Arc::new(clock.clone()), Chance::new(ChaCha20Rng::seed_from_u64(1))).unwrap()
}

async fn converse(mut stream: BufReader<TcpStream>, asked: Arc<Mutex<Vec<Asked>>>, answer: Arc<Mutex<Answer>>) {
    while let Some(request) = read_request(&mut stream).await {
        asked.lock().unwrap().push(request);
        let answer = answer.lock().unwrap().clone();
        match answer {
            Answer::Reply(status, body) => {
                let head =
                    format!("HTTP/1.1 {status} X\r\nlocation: /elsewhere\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.unwrap();
            }
            Answer::Raw(bytes) => {
                // The other side may hang up first, which is its right.
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Answer::Silence => std::future::pending().await,
        }
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers = lines[1..].iter().filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut asked = Asked { line: lines[0].clone(), headers, body: Value::Null };
    if let Some(length) = asked.header("content-length") {
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).await.ok()?;
        asked.body = serde_json::from_slice(&body).unwrap();
    }
    Some(asked)
}

/// A clock that stands still until it is moved.
#[derive(Debug, Clone)]
pub(crate) struct ManualClock(Arc<Mutex<Timestamp>>);

impl ManualClock {
    pub(crate) fn at(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    pub(crate) fn advance(&self, seconds: u64) {
        let mut now = self.0.lock().unwrap();
        *now = now.plus(std::time::Duration::from_secs(seconds));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn steady(&self) -> Timestamp {
        self.now()
    }
}

pub(crate) fn somebody() -> EndUser {
    let client = domain::ClientInfo {
        ip: Some("203.0.113.9".parse().unwrap()),
        user_agent: Some("curl/8".to_owned()),
        request_id: Some("r1".to_owned()),
    };
    EndUser {
        id: "u1".parse().unwrap(),
        credential: Credential::Token("t1".parse().unwrap()),
        bounds: Bounds::default(),
        expires_at: None,
        client,
    }
}
