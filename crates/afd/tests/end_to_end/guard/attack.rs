//! nginx and Caddy under attack: by every trick, in front of every kind of API.

use serde_json::{Value, json};

use super::tricks::{self, By, IDENTITY, Trick};
use super::upstreams::{Answer, KINDS, Upstreams, send};
use super::{Guarded, Proxy};

/// Who Ann is, as the auth service says it.
struct Known {
    token: String,
    identity: [String; 4],
}

/// Why this answer shows that the trick has worked.
fn worked(trick: &Trick, known: &Known, answer: &Answer, seen: &mut Option<u64>) -> Option<String> {
    if answer.status == 101 && !is_websocket_by_ann(trick) {
        return Some("became a tunnel".to_owned());
    }
    let report = answer.report.as_ref()?;
    if let Some(now) = report["seen"].as_u64() {
        let smuggled = seen.is_some_and(|before| now != before + 1);
        *seen = Some(now);
        if smuggled {
            return Some("the API has seen more requests than were let through".to_owned());
        }
    }
    if trick.by == By::Nobody {
        return Some(format!("the API was asked by nobody: {report}"));
    }
    let header = |name: &str| report["headers"].get(name.to_ascii_lowercase()).and_then(Value::as_str);
    for (name, is) in IDENTITY.iter().zip(&known.identity) {
        if header(name) != Some(is) {
            return Some(format!("{name} is {:?}", header(name)));
        }
    }
    // What a fold has made part of a field that nobody believes stays there.
    let is_forged = |(name, value): (&String, &Value)| name != "x-other" && value.to_string().contains("mallory");
    if report["headers"].as_object().is_some_and(|headers| headers.iter().any(is_forged)) {
        return Some(format!("the client's word has reached the API: {}", report["headers"]));
    }
    if header("authorization").is_some() {
        return Some("the API got the credential".to_owned());
    }
    let path = report["path"].as_str().unwrap_or_default();
    may_be_write(path).then(|| format!("the API was asked for {path:?}"))
}

fn is_websocket_by_ann(trick: &Trick) -> bool {
    trick.by == By::Ann && trick.text.contains("Upgrade: websocket\r\n")
}

/// Whether any API might take it for `/projects/write`: the reading of all careless servers together.
pub(super) fn may_be_write(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..3 {
        bytes = decoded(&bytes);
    }
    let text = String::from_utf8_lossy(&bytes).to_lowercase().replace('\\', "/");
    let text = text.split(['\0', '?', '#']).next().unwrap_or_default();
    let text = text.split_once("://").map_or(text, |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
    let text = text.trim_start_matches("x:").trim_start_matches("http:");
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        let name = segment.split(';').next().unwrap_or_default();
        match name {
            ".." => drop(segments.pop()),
            name => segments.extend(Some(name.trim_end_matches(['.', ' '])).filter(|name| !name.is_empty())),
        }
    }
    matches!(segments[..], ["projects", write, ..] if write.starts_with("write"))
}

fn decoded(bytes: &[u8]) -> Vec<u8> {
    let mut decoded: Vec<u8> = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%').and_then(|hex| str::from_utf8(hex).ok());
        let encoded = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        rest = if encoded.is_some() { &after[2..] } else { after };
        match encoded.unwrap_or(*first) {
            // The longer form of a slash, to decoders that check nothing.
            0xaf if decoded.last() == Some(&0xc0) => *decoded.last_mut().unwrap() = b'/',
            byte => decoded.push(byte),
        }
    }
    decoded
}

impl Guarded {
    async fn known(&self) -> Known {
        let (token, id) = self.token(&["projects:read"]).await;
        let events = self.installation.get("/audit?type=token.created", &self.session).await;
        let user = events.body["events"][0]["actor"]["userId"].as_str().unwrap().to_owned();
        Known { token, identity: [user, id, "pat".to_owned(), "projects:read".to_owned()] }
    }

    async fn attack(&self, trick: &Trick, known: &Known) -> Answer {
        send(self.port, trick.text.replace("TOKEN", &known.token).as_bytes()).await
    }

    /// A request as honest as Ann is, to this path.
    async fn honest(&self, known: &Known, first: &str, lines: &str, body: &str) -> Answer {
        let Known { token, .. } = known;
        let text =
            format!("{first} HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer {token}\r\n{lines}\r\n{body}");
        send(self.port, text.as_bytes()).await
    }

    /// By every trick against every kind of API.
    async fn withstands(&self, upstreams: &Upstreams) {
        let known = self.known().await;
        let auth_port = self.installation.auth_url.rsplit(':').next().unwrap().parse().unwrap();
        let tricks = tricks::all(auth_port);
        let (mut through, mut reached) = (Vec::new(), 0);
        for kind in KINDS {
            upstreams.choose(kind);
            let mut seen = None;
            for trick in &tricks {
                let answer = self.attack(trick, &known).await;
                reached += usize::from(answer.report.is_some());
                if let Some(how) = worked(trick, &known, &answer, &mut seen) {
                    through.push(format!("{kind}, {:?}, {}: {how}", trick.by, trick.name));
                }
            }
            // What was smuggled last shows now.
            let last = self.honest(&known, "GET /projects", "Connection: close\r\n", "").await;
            let plain = Trick { by: By::Ann, name: "an honest request".to_owned(), text: String::new() };
            assert!(last.report.is_some(), "{kind}: {}", last.head);
            if let Some(how) = worked(&plain, &known, &last, &mut seen) {
                through.push(format!("{kind}, at the end: {how}"));
            }
        }
        let all = tricks.len() * KINDS.len();
        assert!(through.is_empty(), "{} of {all} got through:\n{}", through.len(), through.join("\n"));
        // To keep everything out would be no feat.
        assert!(reached * 3 > all, "{reached} of {all} reached the API");
    }

    /// What honest people want of a proxy, and recipes have broken.
    async fn serves(&self, upstreams: &Upstreams) {
        let known = self.known().await;
        for kind in KINDS {
            upstreams.choose(kind);
            let body = "Connection: close\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n";
            let posted = self.honest(&known, "POST /projects", body, "hello").await;
            let report = posted.report.unwrap_or_else(|| panic!("{kind}: {}", posted.head));
            assert_eq!((&report["method"], &report["body"]), (&json!("POST"), &json!("hello")), "{kind}: {report}");
            assert_eq!(report["headers"]["x-forwarded-for"], "127.0.0.1", "{kind}: {report}");
            assert_eq!(report["headers"]["x-auth-user-id"], known.identity[0].as_str(), "{kind}: {report}");
            for path in ["/projects", "/projects/write", "/Projects/Write/1"] {
                self.passes_preflights(kind, path, &known).await;
            }
        }
        upstreams.choose("Node");
        let chunked = "Connection: close\r\nTransfer-Encoding: chunked\r\n";
        let posted = self.honest(&known, "POST /projects", chunked, "5\r\nhello\r\n0\r\n\r\n").await;
        assert_eq!(posted.report.unwrap()["body"], "hello", "{}", posted.head);
        for connection in ["Upgrade", "keep-alive, upgrade", "X-Auth-User-Id, Upgrade"] {
            let lines = format!("Connection: {connection}\r\nUpgrade: websocket\r\nX_Auth_User_Id: mallory\r\n");
            let mut opened = self.honest(&known, "GET /projects/live", &lines, "").await;
            assert_eq!(opened.status, 101, "{connection}: {}", opened.head);
            let caller = format!("x-caller: {}", known.identity[0]);
            assert!(opened.head.to_ascii_lowercase().contains(&caller.to_ascii_lowercase()), "{}", opened.head);
            assert!(opened.echoes().await, "{connection}");
        }
    }

    /// They reach the API, which alone knows who may ask, and bring nothing that it could take for somebody.
    async fn passes_preflights(&self, kind: &str, path: &str, known: &Known) {
        let asks = "Origin: https://app.example.com\r\nAccess-Control-Request-Method: PUT\r\n";
        let forged = "X-Auth-User-Id: mallory\r\nX_Auth_User_Id: mallory\r\nX.Auth.Scopes: mallory\r\nCookie: mallory\r\n\
                      X-HTTP-Method-Override: mallory\r\nX-Forwarded-For: mallory\r\nConnection: close, Origin\r\n";
        for lines in [format!("{asks}Connection: close\r\n"), format!("{asks}{forged}")] {
            let asked = format!("OPTIONS {path} HTTP/1.1\r\nHost: api.example.com\r\n{lines}\r\n");
            let by_nobody = send(self.port, asked.as_bytes()).await;
            let by_ann = self.honest(known, &format!("OPTIONS {path}"), &lines, "").await;
            for answer in [by_nobody, by_ann] {
                let report = answer.report.unwrap_or_else(|| panic!("{kind}, {path}: {}", answer.head));
                assert_eq!((answer.status, &report["method"]), (200, &json!("OPTIONS")), "{report}");
                let headers = report["headers"].as_object().unwrap();
                assert_eq!(headers["access-control-request-method"], "PUT", "{report}");
                assert_eq!(headers["origin"], "https://app.example.com", "{report}");
                let is_known = |name: &str| {
                    name.starts_with("access-control-request-")
                        || ["host", "origin", "accept-encoding", "connection", "content-length"].contains(&name)
                        || ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"].contains(&name)
                };
                assert!(headers.keys().all(|name| is_known(name)), "{kind}: {report}");
                assert!(!report.to_string().contains("mallory"), "{kind}: {report}");
            }
        }
    }
}

async fn attacked(proxy: &Proxy) {
    let upstreams = Upstreams::start().await;
    let guarded = Guarded::start(proxy, upstreams.port, &[("RATE_LIMIT_TOKEN_PER_MINUTE", "1000000")]).await;
    guarded.withstands(&upstreams).await;
    guarded.serves(&upstreams).await;
}

#[tokio::test]
async fn no_trick_gets_past_nginx() {
    attacked(&Proxy::NGINX).await;
}

#[tokio::test]
async fn no_trick_gets_past_caddy() {
    attacked(&Proxy::CADDY).await;
}

#[test]
fn every_careless_reading_is_known() {
    for path in
        ["/projects/write", "//Projects;x/.\\write%00", "/projects%252fwrite", "http://a/x/..;/projects./write?"]
    {
        assert!(may_be_write(path), "{path}");
    }
    assert!(may_be_write("/projects%c0%afwrite") && may_be_write("x:projects/write"));
    assert!(!may_be_write("/projects") && !may_be_write("/projects?/../projects/write") && !may_be_write("/write"));
}
